"""What the numbers of a component are run on: drawn masks of every kind, or given data; the worst run is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir.dtypes import BOOL, FLOAT16, INT64
from attnfuse.verify.numbers.full import Found, Request, check_numbers
from tests.support.graphs import GraphBuilder, seeded

DIMS = (2, 4, 8, 16)
LOWEST = np.array(-65504, np.float16)


def operands(g: GraphBuilder) -> tuple[str, str, str]:
    q, k, v = (g.input(name, DIMS, FLOAT16) for name in "qkv")
    return q, k, v


def formula(
    hide: Callable[[GraphBuilder], str], fill: Array = LOWEST, *, causal: bool = False, layers: int = 1
) -> Model:
    """Attention that fills hidden keys in; with several layers the next one attends over what came out."""
    g = GraphBuilder("g")
    q, k, v = operands(g)
    hidden = hide(g)
    for _ in range(layers):
        scores = g.muls(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))), 0.25)
        if causal:
            scores = g.add(scores, np.triu(np.full((8, 8), -np.inf), 1).astype(np.float16))
        q = v = k = g.matmul_ext(g.softmax(g.masked_fill(scores, hidden, fill)), v)
    g.output(q)
    return g.model()


def fused(hide: Callable[[GraphBuilder], str]) -> Model:
    """A fused node that discards the same keys; what a fully masked row gives is left to the operator (0)."""
    g = GraphBuilder("g")
    q, k, v = operands(g)
    mask = g.op("Tile", hide(g), (1, 1, 8, 1), dims=(2, 1, 8, 8))
    g.output(g.prompt_flash_attention(q, k, v, heads=4, scale=0.25, attn_mask=mask))
    return g.model()


def by_mask(g: GraphBuilder) -> str:
    return g.logical_not(g.input("keep", (2, 1, 1, 8), BOOL))


def by_length(g: GraphBuilder) -> str:
    positions = np.arange(8)[None]
    return g.reshape(g.op("GreaterEqual", positions, g.expand_dims(g.input("n", (2,), INT64), 1)), (2, 1, 1, 8))


def check(
    before: Model,
    after: Model,
    folder: Path,
    data: Sequence[Path] = (),
    never_fully_masked: frozenset[str] = frozenset(),
) -> Found:
    where = folder / "m.mindir"
    request = Request(
        name="m", original=where, fused=where, seed=0, work=folder, data=data, never_fully_masked=never_fully_masked
    )
    return check_numbers(before, after, request, {})


@pytest.mark.parametrize("hide", [by_mask, by_length])
def test_a_row_without_keys_is_drawn_and_compared(hide: Callable[[GraphBuilder], str], tmp_path: Path) -> None:
    """The formula gives the mean of the values there, the operator 0: one of them is another function."""
    before = formula(hide)
    found = check(before, fused_as(before, hide), tmp_path)
    where = "on inputs drawn with seed 0, masks hidden and seen whole: output "
    assert any(finding.startswith(where) and "the mathematics is another" in finding for finding in found.findings)
    assert any("on drawn operands (hidden 1)" in finding for finding in found.findings)
    assert not any("masks padded" in finding or "(masks" in finding for finding in found.findings)
    assert [set(site.drawn) for site in found.sites] == [
        {"mixed", "large", "masks 1", "masks 2", "masks 3", "hidden 1"}
    ]
    assert found.drawn == ["masks padded left and right", "masks hidden and seen whole"]


def test_a_row_that_the_original_leaves_undefined_is_compared_by_nobody(tmp_path: Path) -> None:
    """−inf makes NaN of it."""
    found = check(formula(by_mask, np.array(-np.inf, np.float16)), fused(by_mask), tmp_path)
    assert found.findings == []
    assert any("compared without 512 of its 1024 values" in note for note in found.notes)


def test_where_there_are_no_fully_masked_rows_none_is_drawn(tmp_path: Path) -> None:
    before = formula(by_mask)
    result = before.proto.graph.output[0].name
    found = check(before, fused_as(before, by_mask), tmp_path, never_fully_masked=frozenset([result]))
    assert found.findings == []
    assert found.drawn == ["masks, if any, hide and show keys in each row"]
    assert check(before, fused_as(before, by_mask), tmp_path).findings


def fused_as(before: Model, hide: Callable[[GraphBuilder], str]) -> Model:
    """The fused graph with names of its own but for the result, which is called as the original's: that is a site."""
    after = fused(hide).proto
    result = after.graph.output[0].name
    names = {node.output[0]: f"{node.output[0]}_new" for node in after.graph.node if node.op_type != "Constant"}
    names[result] = before.proto.graph.output[0].name
    for node in after.graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[0] = node.name = names.get(node.output[0], node.output[0])
    after.graph.output[0].name = names[result]
    return Model(after)


