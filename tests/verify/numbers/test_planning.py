"""Graphs run in steps, and attention by rows: the same numbers as run whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnfuse.errors import UsageError
from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16
from attnfuse.verify.limits import Limits, at_most, limited, within
from attnfuse.verify.lowering import Arithmetic, Lowered, Rounding, lower
from attnfuse.verify.numbers.baseline import honest_rounding, lost_rows
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.planning import Step, steps
from attnfuse.verify.numbers.weights import stored_weights
from tests.support.graphs import GraphBuilder, transformer
from tests.verify.pairs import BATCH, HEAD, HEADS, QUERIES, Block

SMALL = Limits(weights=1, large=1, rows=5 * BATCH * HEADS * HEAD * 8)
"""A weight a step, and five rows of a block's scores at a time in float64."""


def attentions(parts: Sequence[Step]) -> list[Step]:
    """The steps that run a softmax by rows."""
    return [step for step in parts if step.by_rows is not None and b"Softmax" in step.model]


def both_ways(lowered: Lowered, model: Model, *, by_rows: int) -> None:
    """Run whole, and by steps of a weight each."""
    values, weights = draw_inputs(model, 0), stored_weights(model.proto, Path("/none/x.mindir"))
    whole = run(lowered, values, weights)
    assert len(steps(lowered)) == 1
    with limited(SMALL):
        parts = steps(lowered)
        assert len(attentions(parts)) == by_rows
        assert len(parts) > by_rows
        found = run(lowered, values, weights)
    for one, other in zip(whole, found, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        near = 1e-12 if one.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(other.astype(np.float64), one.astype(np.float64), rtol=near, atol=1e-6)


@pytest.mark.parametrize("arithmetic", [Arithmetic.EXACT, Arithmetic.NATIVE])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_attention_by_rows_gives_what_it_gives_whole(arithmetic: Arithmetic, masked: bool, biased: bool) -> None:
    block = Block(dtype=FLOAT16, compute=BFLOAT16, masked=masked, biased=biased)
    original, fused = block.original().model(), block.fused().model()
    product = next(node.name for node in original.nodes if node.op == "MatMulExt")
    both_ways(lower(original, arithmetic, peaks=[product]), original, by_rows=1)
    both_ways(lower(fused, arithmetic), fused, by_rows=1)
    rounding: Mapping[str, Rounding] = honest_rounding(original, fused)
    both_ways(lower(original, arithmetic, rounding, taps=[product]), original, by_rows=1)


def test_rows_are_uneven_and_many() -> None:
    original = Block().original().model()
    with limited(SMALL):
        (region,) = (step.by_rows for step in attentions(steps(lower(original, Arithmetic.EXACT))))
    assert region is not None
    assert region.rows == QUERIES
    assert 1 < region.at_once < QUERIES
    assert QUERIES % region.at_once


def test_levelled_rows() -> None:
    block = Block(dtype=FLOAT16, masked=True)
    original, fused = block.original().model(), block.fused().model()
    both_ways(lower(original, Arithmetic.EXACT, lost_rows(original, fused)), original, by_rows=1)


def test_a_softmax_over_another_axis_is_run_whole() -> None:
    g = GraphBuilder("across")
    x = g.input("x", (2, 8, 16))
    g.output(g.matmul_ext(g.softmax(g.matmul_ext(x, g.transpose(x, (0, 2, 1))), axis=1), x))
    model = g.model()
    with limited(SMALL):
        assert not attentions(steps(lower(model, Arithmetic.EXACT)))


def test_what_is_read_whole_is_not_made_by_rows() -> None:
    """Weights that multiply from the right are read by column: all rows are needed at once."""
    g = GraphBuilder("right")
    x = g.input("x", (2, 16, 16))
    weights = g.softmax(g.matmul_ext(x, g.transpose(x, (0, 2, 1))))
    g.output(g.matmul_ext(x, weights))
    model = g.model()
    with limited(SMALL):
        assert not attentions(steps(lower(model, Arithmetic.EXACT)))


def test_long_chains_are_run_by_rows_too() -> None:
    """An activation in float64 is one; what it reads and what reads it stay whole."""
    g = GraphBuilder("activation")
    x = g.input("x", (2, 24, 16), FLOAT16)
    g.output(g.matmul_ext(g.op("GeluExt", x, 0, like=x), g.transpose(x, (0, 2, 1))))
    model = g.model()
    lowered = lower(model, Arithmetic.EXACT)
    both_ways(lowered, model, by_rows=0)
    with limited(SMALL):
        assert any(step.by_rows is not None and b"Round" in step.model for step in steps(lowered))


def test_equal_blocks_have_equal_steps() -> None:
    model = transformer(sites=4, dtype=FLOAT16).model()
    with limited(SMALL):
        models = [step.model for step in attentions(steps(lower(model, Arithmetic.NATIVE)))]
    assert len(models) == 4
    assert len(set(models)) == 2  # self and cross attention


def test_parts_are_made_smaller_for_less_memory_and_what_does_not_fit_is_told() -> None:
    model = Block(dtype=FLOAT16).original().model()
    values, weights = draw_inputs(model, 0), stored_weights(model.proto, Path("/none/x.mindir"))
    lowered = lower(model, Arithmetic.EXACT)
    (whole,) = run(lowered, values, weights)
    with at_most(2**40):
        assert len(steps(lowered)) == 1
    with at_most(2**16):
        assert len(steps(lowered)) > 4
        with pytest.raises(UsageError, match=r"--max-memory allows 0\.00 GiB, and .* takes about \d+\.\d\d GiB"):
            run(lowered, values, weights)
    with limited(replace(within(2**16), most=2**40)):
        (parts,) = run(lowered, values, weights)
    np.testing.assert_allclose(parts.astype(np.float64), whole.astype(np.float64), rtol=1e-12)


def test_what_a_step_holds_is_what_is_alive_in_it() -> None:
    g = GraphBuilder("chain")
    x = g.input("x", (64, 64))
    for _ in range(5):
        x = g.op("Exp", x, like=x)
    g.output(x)
    (step,) = steps(lower(g.model(), Arithmetic.EXACT))
    assert step.held == 64 * 64 * (4 + 2 * 8)  # the input, and in float64 what is read and what is made
