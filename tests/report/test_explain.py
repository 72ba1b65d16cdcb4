"""One site as text: what a user would read wrongly without it."""

from __future__ import annotations

import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.report.explain import explain


@pytest.mark.parametrize(
    ("factors", "told"),
    [
        ((0.25,), "scale     0.25"),
        ((0.5, 0.5), "scale     0.25 = 0.5 · 0.5"),
        ((0.25, -1.0), "scale     0.25 of 0.25 · -1: query is negated"),
        ((-0.25,), "scale     0.25 of -0.25: query is negated"),
        ((-0.25, -1.0), "scale     0.25 = -0.25 · -1"),
    ],
)
def test_the_sign_of_a_scale_is_told(factors: tuple[float, ...], told: str) -> None:
    record = SiteRecord(
        module="a", graph="g", anchor="a", form="formula", status="fused", code="fused", reason="", query_shape=(2,),
        scale=0.25, scale_factors=factors,
    )  # fmt: skip
    assert told in explain(record).splitlines()
