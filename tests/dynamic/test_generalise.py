"""From a family to one graph for any batch: what can follow it, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnfuse.dynamic import generalise
from attnfuse.errors import TraceError
from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.ir.operators.arguments import Arguments, TypeMismatch
from attnfuse.ir.operators.table import operator
from attnfuse.ir.types import Array, Literal, TensorType, ValueType
from attnfuse.mindir import dtypes
from attnfuse.mindir.codec import serialise
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32, DType
from attnfuse.tracing.contract import DYNAMIC_BATCHES as BATCHES
from attnfuse.verify.graph.sites import cut_replaced, find
from attnfuse.verify.graph.structure import check_interface, check_structure
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.comparison import Side
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.replaced_operators import compare_replaced
from attnfuse.verify.numbers.weights import drawn_weights, stored_weights
from tests.dynamic.graphs import Make, attention, family, graph
from tests.support.graphs import GraphBuilder


def _values(model: Model, inputs: Mapping[str, Array]) -> list[Array]:
    """The outputs, and every tensor on the way, each of which must be of its declared shape."""
    made = {n.name: model.type_of(n.name) for n in model.nodes if n.op != CONSTANT and n.op != "UpdateState"}
    taps = [name for name, tensor_type in made.items() if tensor_type is not None]
    count = len(model.proto.graph.output)
    weights = stored_weights(model.proto, Path("/none/net.mindir"))
    values = run(lower(model, Arithmetic.EXACT, taps=taps), inputs, weights)
    for name, value in zip(taps, values[count:], strict=True):
        tensor_type = made[name]
        assert tensor_type is not None
        assert value.shape == tensor_type.dims, name
    return values[:count]


def _equal_at(make: Make, batch: int) -> None:
    """The written graph computes at that batch what a graph made for it does, and its types there are right."""
    made = generalise(family(make))
    wanted, bound = Model(graph(make, batch)), Model(made.bind(batch))
    assert check_structure(bound) == []
    assert check_interface(wanted, bound) == []
    inputs = draw_inputs(wanted, 0)
    for got, expected in zip(_values(bound, inputs), _values(wanted, inputs), strict=True):
        np.testing.assert_array_equal(got, expected)
    # As `--verify full` does, which takes every value that is made otherwise for itself, constants among them.
    weights = drawn_weights(0)
    others = [(replaced, cut_replaced(wanted, bound, replaced)) for replaced in find(wanted, bound).replaced]
    parts = [(replaced, part) for replaced, part in others if part is not None]
    assert compare_replaced(Side(wanted, weights), Side(bound, weights), parts, 0)[0] == []


@pytest.mark.parametrize("batch", [1, 2, 13, 20])
def test_a_layer_of_attention(batch: int) -> None:
    _equal_at(attention, batch)


def test_every_size_that_follows_the_batch_is_unknown() -> None:
    found = family(attention)
    made = generalise(found)
    model = Model(made.model)
    assert model.type_of(model.proto.graph.input[0].name) == model.type_of(model.proto.graph.output[0].name)
    assert model.proto.graph.input[0].tensor[0].dims == [-1, 6, 8]
    assert model.proto.graph.input[1].tensor[0].dims == [1]
    known = {n for batch in BATCHES for n in (2 * batch, 4 * batch, 12 * batch)}
    for node in model.nodes:
        text = str(node.proto)
        assert not any(f"dims: {n}\n" in text or f"ints: {n}\n" in text for n in known), text


def test_the_family_is_left_as_it_was() -> None:
    found = family(attention)
    before = serialise(found.model)
    generalise(found)
    assert serialise(found.model) == before


def test_nothing_follows_the_batch() -> None:
    found = family(lambda g, _: g.softmax(g.input("x", (2, 3))))
    assert serialise(generalise(found).model) == serialise(found.model)


def _tile(g: GraphBuilder, batch: int) -> str:
    g.input("x", (batch, 2, 3))
    return g.tile(g.input("row", (1, 4)), (batch, 2))


def _tile_more_axes(g: GraphBuilder, batch: int) -> str:
    x = g.input("x", (batch,))
    row = g.input("row", (4,))
    return g.mul(g.reshape(x, (-1, 1)), g.op("Tile", row, (batch, 1), dims=(batch, 4)))


def _broadcast(g: GraphBuilder, batch: int) -> str:
    g.input("x", (batch, 2, 3))
    return g.broadcast_to(g.input("row", (4,)), (batch, 3, 4))


def _sliced_in_other_axes(g: GraphBuilder, batch: int) -> str:
    return g.strided_slice(g.input("x", (batch, 3)), (0, 1), (batch, 2))


def _slice(g: GraphBuilder, x: str, arguments: tuple[Literal, ...], columns: int) -> str:
    rows = g.dims(x)[0]
    return g.node("StridedSlice", [x, *(g.constant(a) for a in arguments)], TensorType((rows, columns), FLOAT32))


def _every_second(g: GraphBuilder, batch: int) -> str:
    """As rotary embeddings take pairs apart: masks leave out the rows' ends, which stand there all the same."""
    x = g.input("x", (batch, 4))
    return _slice(g, x, ((0, 1), (batch, 0), (1, 2), 1, 3, 0, 0, 0), 2)


