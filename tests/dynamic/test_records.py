"""What is said of a site at several batches, said once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attnfuse.decisions import FailureReason, Obligation, SiteFacts, SiteRecord
from attnfuse.dynamic import merge_records
from attnfuse.errors import TraceError
from attnfuse.tracing.contract import DYNAMIC_BATCHES as BATCHES


def _record(batch: int) -> SiteRecord:
    return SiteRecord(
        id="net/attn1",
        module="attn1",
        graph="g",
        anchor="a",
        form="formula",
        status="fused",
        code="fused",
        reason=f"proved for [{2 * batch}, 8, 64, 40]",
        query_shape=(2 * batch, 8, 64, 40),
        key_shape=(2 * batch, 8, 77, 40),
        value_shape=None,
        compute_dtype="float16",
        score_bytes_saved=2 * batch * 100,
        mask_bytes=3,
        obligations=(Obligation("fully_masked_rows", f"{batch} rows"),),
        facts=SiteFacts(64, 77, 40, "float16", "cross"),
    )


def test_merged() -> None:
    merged = merge_records("net", {batch: (_record(batch),) for batch in BATCHES})
    assert merged == (
        replace(
            _record(1),
            reason="proved for [?, 8, 64, 40]",
            query_shape=(-1, 8, 64, 40),
            key_shape=(-1, 8, 77, 40),
            obligations=(Obligation("fully_masked_rows", "? rows"),),
        ),
    )
    assert merged[0].score_bytes_saved == 200  # of one image


def test_a_length_that_follows_the_batch_is_not_known() -> None:
    several = {b: (replace(_record(b), facts=replace(_record(b).facts, key_length=b)),) for b in BATCHES}
    assert merge_records("net", several)[0].facts == SiteFacts(64, None, 40, "float16", "cross")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"status": "kept"}, "status"),
        ({"compute_dtype": "float32"}, "compute_dtype"),
        ({"scale": 2.0}, "scale"),
        ({"query_shape": (2, 8, 64)}, "query_shape"),
        ({"score_bytes_saved": 7}, "score_bytes_saved"),
        ({"head_dim_padding": 8}, "head_dim_padding"),
        ({"reason": "another"}, "reason"),
        ({"obligations": ()}, "obligations"),
        ({"failure": FailureReason("c", "at", "e", "f")}, "failure"),
    ],
)
def test_what_is_decided_otherwise_is_refused(change: dict[str, object], field: str) -> None:
    several = {batch: (_record(batch),) for batch in BATCHES}
    several[BATCHES[1]] = (replace(_record(BATCHES[1]), **change),)  # type: ignore[arg-type]
    with pytest.raises(TraceError, match=f"site net/attn1 cannot be written for any batch: its {field} is"):
        merge_records("net", several)


def test_other_sites() -> None:
    several = {batch: (_record(batch),) for batch in BATCHES}
    several[BATCHES[2]] = (replace(_record(BATCHES[2]), id="net/attn2"),)
    with pytest.raises(TraceError, match="its sites differ from batch to batch"):
        merge_records("net", several)