def test_undefined_rows_that_spread_are_drawn_once_more(tmp_path: Path) -> None:
    """A padded row of a causal mask has no key; the next layer makes NaN of all that attend to it."""
    model = formula(by_mask, np.array(-np.inf, np.float16), causal=True, layers=2)
    found = check(model, model, tmp_path)
    assert found.findings == []
    assert found.drawn[2:] == ["masks, if any, hide and show keys in each row"]
    (figures,) = found.outputs
    assert figures.compared


def unanswerable() -> Model:
    """No rule of readers knows what makes it defined."""
    g = GraphBuilder("g")
    x = g.input("odd", (2, 8), FLOAT16)
    g.output(g.op("Log", g.sub(g.op("Sigmoid", x), np.array(2, np.float16))))
    return g.model()


def test_where_nothing_can_be_compared_it_is_told_what_to_give(tmp_path: Path) -> None:
    found = check(unanswerable(), unanswerable(), tmp_path)
    (finding,) = found.findings
    assert "the original itself has no finite value there; --data gives it real inputs" in finding
    assert finding.endswith("Such a file holds odd float16[2, 8].")


# --- data


def save(folder: Path, name: str, n: Sequence[int]) -> Path:
    arrays = {key: seeded(key, DIMS, FLOAT16) for key in "qkv"}
    np.savez(folder / name, **arrays, n=np.array(n, np.int64))
    return folder / name


def test_given_inputs_take_the_place_of_drawn_ones(tmp_path: Path) -> None:
    """These hide no row whole, so what the operator gives there is not seen; sites are still drawn for."""
    before = formula(by_length)
    good, bad = save(tmp_path, "good.npz", [3, 8]), save(tmp_path, "bad.npz", [3, 0])
    found = check(before, fused(by_length), tmp_path, [good])
    assert [finding for finding in found.findings if not finding.startswith("site")] == []
    assert (found.drawn, [file.name for file in found.data]) == ([], ["good.npz"])
    several = check(before, fused(by_length), tmp_path, [good, bad])
    told = [finding for finding in several.findings if not finding.startswith("site")]
    assert told
    assert all(finding.startswith("on data bad.npz (sha256 ") for finding in told)
    # The worst of the two is told, whichever comes first.
    (worst,) = several.outputs
    assert not worst.passed
    assert check(before, fused(by_length), tmp_path, [bad, good]).outputs == several.outputs


def test_given_inputs_that_leave_nothing_to_compare_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", odd=np.ones((2, 8), np.float16))
    (finding,) = check(unanswerable(), unanswerable(), tmp_path, [tmp_path / "a.npz"]).findings
    assert "could not be compared" in finding
    assert "Such a file holds" not in finding
    assert "on data a.npz (sha256 " in finding
    assert "whose numbers lie outside what the graph is defined for" in finding
    assert "--data gives" not in finding


def test_given_inputs_of_nan_are_told_to_be_so(tmp_path: Path) -> None:
    """Of the whole graph and of the site: what is to be fixed is the file."""
    before = formula(by_mask)
    arrays = {key: seeded(key, DIMS, FLOAT16) for key in "qkv"}
    arrays["q"] = np.full_like(arrays["q"], np.nan)
    np.savez(tmp_path / "a.npz", **arrays, keep=np.ones((2, 1, 1, 8), np.bool_))
    found = check(before, fused_as(before, by_mask), tmp_path, [tmp_path / "a.npz"])
    told = [finding for finding in found.findings if "could not be compared" in finding]
    assert [finding.split()[0] for finding in told] == ["output", "site"]
    assert all("on data a.npz (sha256 " in finding and "whose q holds NaN; give" in finding for finding in told)


def test_indices_beyond_the_table_are_told_with_their_file(tmp_path: Path) -> None:
    g = GraphBuilder("g")
    ids = g.input("ids", (4,), INT64)
    g.output(g.op("Gather", g.parameter("table", seeded("t", (7, 3))), ids, 0, 0, dims=(4, 3)))
    model = g.model()
    np.savez(tmp_path / "a.npz", ids=np.array([0, 1, 2, 99]))
    with pytest.raises(VerificationError, match=r"on data a.npz .*onnxruntime cannot run"):
        check(model, model, tmp_path, [tmp_path / "a.npz"])
