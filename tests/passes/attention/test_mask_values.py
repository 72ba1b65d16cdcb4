"""What is known of a mask before run time: its value, or the numbers its elements come from; never a guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from attnfuse.ir.effects import Effects
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32, INT64
from attnfuse_passes.attention.mask_values import MAX_NUMBERS, ConstantFolder, is_learned
from tests.support import oracle
from tests.support.graphs import GraphBuilder

Make = Callable[[GraphBuilder], str]
BOOL = dtypes.BOOL
KIND = TensorType((2, 3), FLOAT32)


def folder(make: Make) -> tuple[ConstantFolder, Model, str]:
    g = GraphBuilder()
    value = make(g)
    g.output(value)
    model = g.model()
    return ConstantFolder(model, Effects.of(model)), model, value


def constant(g: GraphBuilder, *dims: int) -> str:
    return g.constant(np.arange(np.prod(dims, dtype=int), dtype=np.float32).reshape(dims) - 2)


def triangle(g: GraphBuilder) -> str:
    ones = g.constant(np.ones((4, 4), np.float32))
    return g.op("Triu", ones, 1)


FOLDED: dict[str, Make] = {
    "add": lambda g: g.add(constant(g, 2, 3), np.array([1, 2, 3], np.float32)),
    "subtract a scalar": lambda g: g.sub(np.array(1, np.float32), constant(g, 2, 3)),
    "multiply": lambda g: g.muls(constant(g, 2, 3), -10000.0),
    "divide": lambda g: g.div(constant(g, 2, 3), np.array(4, np.float32)),
    "minimum": lambda g: g.op("Minimum", constant(g, 2, 3), np.array(0, np.float32)),
    "maximum": lambda g: g.op("Maximum", constant(g, 2, 3), np.array(0, np.float32)),
    "negate": lambda g: g.op("Neg", constant(g, 2, 3)),
    "less": lambda g: g.op("Less", constant(g, 2, 3), np.array(0, np.float32)),
    "less or equal": lambda g: g.op("LessEqual", constant(g, 2, 3), np.array(0, np.float32)),
    "greater": lambda g: g.op("Greater", constant(g, 2, 3), np.array(0, np.float32)),
    "greater or equal": lambda g: g.op("GreaterEqual", constant(g, 2, 3), np.array(0, np.float32)),
    "equal": lambda g: g.op("Equal", constant(g, 2, 3), np.array(0, np.float32)),
    "and": lambda g: g.op("LogicalAnd", g.constant(np.array([True, False])), np.array([True, True])),
    "or": lambda g: g.op("LogicalOr", g.constant(np.array([True, False])), np.array([False, False])),
    "not": lambda g: g.logical_not(g.constant(np.array([True, False]))),
    "cast": lambda g: g.cast(g.op("Less", constant(g, 2, 3), np.array(0, np.float32)), FLOAT16),
    "reshape": lambda g: g.reshape(constant(g, 2, 3), (3, 2)),
    "expand": lambda g: g.expand_dims(constant(g, 2, 3), 1),
    "transpose": lambda g: g.transpose(constant(g, 2, 3), (1, 0)),
    "tile": lambda g: g.tile(constant(g, 2, 3), (2, 1)),
    "repeat": lambda g: g.repeat_interleave(constant(g, 2, 3), 2, 1),
    "broadcast": lambda g: g.broadcast_to(constant(g, 1, 3), (4, 3)),
    "slice": lambda g: g.strided_slice(constant(g, 4, 3), (1, 0), (3, 2)),
    "upper triangle": triangle,
    "lower triangle": lambda g: g.op("Tril", constant(g, 3, 4), -1, dims=(3, 4)),
    "fill": lambda g: g.masked_fill(constant(g, 2, 3), np.array([True, False, True]), np.array(-np.inf, np.float32)),
    "select": lambda g: g.select(
        g.op("Less", constant(g, 2, 3), np.array(0, np.float32)), constant(g, 2, 3), np.zeros((2, 3), np.float32)
    ),
    "causal": lambda g: g.muls(triangle(g), -3.4028234663852886e38),
}


@pytest.mark.parametrize("name", FOLDED)
def test_constants_are_folded_as_the_operators_compute(name: str) -> None:
    known, model, value = folder(FOLDED[name])
    found, tensor_type = known.value(value), model.type_of(value)
    assert found is not None
    assert tensor_type is not None
    assert found.dtype == tensor_type.dtype.numpy
    expected = oracle.run(model, {})[0]
    np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))


PLACES = np.array([[0, 1], [1, 2]], np.int64)


def put(places: Array, dims: tuple[int, ...] = (2, 3)) -> Make:
    return lambda g: g.op("TensorScatterUpdate", np.zeros(dims, np.float32), places, np.array([1, -np.inf], np.float32))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda g: g.op("Eye", 2, 3, 43), np.eye(2, 3)),
        (lambda g: g.node("Eye", [g.constant(v) for v in (2, 2, 30)], TensorType((2, 2), BOOL)), np.eye(2)),
        (lambda g: g.concat([g.constant(np.ones((1, 2), np.float32)), g.op("Eye", 1, 2, 43)], 0), [[1, 1], [1, 0]]),
        (put(PLACES), [[0, 1, 0], [0, 0, -np.inf]]),
    ],
)
def test_what_masks_are_put_together_of_is_folded(make: Make, expected: Array) -> None:
    """As MindSpore's CPU kernels do it: see the rules of verification."""
    known, model, value = folder(make)
    found, tensor_type = known.value(value), model.type_of(value)
    assert found is not None
    assert tensor_type is not None
    assert found.dtype == tensor_type.dtype.numpy
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "places", [[[0, 1], [0, 1]], [[0, 1], [0, 3]], [[0, 1], [0, -1]]], ids=["twice", "beyond", "below"]
)
def test_places_that_leave_something_open_are_not_folded(places: list[list[int]]) -> None:
    known, _, value = folder(put(np.array(places, np.int64)))
    assert known.value(value) is None


