"""Operators that only move values, held to NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError
from tests.support.graphs import PRIMITIVE, GraphBuilder
from tests.verify.lowering.support import C3, EXACT, NATIVE, Case, X, check, execute, f, one

CASES: list[Case] = [
    ("Reshape", [C3, (4, -1)], C3.reshape(4, 15), FLOAT32),
    ("FlattenExt", [C3, 1, 2], C3.reshape(3, 20), FLOAT32),
    ("Transpose", [C3, (0, -1, 1)], C3.transpose(0, 2, 1), FLOAT32),
    ("TransposeExtView", [C3, 0, -1], C3.transpose(2, 1, 0), FLOAT32),
    ("StridedSlice", [C3, (0, 1, 0), (3, 4, 5), (1, 2, 1), 0, 0, 0, 0, 0], C3[:, 1:4:2], FLOAT32),
    ("StridedSlice", [C3, (0, 0, -2), (0, 0, 0), (1, 1, 1), 3, 7, 0, 0, 0], C3[:, :, -2:], FLOAT32),
    ("StridedSlice", [C3, (0, -1), (0, 0), (1, 1), 0, 0, 1, 0, 2], C3[..., -1], FLOAT32),
    ("StridedSlice", [C3, (1,), (0,), (1,), 0, 0, 0, 0, 1], C3[1], FLOAT32),
    ("Slice", [C3, (1, 0, 2), (2, -1, 3)], C3[1:, :, 2:5], FLOAT32),
    ("SliceExt", [C3, 2, 1, 4, 1], C3[:, :, 1:4], FLOAT32),
    ("SelectExtView", [C3, 1, -2], C3[:, -2], FLOAT32),
    ("View", [C3, (5, 12)], C3.reshape(5, 12), FLOAT32),
    ("ViewAs", [C3, f(5, 12)], C3.reshape(5, 12), FLOAT32),
    ("TensorMove", [C3], C3, FLOAT32),
    ("Narrow", [C3, 1, -2, 2], C3[:, -2:], FLOAT32),
    ("TExt", [C3], C3.T, FLOAT32),
    ("Roll", [C3, (1, -2), (0, 2)], np.roll(C3, (1, -2), (0, 2)), FLOAT32),
    ("Roll", [X, 3, None], np.roll(X, 3), FLOAT32),
    ("Tile", [X, (2, 1, 3)], np.tile(X, (2, 1, 3)), FLOAT32),
    ("BroadcastTo", [f(3, 1), (2, -1, 4)], np.broadcast_to(f(3, 1), (2, 3, 4)), FLOAT32),
    ("RepeatInterleaveInt", [C3, 2, 1, 8], np.repeat(C3, 2, 1), FLOAT32),
    ("RepeatInterleaveInt", [X, 2, None, 24], np.repeat(X, 2), FLOAT32),
    ("ConstantPadND", [C3, (0, 1, 2, 0), 1.5], np.pad(C3, ((0, 0), (2, 0), (0, 1)), constant_values=1.5), FLOAT32),
    ("PadV3", [C3, (0, 1), 0.0], np.pad(C3, ((0, 0), (0, 0), (0, 1))), FLOAT32),
    ("Triu", [X, 1], np.triu(X, 1), FLOAT32),
    ("Tril", [X, -1], np.tril(X, -1), FLOAT32),
    ("TrilExt", [C3, 1], np.tril(C3, 1), FLOAT32),
    ("ReverseV2", [C3, (0, -1)], C3[::-1, :, ::-1], FLOAT32),
    ("UpsampleNearest2D", [C3[None], (8, 5), None], C3[None].repeat(2, 2), FLOAT32),
    ("ResizeNearestNeighbor", [C3[None], (8, 5), False, False], C3[None].repeat(2, 2), FLOAT32),
    ("ResizeNearestNeighborV2", [C3[None], (8, 5), False, True], C3[None].repeat(2, 2), FLOAT32),
    ("ResizeNearestNeighborV2", [C3[None], (2, 5), False, True], C3[None][:, :, [1, 3]], FLOAT32),
    ("ResizeNearestNeighborV2", [C3[None], (2, 5), False, False], C3[None][:, :, [0, 2]], FLOAT32),
    ("Repeat", [X, (2, 1)], np.tile(X, (2, 1)), FLOAT32),
    (
        "ReplicationPad3D",
        [C3[None, None], (1, 0, 0, 2, 1, 1)],
        np.pad(C3[None, None], [(0, 0), (0, 0), (1, 1), (0, 2), (1, 0)], mode="edge"),
        FLOAT32,
    ),
    ("ReplicationPad2D", [C3[None], (1, 2, 0, 1)], np.pad(C3, [(0, 0), (0, 1), (1, 2)], mode="edge")[None], FLOAT32),
    ("UpsampleNearest1D", [C3, (10,), None], C3.repeat(2, 2), FLOAT32),
    ("UpsampleNearest3D", [C3[None, None], (3, 8, 5), None], C3[None, None].repeat(2, 3), FLOAT32),
    ("ReflectionPad1D", [C3, (2, 1)], np.pad(C3, [(0, 0), (0, 0), (2, 1)], mode="reflect"), FLOAT32),
]


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_operators(case: Case, arithmetic: Arithmetic) -> None:
    check(case, arithmetic)


def parts(op: str, arguments: Sequence[Array | Literal], pieces: Sequence[Array]) -> None:
    """An operator of several results, each held against its piece."""
    g = GraphBuilder("parts")
    inputs = {f"a{i}": a for i, a in enumerate(arguments) if isinstance(a, np.ndarray)}
    values = [
        g.input(f"a{i}", a.shape, FLOAT32) if isinstance(a, np.ndarray) else g.constant(a)
        for i, a in enumerate(arguments)
    ]
    split = g.node(op, values, tuple(TensorType(p.shape, FLOAT32) for p in pieces))
    g.output(*(g.tuple_get_item(split, i) for i in range(len(pieces))))
    for got, expected in zip(execute(g.model(), inputs), pieces, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_splits() -> None:
    parts("SplitWithSize", [C3, (1, 4), 2], np.split(C3, [1], 2))
    parts("Chunk", [C3, 3, 2], [C3[..., :2], C3[..., 2:4], C3[..., 4:]])
    parts("Split", [C3, 1, 2], np.split(C3, 2, 1))
    parts("UnstackExtView", [C3, 0], list(C3))


def test_grids() -> None:
    """The numbers of the indexings are those MindSpore's exports hold: of [2] and [3], 0 gives [2, 3] and 1 [3, 2]."""
    vectors = [f(2), f(3, name="y")]
    for number, name in enumerate(("ij", "xy")):
        expected = np.meshgrid(*vectors, indexing="ij" if name == "ij" else "xy")
        g = GraphBuilder("grids")
        inputs = [g.input("x", (2,)), g.input("y", (3,))]
        pair = g.node("MakeTuple", inputs, (g.type_of(inputs[0]), g.type_of(inputs[1])), primitive=PRIMITIVE)
        kinds = tuple(TensorType(e.shape, FLOAT32) for e in expected)
        grids = g.node("Meshgrid", [pair, g.constant(number)], kinds)
        g.output(g.tuple_get_item(grids, 0), g.tuple_get_item(grids, 1))
        for got, grid in zip(execute(g.model(), {"x": vectors[0], "y": vectors[1]}), expected, strict=True):
            np.testing.assert_array_equal(got, grid)


def test_stack_and_concat() -> None:
    g = GraphBuilder("join")
    x, y = g.input("x", (2, 3)), g.input("y", (2, 3))
    pair = g.node("MakeTuple", [x, y], (g.type_of(x), g.type_of(y)), primitive=PRIMITIVE)
    stacked = g.node("StackExt", [pair, g.constant(-1)], TensorType((2, 3, 2), FLOAT32))
    g.output(stacked, g.concat([x, y], 1))
    a, c = f(2, 3), f(2, 3, name="y")
    got = execute(g.model(), {"x": a, "y": c})
    np.testing.assert_array_equal(got[0], np.stack([a, c], -1))
    np.testing.assert_array_equal(got[1], np.concatenate([a, c], 1))


def test_padding_by_reflection_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="padding"):
        one("PadV3", [C3, (0, 1), 0.0], (3, 4, 6), attributes={"mode": "reflect"})


def test_a_size_that_is_not_the_results_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="its size"):
        one("ResizeNearestNeighbor", [C3[None], (5, 8), False, False], (1, 3, 8, 5))