def _from_a_masked_beginning(g: GraphBuilder, batch: int) -> str:
    x = g.input("x", (batch, 4))
    return _slice(g, x, ((5, 1), (batch, 0), (1, 1), 1, 2, 0, 0, 0), 3)


def _repeated(g: GraphBuilder, batch: int) -> str:
    x = g.input("x", (batch, 3))
    return g.add(x, g.node("Repeat", [g.input("row", (1, 3)), g.constant((batch, 1))], g.type_of(x)))


def _viewed(g: GraphBuilder, batch: int) -> str:
    return g.softmax(
        g.node("View", [g.input("x", (batch, 2, 3)), g.constant((batch, 6))], TensorType((batch, 6), FLOAT32))
    )


def _zeros(g: GraphBuilder, batch: int) -> str:
    x = g.input("x", (batch, 3))
    return g.add(x, g.node("Zeros", [g.constant((batch, 3)), g.constant(FLOAT32.type_id)], g.type_of(x)))


def _new_zeros(g: GraphBuilder, batch: int) -> str:
    """The sizes are its second argument."""
    x = g.input("x", (batch, 3))
    return g.add(x, g.node("NewZeros", [x, g.constant((batch, 3)), g.constant(None)], g.type_of(x)))


def _full(g: GraphBuilder, batch: int) -> str:
    x = g.input("x", (batch, 3))
    arguments = [g.constant((batch, 3)), g.constant(2.5), g.constant(FLOAT32.type_id)]
    return g.add(x, g.node("FillScalar", arguments, g.type_of(x)))


def _broadcast_in_other_axes(g: GraphBuilder, batch: int) -> str:
    return g.broadcast_to(g.input("x", (batch, 1, 4)), (batch, 3, 4))


def _constant_in_other_axes(g: GraphBuilder, batch: int) -> str:
    """Every number it may hold comes through as it is."""
    g.input("x", (batch, 2))
    row = np.array([[[1.5, -0.0, np.inf, -65504.0]]], np.float32)
    return g.op(
        "Reciprocal", g.broadcast_to(g.constant(np.repeat(row, batch, axis=0)), (batch, 3, 4)), dims=(batch, 3, 4)
    )


def _broadcast_of_rows(g: GraphBuilder, batch: int) -> str:
    x = g.broadcast_to(g.broadcast_to(g.input("x", (batch, 4)), (batch, 4)), (batch, 4))
    return g.softmax(x)


def _picked(g: GraphBuilder, batch: int) -> str:
    """One element of every row, as CLIP picks the token it pools."""
    x, at = g.input("x", (batch, 3)), g.input("at", (batch,), dtypes.INT64)
    rows = g.op("ExpandDims", g.constant(np.arange(batch)), 1, dims=(batch, 1))
    where = g.concat([rows, g.expand_dims(at, 1)], 1)
    return g.add(g.cast(where, FLOAT32), g.strided_slice(x, (0, 0), (g.dims(x)[0], 2)))


def _picked_by_column(g: GraphBuilder, batch: int) -> str:
    """The numbers of rows, one below the other, as an index of several axes holds them."""
    x = g.input("x", (batch, 3))
    return g.add(x, g.cast(g.constant(np.arange(batch)[:, None]), FLOAT32))


def _mask(g: GraphBuilder, batch: int) -> str:
    x = g.input("x", (batch, 3), dtypes.BOOL)
    return g.select(x, np.full((batch, 3), 2, np.float16), np.array(0, np.float16))