def sliced(begin_mask: int, end_mask: int, dims: tuple[int, ...], *others: int) -> Make:
    """[1:2, 1:2] of a [4, 3] constant, with bounds freed by the masks."""
    arguments: tuple[Literal, ...] = ((1, 1), (2, 2), (1, 1), begin_mask, end_mask, *(others or (0, 0, 0)))
    return lambda g: g.op("StridedSlice", constant(g, 4, 3), *arguments, dims=dims)


@pytest.mark.parametrize(("begin", "end", "dims"), [(0, 0, (1, 1)), (1, 0, (2, 1)), (0, 1, (3, 1)), (2, 3, (3, 3))])
def test_masks_of_slices_free_their_bounds(begin: int, end: int, dims: tuple[int, ...]) -> None:
    """Bit i of begin_mask and end_mask: axis i from its start, to its end."""
    known, model, value = folder(sliced(begin, end, dims))
    found = known.value(value)
    assert found is not None
    np.testing.assert_array_equal(found, oracle.run(model, {})[0])


@pytest.mark.parametrize("others", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_slices_that_change_the_rank_are_not_folded(others: tuple[int, ...]) -> None:
    known, _, value = folder(sliced(0, 0, (1, 1), *others))
    assert known.value(value) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda g: g.muls(g.input("x", (2,)), 0.0),
        lambda g: g.op("Exp", constant(g, 2)),
        lambda g: g.weight("w", (2,)),
        lambda g: g.tile(constant(g, 1), (1 << 27,)),
        lambda g: g.node("Tile", [constant(g, 2), g.input("n", (1,), INT64)], TensorType((4,), FLOAT32)),
        lambda g: g.node("Tile", [constant(g, 2, 3), g.constant((2, 1.0))], TensorType((2, 6), FLOAT32)),
        lambda g: g.node("Transpose", [constant(g, 2, 3), g.constant((1, 0))], TensorType((6,), FLOAT32)),
        lambda g: g.node("InplaceAddExt", [constant(g, 2), constant(g, 2), g.constant(1)], TensorType((2,), FLOAT32)),
    ],
    ids=["input", "operator", "weight", "too large", "repeats", "no integer", "another shape", "in place"],
)
def test_what_is_not_known_is_not_folded(make: Make) -> None:
    known, _, value = folder(make)
    assert known.value(value) is None


def mask(g: GraphBuilder) -> str:
    return g.input(f"mask{len(g.graph.input)}", (2, 3), BOOL)


def zero_or(low: float, dtype: Any = FLOAT32) -> Make:
    def make(g: GraphBuilder) -> str:
        values = [mask(g), *(g.constant(np.array(x).astype(dtype.numpy)) for x in (0.0, low))]
        return g.node("Select", values, TensorType((2, 3), dtype))

    return make


def inverted(g: GraphBuilder, low: float) -> str:
    """(1 − mask) · low, as BERT has it."""
    return g.muls(g.sub(np.array(1, np.float32), g.cast(mask(g), FLOAT32)), low)


