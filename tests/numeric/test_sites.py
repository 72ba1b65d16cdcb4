"""Every fused site of the corpus against its formula, in numbers.

Each site is cut out of the original and of the rewritten graph, and both are run on the same operands by
onnxruntime: in float64, where they must be the same mathematics, and in their own types, where the fused one may not
be further from the float64 value than the formula computed at the same type is (attnfuse.verify.numbers.comparison says
by how much and why). Masks are made by the graph's own nodes from drawn inputs, so they hold what they can hold.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir.schema import ModelProto
from attnfuse.targets import RUNTIMES
from attnfuse.verify.graph.fused_nodes import fused_nodes, read, sizes
from attnfuse.verify.lowering import Arithmetic
from attnfuse.verify.numbers.baseline import honest_rounding
from attnfuse.verify.numbers.comparison import Part, Reference, algebra_bounds, formula_values, judge, own_reading
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.weights import drawn_weights
from attnfuse_passes.attention import layouts
from attnfuse_passes.attention.free_padding import FreePadding
from tests.numeric.cut import OPERANDS, Cut, cut
from tests.support.variants import slow_variant
from tools.corpus import census, store

DRAWS = ("mixed", "large", "whole")
"""mixed: scores around 1, each row with hidden and seen keys. large: scores of ±30. whole: rows with every key hidden
and rows with none, whichever way round the mask is meant."""

SAMPLE, MOST_DRAWS = 4096, 16
"""Elements of results that one comparison is over, so that two samples of one error hardly differ, and the most draws.
Large scores leave one key a query, so that few elements make the error."""

OPEN = ("lumina2",)
"""Of sizes that are not known before run time: tests/passes/attention/test_open_masks.py and lower/test_open_sizes.py
have their numbers."""

NAMES = [
    name
    for name in store.names()
    if store.sites()[name].softmax + store.sites()[name].fused and not name.startswith(OPEN)
]


def rewritten_sites(name: str, runtime: str) -> Iterator[tuple[SiteRecord, Cut]]:
    """Every site of a graph that was rewritten, cut out; nodes that were carried over are the same on both sides.

    Heads are padded beside the node: padded weights leave no operand that both graphs have. What comes of those
    tests/verify/numbers/test_site_numbers.py compares.
    """
    with mock.patch.object(layouts, "find_free_padding", return_value=FreePadding()):
        result = census.rewrite(store.read(name), runtime)
    for record in result.sites:
        if record.status == "fused" and record.code != "fused.carried_over":
            output = record.stands_for or record.anchor
            if output == record.anchor and record.form == "fused":
                # The anchor is a tuple; what took the attention out of it is in both graphs.
                output = next(u.node.name for u in result.before.uses(record.anchor) if u.node is not None)
            yield record, cut(result.before, result.after, output)


def draw(part: Cut, how: str, scale: float, repeat: int = 0) -> dict[str, Array]:
    """A value for each input, others in each `repeat`; query and key such that scores are of the size wanted."""
    values = draw_inputs(part.original, seed=DRAWS.index(how) + len(DRAWS) * repeat)
    # A score is the scale times a sum of products of two normal numbers, as many as a head has elements.
    spread = 8.0 if how == "large" else 1.0
    gain = (spread / (scale * _head_size(part) ** 0.5)) ** 0.5
    for value, array in values.items():
        if value in OPERANDS[:2]:
            values[value] = (array.astype(np.float64) * gain).astype(array.dtype)
        elif value not in OPERANDS and how == "whole":
            values[value] = _whole(array)
    return values


def _head_size(part: Cut) -> int:
    (node,) = fused_nodes(part.fused)
    attention = read(part.fused, node)
    kinds = [part.fused.type_of(value) for value in (attention.query, attention.key, attention.value)]
    query, key, value = (tensor_type for tensor_type in kinds if tensor_type is not None)
    return sizes(attention, query, key, value).head_dim


def _whole(mask: Array) -> Array:
    """All ones for the first of the batch, all zeros for the second: one of them hides every key."""
    if mask.ndim < 2 or not set(np.unique(mask.astype(np.float64))) <= {0.0, 1.0}:
        return mask
    changed = mask.copy()
    changed[:1], changed[1:] = 1, 0
    return changed


def compare(part: Cut, sides: tuple[Part, Part], scale: float, how: str) -> list[str]:
    """What is wrong with the fused site on as many draws of one sort as a sample of rounding errors wants."""
    original, rewritten = sides
    rounding = honest_rounding(part.original, part.fused)
    drawn: list[tuple[Array, ...]] = []
    bounds: list[float] = []
    while sum(values[0].size for values in drawn) < SAMPLE and len(drawn) < MOST_DRAWS:
        values = draw(part, how, scale, len(drawn))
        exact, native, algebra, fused = (
            side.run(arithmetic, values)[0] for side in sides for arithmetic in (Arithmetic.EXACT, Arithmetic.NATIVE)
        )
        output = Reference(exact, algebra_bounds(original, rewritten.model, rounding, values, [exact])[0])
        if how == "whole":
            (output,) = own_reading(original, rewritten.model, values, [output], [native], [algebra])
        formula = formula_values(original, rounding, values, [native])[0]
        drawn.append((output.exact, native, formula, algebra, fused))
        bounds.append(output.allowed)
    exact, native, formula, algebra, fused = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
    figures = judge(
        "site",
        reference=exact,
        native=native,
        formula=formula,
        algebra=algebra,
        fused=fused,
        allowed=max(bounds),
    )
    wrong = []
    if not np.array_equal(np.isfinite(native), np.isfinite(fused)):
        found, expected = (int(np.sum(~np.isfinite(values))) for values in (fused, native))
        wrong.append(f"{how}: {found} numbers are not finite, {expected} of the formula's")
    if not figures.fused_in_float64 <= figures.tolerance_in_float64:
        wrong.append(
            f"{how}: in float64 off by {figures.fused_in_float64:.1e}, {figures.tolerance_in_float64:.1e} allowed"
        )
    if not figures.fused <= figures.tolerance:
        wrong.append(f"{how}: off by {figures.fused:.1e}, {figures.tolerance:.1e} allowed")
    return wrong


@functools.cache
def compare_once(key: tuple[bytes, bytes], scale: float) -> tuple[str, ...]:
    """`compare` over all draws; sites of one model repeat each other, and computing them again proves nothing new."""
    part = Cut(*(Model(ModelProto.FromString(data)) for data in key))
    weights = drawn_weights(0)
    sides = Part(part.original, weights), Part(part.fused, weights)
    return tuple(text for how in DRAWS for text in compare(part, sides, scale, how))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", [pytest.param(name, marks=slow_variant(name)) for name in NAMES])
def test_fused_sites_equal_their_formula(name: str, runtime: str) -> None:
    wrong = [
        f"{record.module}: {text}"
        for record, part in rewritten_sites(name, runtime)
        for text in compare_once(part.key, record.scale or 1.0)
    ]
    assert wrong == []