def _condition(g: GraphBuilder, batch: int) -> str:
    x = g.input("x", (batch, 3))
    mask = np.tile(np.array([True, False, True]), (batch, 1))
    return g.node("Select", [g.constant(mask), x, g.constant(np.zeros((), np.float32))], g.type_of(x))


def _twice(g: GraphBuilder, batch: int) -> str:
    """One target for two shapes: its -1 stands for another number in each."""
    a, b = g.input("a", (batch, 6, 4)), g.input("b", (batch, 3, 4))
    a, b = g.reshape(a, (2 * batch, -1, 2)), g.reshape(b, (2 * batch, -1, 2))
    return g.concat([a, b], 1)


def _uneven(g: GraphBuilder, batch: int) -> str:
    """A row more than the batch."""
    return g.softmax(g.reshape(g.input("x", (batch + 1, 2, 3)), (batch + 1, 6)))


@pytest.mark.parametrize(
    "make",
    [
        _tile,
        _tile_more_axes,
        _broadcast,
        _repeated,
        _viewed,
        _zeros,
        _new_zeros,
        _full,
        _sliced_in_other_axes,
        _every_second,
        _from_a_masked_beginning,
        _broadcast_in_other_axes,
        _broadcast_of_rows,
        _constant_in_other_axes,
        _picked,
        _picked_by_column,
        _mask,
        _condition,
        _twice,
        _uneven,
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_what_can_follow_the_batch(make: Make, batch: int) -> None:
    _equal_at(make, batch)


@pytest.mark.parametrize("dtype", [FLOAT16, FLOAT32, dtypes.INT64])
@pytest.mark.parametrize("source", [FLOAT16, dtypes.INT64])
def test_rows_of_another_type_than_the_input_that_counts_them(dtype: DType, source: DType) -> None:
    def make(g: GraphBuilder, batch: int) -> str:
        g.input("x", (batch, 2), source)
        return g.tile(g.input("row", (1, 4), dtype), (batch, 1))

    _equal_at(make, 3)


def _sliced(g: GraphBuilder, batch: int) -> str:
    return g.strided_slice(g.input("x", (batch + 1, 3)), (0, 0), (batch, 2))


def _sliced_from_the_second(g: GraphBuilder, batch: int) -> str:
    return g.strided_slice(g.input("x", (batch, 3)), (1, 0), (batch, 2))


def _two_axes(g: GraphBuilder, batch: int) -> str:
    x = g.input("x", (batch, 3 * batch + 1))
    return g.reshape(x, (batch, 3 * batch + 1, 1))


def _tile_of_rows(g: GraphBuilder, batch: int) -> str:
    g.input("x", (2 * batch, 3))
    return g.tile(g.input("rows", (2, 3)), (batch, 1))


def _second_axis(g: GraphBuilder, batch: int) -> str:
    g.input("x", (batch, 3))
    return g.tile(g.input("row", (1, 1)), (1, batch))


def _no_input(g: GraphBuilder, batch: int) -> str:
    g.input("x", (batch, 3))
    return g.tile(g.input("row", (1, 3)), (5 * batch, 1))


def _scalar(g: GraphBuilder, batch: int) -> str:
    return g.op("Addn", g.input("x", (batch, 3)), batch)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_sliced, "StridedSlice .*: its argument end follows the batch"),
        (_sliced_from_the_second, "StridedSlice .*: its argument end follows the batch"),
        (_two_axes, "Reshape .*: more than one dimension of its result follows the batch"),
        (_tile_of_rows, "Tile .*: it repeats more than one row"),
        (_second_axis, "Tile .*: it follows the batch in more than its first dimension"),
        (_no_input, "Tile .*: no input has as many rows as it makes"),
        (_scalar, "Constant .*: a constant follows the batch that is no shape"),
    ],
)
def test_what_cannot(make: Make, message: str) -> None:
    with pytest.raises(
        TraceError, match=f"component net cannot be written for any batch: {message}; compile it without"
    ):
        generalise(family(make))


def test_a_node_that_cannot_be_written_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_rows(a: Arguments) -> ValueType:
        raise TypeMismatch("has no rows")

    opaque = replace(operator("ZerosLike"), infer=no_rows)
    monkeypatch.setattr("attnfuse.ir.values.operator", lambda name: opaque if name == "ZerosLike" else operator(name))
    with pytest.raises(TraceError, match=r"no node can be written for it: ZerosLike\(float32.*\) has no rows; compile"):
        generalise(family(attention))