@pytest.mark.parametrize(
    ("make", "numbers"),
    [
        (mask, {0.0, 1.0}),
        (lambda g: g.cast(mask(g), FLOAT32), {0.0, 1.0}),
        (lambda g: inverted(g, -10000.0), {0.0, -10000.0}),
        (zero_or(-np.inf), {0.0, -np.inf}),
        (lambda g: g.expand_dims(g.transpose(zero_or(-1e9)(g), (1, 0)), 0), {0.0, float(np.float32(-1e9))}),
        (lambda g: g.add(zero_or(-1.0)(g), zero_or(-4.0)(g)), {0.0, -1.0, -4.0, -5.0}),
        (lambda g: g.masked_fill(zero_or(-1.0)(g), mask(g), np.array(-7, np.float32)), {0.0, -1.0, -7.0}),
        (lambda g: g.cast(zero_or(-3.4e38)(g), FLOAT16), {0.0, -np.inf}),
        (lambda g: constant(g, 2, 3), {-2.0, -1.0, 0.0, 1.0, 2.0, 3.0}),
        (lambda g: g.op("Narrow", g.op("View", zero_or(-1.0)(g), (6,), dims=(6,)), 0, 1, 2, dims=(2,)), {0.0, -1.0}),
    ],
    ids=["bool", "cast", "bert", "select", "layout", "sum", "fill", "narrowed", "constant", "part of a view"],
)
def test_the_numbers_a_mask_is_made_of(make: Make, numbers: set[float]) -> None:
    known, _, value = folder(make)
    assert known.possible(value) == frozenset(numbers)


@pytest.mark.parametrize(
    "make",
    [
        lambda g: g.input("bias", (2, 3)),
        lambda g: g.add(zero_or(-1.0)(g), g.input("bias", (2, 3))),
        lambda g: g.op("Exp", zero_or(-1.0)(g)),
        lambda g: g.sub(zero_or(-np.inf)(g), zero_or(-np.inf)(g)),  # −inf − −inf
        lambda g: g.mul(zero_or(-np.inf)(g), g.cast(mask(g), FLOAT32)),  # 0 · −inf
        lambda g: g.div(zero_or(-1.0)(g), g.cast(mask(g), FLOAT32)),  # 1 / 0
        lambda g: constant(g, 2, MAX_NUMBERS),
    ],
    ids=["input", "sum with one", "operator", "inf - inf", "0 * inf", "1 / 0", "too many"],
)
def test_numbers_that_are_not_known(make: Make) -> None:
    known, _, value = folder(make)
    assert known.possible(value) is None


@pytest.mark.parametrize(("largest", "known"), [(6, True), (5, False)])
def test_a_larger_constant_than_asked_for_is_not_computed(largest: int, known: bool) -> None:
    g = GraphBuilder()
    value = g.add(constant(g, 2, 3), np.ones(3, np.float32))
    g.output(value)
    model = g.model()
    found = ConstantFolder(model, Effects.of(model), largest=largest)
    assert (found.value(value) is not None) == known


def test_as_many_numbers_as_there_may_be() -> None:
    known, _, value = folder(lambda g: constant(g, 1, MAX_NUMBERS))
    found = known.possible(value)
    assert found is not None
    assert len(found) == MAX_NUMBERS


def test_nothing_is_known_of_what_is_changed_in_place() -> None:
    """The sum is read by name only: which of the buffer's states it reads is the scheduler's to say."""
    g = GraphBuilder("buffer")
    buffer = g.node("Reshape", [g.constant(np.ones(6, np.float32)), g.constant((2, 3))], TensorType((2, 3), FLOAT32))
    total = g.add(buffer, np.ones((2, 3), np.float32))
    changed = g.node("InplaceMul", [buffer, g.constant(2.0), g.monad()], TensorType((2, 3), FLOAT32))
    g.output(total, changed)
    model = g.model()
    known = ConstantFolder(model, Effects.of(model))
    assert known.value(total) is None
    assert known.possible(total) is None


@pytest.mark.parametrize(
    ("make", "learned"),
    [
        (lambda g: g.op("Squeeze", g.weight("w", (1, 3)), (0,), dims=(3,)), True),
        (lambda g: g.node("Embedding", [g.input("i", (2,), INT64), g.weight("w", (4, 3))], KIND), True),
        (lambda g: g.node("Embedding", [g.constant(np.array([1, 0])), g.input("x", (4, 3))], KIND), False),
        (lambda g: g.tuple_get_item(g.node("Chunk", [g.weight("w", (4, 3)), g.constant(2)], (KIND, KIND)), 1), True),
        (lambda g: g.op("Neg", g.weight("w", (2, 3))), False),
    ],
    ids=["squeezed", "looked up", "a table of run time", "part", "computed"],
)
def test_what_holds_only_elements_of_weights_is_learned(make: Make, learned: bool) -> None:
    _, model, value = folder(make)
    assert is_learned(model, value) is learned
