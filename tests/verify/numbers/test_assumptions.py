"""What a rewrite assumes of scores and of rows without a key is asked of the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array, TensorType
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, DType
from attnfuse.mindir.schema import NodeProto
from attnfuse.verify.graph.sites import cut, find
from attnfuse.verify.numbers.comparison import compare
from attnfuse.verify.numbers.inputs import HIDDEN, draw_inputs
from attnfuse.verify.numbers.site_numbers import compare_sites
from tests.support.graphs import GraphBuilder, fill_literal
from tests.support.masks import added, both, filled, selected
from tests.support.sides import drawn_sides
from tests.support.sites import Change, Site


def findings(site: Site, *, vouched: bool = False, gain: float = 1.0) -> list[str]:
    """On masks hidden and seen whole, of the whole graph and of its site; `vouched`: fused as if each row had a key.

    `gain` is that of the query as it is met in the graph.
    """
    proto = site.proto()
    before = Model(proto)
    rewritten = Site(dtype=site.dtype, no_fully_masked_rows=vouched)
    after, (record,) = rewritten.run(proto, "lite")
    assert record.status == "fused", record.reason
    (found,) = find(before, after).sites
    part = cut(before, after, found)
    assert part is not None
    sides = drawn_sides(before, after)
    inputs: dict[str, Array] = {**draw_inputs(before, 0, HIDDEN)}
    query = next(name for name in inputs if name.endswith("query"))
    inputs[query] = (inputs[query].astype(np.float64) * gain).astype(inputs[query].dtype)
    whole = compare(*sides, seed=0, taps=part.leaves, inputs=inputs)
    met: Mapping[str, Array] = whole.values
    (result,) = compare_sites(*sides, [(found, part)], met, seed=0, are_about_masks=True)
    return [*whole.findings, *result.findings]


def of_large_scores(*, planted: float | None = None) -> tuple[str, ...]:
    """Of a site whose rows without a key have scores of 4 and more; `planted` is what their keys become in place of 0,
    so that the row is no mean."""
    site = Site(scores=masked(-1e4, FLOAT16))
    proto = site.proto()
    before, (after, _) = Model(proto), site.run(proto, "lite")
    if planted is not None:
        (guard,) = (node for node in after.nodes if node.op == "MaskedFill")
        constant = NodeProto(name="planted", op_type="Constant", output=["planted"])
        fill_literal(constant.attribute.add(name="value"), np.array(planted, np.float16))
        guard.proto.input[2] = "planted"
        after.proto.graph.node.insert(0, constant)
        after = Model(after.proto)
    (found,) = find(before, after).sites
    part = cut(before, after, found)
    assert part is not None
    sides = drawn_sides(before, after)
    met: dict[str, Array] = {**draw_inputs(before, 0, HIDDEN)}
    query = next(name for name in met if name.endswith("query"))
    met[query] = (met[query].astype(np.float64) * 8).astype(np.float16)
    (result,) = compare_sites(*sides, [(found, part)], met, seed=0, are_about_masks=True)
    assert any("scores reach 4 in rows without a key" in note for note in result.notes)
    return result.findings


def test_rows_that_the_report_promises_nothing_of_are_one_of_two_things() -> None:
    assert of_large_scores() == ()
    assert any("is off by" in text for text in of_large_scores(planted=1.0))


def masked(number: float, dtype: DType) -> Change:
    return selected(number, (2, 1, 1, 5), dtype)


def given(g: GraphBuilder, s: str) -> str:
    return g.add(s, g.input("mask", (2, 1, 1, 5), FLOAT16))


def by_hand(g: GraphBuilder, s: str) -> str:
    e = g.op("Exp", g.sub(s, g.op("ReduceMax", s, (-1,), True)))
    return g.div(e, g.op("SumExt", e, (-1,), True, None))


def dropped(g: GraphBuilder, s: str) -> str:
    """−10⁴ added where a mask is true: in the rows whose bias hides nothing."""
    drop = g.input("drop", (2, 1, 1, 5), BOOL)
    low = [drop, *(g.constant(np.array(x, np.float16)) for x in (-1e4, 0.0))]
    return g.add(s, g.node("Select", low, TensorType((2, 1, 1, 5), FLOAT16)))


def biased(g: GraphBuilder, s: str) -> str:
    """A bias of float16 beside scores of float32: of a row of fills it is lost in their sum, and nothing else is."""
    return g.add(s, g.cast(g.input("bias", (2, 1, 1, 5), FLOAT16), FLOAT32))


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        (masked(-1e4, FLOAT16), FLOAT16),
        (masked(-1e4, BFLOAT16), BFLOAT16),
        (masked(-1e9, FLOAT32), FLOAT32),
        (masked(-1e4, FLOAT32), FLOAT32),
        (filled(-1e4, dtype=FLOAT32), FLOAT32),
        (filled(-1e9, dtype=BFLOAT16), BFLOAT16),
        (given, FLOAT16),
        (both(filled(-1e9, dtype=FLOAT32), biased), FLOAT32),
        (both(biased, filled(-1e9, dtype=FLOAT32)), FLOAT32),
        (both(filled(-1e4), added((2, 1, 1, 5))), FLOAT16),
    ],
)
def test_rows_without_a_key_are_what_the_source_makes_of_them(change: Change, dtype: DType) -> None:
    assert findings(Site(scores=change, dtype=dtype)) == []


def test_plain_attention_where_the_source_has_a_mean_is_found() -> None:
    for change in (masked(-1e4, FLOAT16), both(dropped, added((2, 1, 1, 5)))):
        told = findings(Site(scores=change), vouched=True)
        assert any("the mathematics is another" in text for text in told), told


def filled_with_ones(number: float) -> Change:
    """The number fills a tensor of the scores' shape."""
    return lambda g, s: g.select(g.input("mask", (2, 1, 1, 5), BOOL), g.muls(g.op("OnesLike", s), number), s)


@pytest.mark.parametrize("softmax", [GraphBuilder.softmax, by_hand])
@pytest.mark.parametrize(
    "fill", [lambda number: filled(number, dtype=FLOAT32), filled_with_ones], ids=["a literal", "ones"]
)
def test_scores_that_reach_a_fill_are_found(fill: Callable[[float], Change], softmax: Change) -> None:
    """Half of the fill is what they are assumed to stay above, in a softmax written by hand too."""
    for number, gain, is_found in (
        (-1e4, 100.0, False),
        (-1e4, 1e4, True),
        (-1000.0, 10.0, False),
        (-1000.0, 1e3, True),
    ):
        site = Site(scores=fill(number), softmax=softmax, dtype=FLOAT32, builder=GraphBuilder("site"))
        told = findings(site, gain=gain)
        assert any("stay above that was assumed" in text for text in told) == is_found, (number, gain, told)
