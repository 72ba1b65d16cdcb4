"""Lowering: operators against NumPy, fused nodes against a NumPy oracle, and both arithmetics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOAT64, INT64, DType
from attnfuse.verify.lowering import Arithmetic, Rounding, UnsupportedOpError, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.weights import drawn_weights, stored_weights
from tests.support.graphs import MAX_TOKENS, PRIMITIVE, GraphBuilder, fill_literal, seeded

EXACT, NATIVE = Arithmetic.EXACT, Arithmetic.NATIVE
LOWEST = float(np.finfo(np.float32).min)
Floats: TypeAlias = npt.NDArray[np.float64]


def execute(model: Model, inputs: Mapping[str, Array], arithmetic: Arithmetic = EXACT) -> list[npt.NDArray[Any]]:
    """Inputs by their own names."""
    named = {value.name: inputs[value.name.split(":")[1]] for value in model.proto.graph.input}
    return run(lower(model, arithmetic), named, stored_weights(model.proto, Path("/none/x.mindir")))


def one(
    op: str,
    arguments: Sequence[Array | Literal],
    dims: Sequence[int],
    dtype: DType = FLOAT32,
    arithmetic: Arithmetic = EXACT,
    attributes: dict[str, Literal] | None = None,
) -> npt.NDArray[Any]:
    """One operator: arrays become inputs, everything else constants."""
    g = GraphBuilder("one")
    inputs: dict[str, Array] = {}
    values = []
    for i, argument in enumerate(arguments):
        if isinstance(argument, np.ndarray):
            kind = dtypes.of_array(argument)
            values.append(g.input(f"a{i}", argument.shape, kind))
            inputs[f"a{i}"] = argument
        else:
            values.append(g.constant(argument))
    g.output(g.node(op, values, TensorType(tuple(dims), dtype)))
    for name, value in (attributes or {}).items():
        fill_literal(g.proto.primitives[-1].attribute.add(name=name), value)
    return execute(g.model(), inputs, arithmetic)[0]


def f(*dims: int, name: str = "x", scale: float = 1.0) -> npt.NDArray[np.float32]:
    return seeded(name, dims, FLOAT32, scale).astype(np.float32)


def b(*dims: int) -> npt.NDArray[np.bool_]:
    return np.greater(f(*dims, name="b"), 0)


X, Y, P = f(3, 4), f(3, 4, name="y"), np.abs(f(3, 4)) + np.float32(0.5)
N = np.array([[1, 2, 0], [2, 1, 3]], np.int64)
C3 = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
# The means of windows of 2 × 3, every second row.
MEANS: Floats = np.mean([C3[:, i::2, j : j + 3].astype(float) for i in range(2) for j in range(3)], axis=0)
# Of 4 × 5, means of 3 × 2: rows 0–1, 1–2, 2–3 and columns 0–2, 2–4, which overlap.
ADAPTED: Floats = np.stack(
    [C3[:, i : i + 2, j : j + 3].astype(float).mean((1, 2)) for i in range(3) for j in (0, 2)], -1
)
ADAPTED = ADAPTED.reshape(3, 3, 2)
# Of 4 columns, means of 6: more than there are.
WIDENED: Floats = (X[None, :, [0, 0, 1, 2, 2, 3]].astype(float) + X[None, :, [0, 1, 1, 2, 3, 3]]) / 2

CASES: list[tuple[str, list[Array | Literal], Array, DType]] = [
    ("Add", [X, f(4)], X.astype(float) + f(4), FLOAT32),
    ("AddExt", [X, Y, 2], X.astype(float) + 2 * Y.astype(float), FLOAT32),
    ("SubExt", [X, Y, 2], X.astype(float) - 2 * Y.astype(float), FLOAT32),
    ("InplaceAddExt", [X, Y, 1], X.astype(float) + Y, FLOAT32),
    ("Mul", [X, b(3, 4)], X.astype(float) * b(3, 4), FLOAT32),
    ("Muls", [X, 0.1], X.astype(float) * np.float32(0.1), FLOAT32),
    ("Divs", [X, 3], X.astype(float) / 3, FLOAT32),
    ("RealDiv", [X, P], X.astype(float) / P, FLOAT32),
    ("Pow", [P, np.float32(1.5) * np.ones((), np.float32)], P.astype(float) ** 1.5, FLOAT32),
    ("PowTensorScalar", [X, 2], X.astype(float) ** 2, FLOAT32),
    ("PowTensorScalar", [P, 0.5], P.astype(float) ** 0.5, FLOAT32),
    ("Minimum", [X, Y], np.minimum(X, Y), FLOAT32),
    ("Maximum", [X, Y], np.maximum(X, Y), FLOAT32),
    ("Less", [X, Y], X < Y, BOOL),
    ("AddScalar", [X, 0.5, 2], X.astype(float) + 1.0, FLOAT32),
    ("SubScalar", [X, 0.5, 2], X.astype(float) - 1.0, FLOAT32),
    ("LessScalar", [N, 2], N < 2, BOOL),
    ("LessScalar", [N, 1.5], N < 1.5, BOOL),
    ("LessScalar", [N, math.inf], math.inf > N, BOOL),
    ("GreaterEqualScalar", [N, 2], N >= 2, BOOL),
    ("NeScalar", [N, 2], N != 2, BOOL),
    ("NeScalar", [N, 1.5], np.ones(N.shape, bool), BOOL),
    ("EqScalar", [N, 2], N == 2, BOOL),
    ("GreaterEqual", [X, X.copy()], np.ones((3, 4), bool), BOOL),
    ("LessEqual", [X, Y], X <= Y, BOOL),
    ("NotEqual", [N, N[:, :1].copy()], N[:, :1] != N, BOOL),
    ("FloorDiv", [np.array([7, -7, 6, -6], np.int64), np.array(2, np.int64)], np.array([3, -4, 3, -3]), INT64),
    ("LogicalNot", [b(3)], ~b(3), BOOL),
    ("LogicalAnd", [b(3, 4), b(4)], b(3, 4) & b(4), BOOL),
    ("BitwiseOr", [b(3, 4), b(4)], b(3, 4) | b(4), BOOL),
    ("IsInf", [np.array([1, np.inf, -np.inf, np.nan], np.float32)], np.array([0, 1, 1, 0], bool), BOOL),
    ("Select", [b(4), b(3, 4), ~b(3, 4)], np.where(b(4), b(3, 4), ~b(3, 4)), BOOL),
    ("MaskedFill", [b(3, 4), b(4), np.array(True)], b(3, 4) | b(4), BOOL),
    ("Select", [b(3, 4), X, Y], np.where(b(3, 4), X, Y), FLOAT32),
    ("MaskedFill", [X, b(3, 4), np.array(-7, np.float32)], np.where(b(3, 4), -7, X), FLOAT32),
    ("Rsqrt", [P], P.astype(float) ** -0.5, FLOAT32),
    ("SiLU", [X], X / (1 + np.exp(-X.astype(float))), FLOAT32),
    ("Log", [P], np.log(P.astype(float)), FLOAT32),
    ("Log2", [P], np.log2(P.astype(float)), FLOAT32),
    ("Log10", [P], np.log10(P.astype(float)), FLOAT32),
    ("GeluExt", [X, 0], np.vectorize(lambda v: v / 2 * (1 + math.erf(v / math.sqrt(2))))(X.astype(float)), FLOAT32),
    (
        "GeLU",
        [X],
        X / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (X.astype(float) + 0.044715 * X.astype(float) ** 3))),
        FLOAT32,
    ),
    ("ClampScalar", [X, -0.5, None], np.maximum(X, -0.5), FLOAT32),
    ("ClampTensor", [X, np.array([-1], np.int64), np.array([1], np.int64)], np.clip(X, -1, 1), FLOAT32),
    ("Outer", [f(3), f(4)], np.outer(f(3).astype(float), f(4)), FLOAT32),
    ("OnesLikeExt", [X, 43], np.ones((3, 4)), FLOAT32),
    ("FillScalar", [(2, 3), 1.5, 43], np.full((2, 3), 1.5), FLOAT32),
    ("FillV2", [(2, 3), np.array(1.5, np.float32)], np.full((2, 3), 1.5), FLOAT32),
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
    ("Tile", [X, (2, 1, 3)], np.tile(X, (2, 1, 3)), FLOAT32),
    ("BroadcastTo", [f(3, 1), (2, -1, 4)], np.broadcast_to(f(3, 1), (2, 3, 4)), FLOAT32),
    ("RepeatInterleaveInt", [C3, 2, 1, 8], np.repeat(C3, 2, 1), FLOAT32),
    ("RepeatInterleaveInt", [X, 2, None, 24], np.repeat(X, 2), FLOAT32),
    ("ConstantPadND", [C3, (0, 1, 2, 0), 1.5], np.pad(C3, ((0, 0), (2, 0), (0, 1)), constant_values=1.5), FLOAT32),
    ("PadV3", [C3, (0, 1), 0.0], np.pad(C3, ((0, 0), (0, 0), (0, 1))), FLOAT32),
    ("Gather", [C3, N, 1, 0], C3[:, N], FLOAT32),
    ("Embedding", [N, f(5, 4), None, None, 2.0, False], f(5, 4)[N], FLOAT32),
    ("GatherD", [X[:2, :3].copy(), 1, N % 3], np.take_along_axis(X[:2, :3], N % 3, 1), FLOAT32),
    ("GatherNd", [X, np.array([[0, 1], [2, 3]], np.int64)], X[[0, 2], [1, 3]], FLOAT32),
    ("Triu", [X, 1], np.triu(X, 1), FLOAT32),
    ("Tril", [X, -1], np.tril(X, -1), FLOAT32),
    ("TrilExt", [C3, 1], np.tril(C3, 1), FLOAT32),
    ("ReverseV2", [C3, (0, -1)], C3[::-1, :, ::-1], FLOAT32),
    ("AdaptiveAvgPool2DExt", [C3[None], (3, 2)], ADAPTED[None], FLOAT32),
    ("AdaptiveAvgPool2DExt", [X[None], (None, 6)], WIDENED, FLOAT32),
    ("UpsampleNearest2D", [C3[None], (8, 5), None], C3[None].repeat(2, 2), FLOAT32),
    ("ResizeNearestNeighbor", [C3[None], (8, 5), False, False], C3[None].repeat(2, 2), FLOAT32),
    ("ResizeNearestNeighborV2", [C3[None], (8, 5), False, True], C3[None].repeat(2, 2), FLOAT32),
    ("ResizeNearestNeighborV2", [C3[None], (2, 5), False, True], C3[None][:, :, [1, 3]], FLOAT32),
    ("ResizeNearestNeighborV2", [C3[None], (2, 5), False, False], C3[None][:, :, [0, 2]], FLOAT32),
    ("Arange", [0, 5, 2, 35], np.arange(0, 5, 2), INT64),
    ("LinSpaceExt", [-1.0, 2.0, 7, 43], np.linspace(-1.0, 2.0, 7), FLOAT32),
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
    (
        "LinalgVectorNorm",
        [C3, 2.0, (-1,), True, None],
        np.sqrt((C3.astype(float) ** 2).sum(-1, keepdims=True)),
        FLOAT32,
    ),
    ("LinalgVectorNorm", [C3, 2.0, None, False, None], np.sqrt((C3.astype(float) ** 2).sum()), FLOAT32),
    ("Dense", [C3, f(7, 5), f(7)], C3.astype(float) @ f(7, 5).T.astype(float) + f(7), FLOAT32),
    ("Dense", [C3, f(7, 5), None], C3.astype(float) @ f(7, 5).T.astype(float), FLOAT32),
    ("Mm", [X, Y.T.copy()], X.astype(float) @ Y.T, FLOAT32),
    ("MatMul", [X, Y, True, False], X.T.astype(float) @ Y, FLOAT32),
    ("BatchMatMul", [C3, C3 + np.float32(1), False, True], C3.astype(float) @ (C3 + 1).transpose(0, 2, 1), FLOAT32),
    ("BiasAdd", [C3, f(4), 0], C3.astype(float) + f(4)[:, None], FLOAT32),
    ("BiasAdd", [X, f(4), 0], X.astype(float) + f(4), FLOAT32),
    ("BiasAdd", [C3, f(5), 1], C3.astype(float) + f(5), FLOAT32),
    ("BiasAdd", [C3[None], f(3), 14], C3[None].astype(float) + f(3)[:, None, None], FLOAT32),
    ("Addmm", [f(3), X, Y.T.copy(), 2, 3], 2 * f(3).astype(float) + 3 * (X.astype(float) @ Y.T), FLOAT32),
    ("MeanExt", [C3, (-1,), True, None], C3.mean(-1, keepdims=True), FLOAT32),
    ("SumExt", [C3, (0, 1), False, None], C3.sum((0, 1)), FLOAT32),
    ("ReduceMean", [C3, (), False], C3.mean(), FLOAT32),
    ("ReduceAny", [b(3, 4), (1,), False], b(3, 4).any(1), BOOL),
    ("CumSum", [X, 1, False, False], X.astype(np.float64).cumsum(1), FLOAT32),
    ("CumSum", [N, 0, True, False], N.cumsum(0) - N, INT64),
    ("CumSum", [N, -1, False, True], N[..., ::-1].cumsum(-1)[..., ::-1], INT64),
    ("CumsumExt", [X, -1, None], X.astype(np.float64).cumsum(-1), FLOAT32),
    ("CumsumExt", [N, 0, 43], N.cumsum(0), FLOAT32),
    ("Max", [X], X.max(), FLOAT32),
    ("Argmax", [N, -1, 35], N.argmax(-1), INT64),
    ("Cast", [X, 10], X, FLOAT64),
]


@pytest.mark.parametrize(("op", "arguments", "expected", "dtype"), CASES, ids=[c[0] for c in CASES])
def test_operators_in_float64(op: str, arguments: list[Array | Literal], expected: Array, dtype: DType) -> None:
    expected = np.asarray(expected)
    got = one(op, arguments, expected.shape, dtype)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("op", "arguments", "expected", "dtype"), CASES, ids=[c[0] for c in CASES])
def test_operators_at_their_own_types(op: str, arguments: list[Array | Literal], expected: Array, dtype: DType) -> None:
    expected = np.asarray(expected)
    got = one(op, arguments, expected.shape, dtype, NATIVE)
    np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64), rtol=3e-6, atol=3e-6)


def test_erf_is_exact_in_float64() -> None:
    x = np.concatenate([np.linspace(-7, 7, 2001), [0.0, 1e-9, 30.0, -30.0]])
    got = one("Erf", [x], x.shape, FLOAT64)
    np.testing.assert_allclose(got, [math.erf(v) for v in x], rtol=0, atol=1e-14)


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


# --- convolutions: the float64 form is our own, the float32 one onnxruntime's

CONVOLUTIONS = [
    ((2, 4, 7, 8), (6, 4, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 4, 7, 8), (6, 4, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((2, 4, 8, 8), (6, 4, 2, 2), (2, 2), (0, 0), (1, 1), 1),
    ((2, 4, 9, 9), (6, 4, 2, 2), (2, 2), (0, 0), (1, 1), 1),
    ((2, 4, 7, 8), (6, 4, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 4, 9, 9), (6, 4, 3, 3), (1, 2), (2, 0), (2, 1), 1),
    ((2, 4, 7, 8), (6, 2, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((2, 4, 7, 8), (4, 1, 3, 3), (1, 1), (1, 1), (1, 1), 4),
    ((1, 3, 4, 6, 6), (5, 3, 2, 3, 3), (1, 2, 2), (0, 1, 1), (1, 1, 1), 1),
    ((1, 3, 4, 6, 6), (5, 3, 1, 2, 2), (1, 2, 2), (0, 0, 0), (1, 1, 1), 1),
]


@pytest.mark.parametrize(("x", "w", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolutions(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    space = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x[2:], w[2:], stride, padding, dilation, strict=True)
    ]
    arguments: list[Array | Literal] = [f(*x), f(*w, name="w"), f(w[0]), stride, padding, dilation, groups]
    op = f"Conv{len(space)}DExt"
    exact, native = (one(op, arguments, (x[0], w[0], *space), arithmetic=a) for a in (EXACT, NATIVE))
    assert exact.dtype == np.float64
    np.testing.assert_allclose(native, exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("x", "w", "stride", "padding", "beyond", "dilation", "groups"),
    [
        ((2, 4, 3, 5), (4, 3, 2, 2), (2, 2), (0, 0), (0, 0), (1, 1), 1),
        ((1, 4, 3, 5), (4, 3, 3, 4), (2, 3), (1, 0), (1, 2), (1, 1), 2),
        ((1, 2, 4, 3), (2, 3, 3, 2), (1, 2), (2, 1), (0, 1), (2, 3), 1),
        ((1, 2, 1, 5), (2, 2, 1, 4), (1, 2), (0, 1), (0, 0), (1, 1), 1),
    ],
)
def test_transposed_convolutions(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    beyond: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    """The float64 form, our own, against onnxruntime's, and both against scattering every element."""
    sizes = zip(x[2:], w[2:], stride, padding, beyond, dilation, strict=True)
    space = [(n - 1) * s - 2 * p + d * (k - 1) + b + 1 for n, k, s, p, b, d in sizes]
    dims = (x[0], w[1] * groups, *space)
    a, k, bias = f(*x), f(*w, name="w"), f(w[1] * groups, name="b")
    wide: Floats = np.zeros((*dims[:2], *(n + 2 * p + 8 for n, p in zip(space, padding, strict=True))))
    per = x[1] // groups
    for n, c, i, j, o, u, v in np.ndindex(*x, *w[1:]):
        row, column = i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]
        wide[n, c // per * w[1] + o, row, column] += float(a[n, c, i, j]) * float(k[c, o, u, v])
    cut = wide[:, :, padding[0] : padding[0] + space[0], padding[1] : padding[1] + space[1]]
    arguments: list[Array | Literal] = [a, k, bias, stride, padding, beyond, groups, dilation]
    attributes: dict[str, Literal] = {
        "stride": stride, "dilation": dilation, "group": groups, "format": "NCHW",
        "pad_list": (padding[0], padding[0], padding[1], padding[1]),
    }  # fmt: skip
    for arithmetic, tolerance in ((EXACT, 1e-12), (NATIVE, 2e-5)):
        got = one("ConvTranspose2D", arguments, dims, arithmetic=arithmetic)
        np.testing.assert_allclose(got, cut + bias[:, None, None], rtol=tolerance, atol=tolerance)
        got = one("Conv2DTranspose", [a, k, dims], dims, arithmetic=arithmetic, attributes=attributes)
        np.testing.assert_allclose(got, cut, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("mode", "pads", "beyond"), [("pad", (1, 0, 1), (0, 0, 1)), ("valid", (0, 0, 0), (0, 0, 0))])
def test_transposed_convolutions_of_volumes(mode: str, pads: tuple[int, ...], beyond: tuple[int, ...]) -> None:
    """Both forms against scattering every element."""
    x, w, stride = (1, 2, 3, 2, 4), (2, 3, 2, 1, 3), (1, 3, 2)
    a, k = f(*x), f(*w, name="w")
    wide: Floats = np.zeros((1, 3, 8, 8, 12))
    for c, z, i, j, o, t, u, v in np.ndindex(*x[1:], *w[1:]):
        at = (z * stride[0] + t, i * stride[1] + u, j * stride[2] + v)
        wide[(0, o, *at)] += float(a[0, c, z, i, j]) * float(k[c, o, t, u, v])
    sizes = zip(x[2:], w[2:], stride, pads, beyond, strict=True)
    space = [(n - 1) * s - 2 * p + d + b for n, d, s, p, b in sizes]
    near, far = pads, [p + n for p, n in zip(pads, space, strict=True)]
    cut = wide[:, :, near[0] : far[0], near[1] : far[1], near[2] : far[2]]
    attributes: dict[str, Literal] = {
        "stride": stride, "dilation": (1, 1, 1), "group": 1, "format": "NCDHW", "pad_mode": mode,
        "pad_list": tuple(p for p in pads for _ in range(2)),
    }  # fmt: skip
    for arithmetic, tolerance in ((EXACT, 1e-12), (NATIVE, 2e-5)):
        got = one("Conv3DTranspose", [a, k], cut.shape, arithmetic=arithmetic, attributes=attributes)
        np.testing.assert_allclose(got, cut, rtol=tolerance, atol=tolerance)
    with pytest.raises(UnsupportedOpError, match="padding that is not told"):
        one("Conv3DTranspose", [a, k], cut.shape, attributes={**attributes, "pad_mode": "same"})


def test_elements_never_written_are_no_numbers() -> None:
    assert np.isnan(one("EmptyLike", [X, None, None, False], X.shape)).all()
    assert np.isnan(one("EmptyLike", [X, None, None, False], X.shape, FLOAT16, NATIVE)).all()
    with pytest.raises(UnsupportedOpError, match="not set"):
        one("EmptyLike", [N, None, None, False], N.shape, INT64)


@pytest.mark.parametrize("axis", [-1, (0, 2)])
def test_a_vector_of_length_one(axis: int | tuple[int, ...]) -> None:
    attributes: dict[str, Literal] = {"axis": axis, "epsilon": 2.0}
    a = np.array([[[3, 4], [0.5, 0.25]]], np.float32)
    squares = np.maximum((a.astype(np.float64) ** 2).sum(axis, keepdims=True), 2.0)
    np.testing.assert_allclose(one("L2Normalize", [a], a.shape, attributes=attributes), a / np.sqrt(squares), 1e-12)


@pytest.mark.parametrize(("x", "w", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolutions_by_attributes(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    space = len(stride)
    every = (1, 1) if space == 2 else ()  # Conv2D's are of all axes
    attributes: dict[str, Literal] = {
        "stride": every + stride,
        "dilation": every + dilation,
        "pad_list": tuple(p for p in padding for _ in range(2)),
        "group": groups,
        "format": "NCHW" if space == 2 else "NCDHW",
    }
    a, k = f(*x), f(*w, name="w")
    reference = ReferenceEvaluator(
        helper.make_model(
            helper.make_graph(
                [
                    helper.make_node(
                        "Conv", ["x", "w"], ["y"], strides=stride, pads=padding * 2, dilations=dilation, group=groups
                    )
                ],
                "reference",
                [helper.make_tensor_value_info(n, onnx.TensorProto.DOUBLE, None) for n in ("x", "w")],
                [helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, None)],
            )
        )
    )
    (expected,) = map(np.asarray, reference.run(None, {"x": a.astype(float), "w": k.astype(float)}))
    for arithmetic, bound in ((EXACT, 1e-12), (NATIVE, 2e-5)):
        got = one(f"Conv{space}D", [a, k], expected.shape, arithmetic=arithmetic, attributes=attributes)
        np.testing.assert_allclose(got, expected, rtol=0, atol=bound * np.abs(expected).max())


def test_unequal_padding_is_refused() -> None:
    attributes: dict[str, Literal] = {
        "stride": (1, 1, 1, 1), "dilation": (1, 1, 1, 1), "pad_list": (0, 1, 0, 1), "group": 1, "format": "NCHW",
    }  # fmt: skip
    with pytest.raises(UnsupportedOpError, match="unequal padding"):
        one("Conv2D", [f(1, 2, 4, 4), f(3, 2, 3, 3)], (1, 3, 3, 3), attributes=attributes)


# --- norms


def norm(x: Floats, axes: tuple[int, ...], epsilon: float) -> Floats:
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return np.asarray((x - mean) / np.sqrt(variance + epsilon), np.float64)


NORMS: list[tuple[str, list[Array | Literal], Callable[[Floats], Floats]]] = [
    ("LayerNorm", [f(4), f(4, name="o"), -1, -1, 1e-3], lambda x: norm(x, (2,), 1e-3) * f(4) + f(4, name="o")),
    ("LayerNormExt", [(5, 4), None, None, 1e-3], lambda x: norm(x, (1, 2), 1e-3)),
    ("LayerNormExt", [(4,), f(4), None, 1e-3], lambda x: norm(x, (2,), 1e-3) * f(4)),
    (
        "GroupNorm",
        [3, f(6), f(6, name="o"), 1e-3],
        lambda x: (
            norm(x.reshape(2, 3, -1), (2,), 1e-3).reshape(x.shape) * f(6)[:, None, None] + f(6, name="o")[:, None, None]
        ),
    ),
    ("RmsNorm", [f(4), 1e-3], lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * f(4)),
]


@pytest.mark.parametrize(("op", "arguments", "formula"), NORMS)
def test_norms(op: str, arguments: list[Array | Literal], formula: Callable[[Floats], Floats]) -> None:
    dims = (2, 6, 5, 4) if op == "GroupNorm" else (2, 5, 4)
    x = f(*dims) + np.float32(30)  # a large mean: the textbook E[x²] − E[x]² would lose its digits
    g = GraphBuilder("norm")
    value = g.input("x", dims)
    others = [g.parameter(f"p{i}", a) if isinstance(a, np.ndarray) else g.constant(a) for i, a in enumerate(arguments)]
    kind = TensorType(dims, FLOAT32)
    out = g.node(op, [value, *others], (kind, kind, kind)[: 2 if op == "RmsNorm" else 3])
    g.output(g.tuple_get_item(out, 0))
    expected = formula(x.astype(np.float64))
    model = g.model()
    # The constant is a float32 in the file.
    np.testing.assert_allclose(execute(model, {"x": x})[0], expected, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(execute(model, {"x": x}, NATIVE)[0], expected, rtol=3e-4, atol=3e-4)


def test_padding_by_reflection_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="padding"):
        one("PadV3", [C3, (0, 1), 0.0], (3, 4, 6), attributes={"mode": "reflect"})


def test_a_size_that_is_not_the_results_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="its size"):
        one("ResizeNearestNeighbor", [C3[None], (5, 8), False, False], (1, 3, 8, 5))


def test_a_logarithm_of_another_base_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="another base"):
        one("Log", [P], (3, 4), attributes={"base": 2.0})


def test_softmax_of_either_spelling_of_the_axis() -> None:
    expected = np.exp(X.astype(float)) / np.exp(X.astype(float)).sum(0)
    for axis in (0, (0,), (-2,)):
        np.testing.assert_allclose(one("Softmax", [X, axis], X.shape), expected, rtol=1e-14)


# --- bias of more dimensions than the product


@pytest.mark.parametrize("bias", [(2, 2, 1, 7), (1, 2, 1, 7), (2, 1, 1, 7), (1, 1, 3, 7), (4, 3, 7)])
def test_baddbmm_reads_a_bias_by_batch_and_head(bias: tuple[int, ...]) -> None:
    x, y, m = f(4, 3, 5), f(4, 5, 7, name="y"), f(*bias, name="m")
    wide = np.broadcast_to(m.astype(float), (2, 2, 3, 7)).reshape(4, 3, 7) if len(bias) == 4 else m
    np.testing.assert_allclose(one("Baddbmm", [m, x, y, 1, 1], (4, 3, 7)), wide + x.astype(float) @ y, rtol=1e-13)


# --- the two arithmetics


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_native_rounds_after_every_operator(dtype: DType) -> None:
    x = f(64).astype(dtype.numpy)
    g = GraphBuilder("round")
    v = g.input("x", (64,), dtype)
    g.output(g.muls(g.muls(v, 1.1), 0.9))
    model = g.model()
    first = (x.astype(np.float32) * np.float32(1.1)).astype(dtype.numpy).astype(np.float32)
    expected = (first * np.float32(0.9)).astype(dtype.numpy).astype(np.float32)
    np.testing.assert_array_equal(execute(model, {"x": x}, NATIVE)[0], expected)
    exact = x.astype(np.float64) * float(np.float32(1.1)) * float(np.float32(0.9))
    np.testing.assert_allclose(execute(model, {"x": x})[0], exact, rtol=1e-15)


def test_exact_drops_casts_between_floats_only() -> None:
    x = np.array([1.0001, 2.7, -3.9], np.float32)
    g = GraphBuilder("casts")
    v = g.input("x", (3,))
    g.output(g.cast(g.cast(v, FLOAT16), FLOAT32), g.cast(g.cast(v, INT64), FLOAT32))
    got = execute(g.model(), {"x": x})
    np.testing.assert_array_equal(got[0], x.astype(np.float64))
    np.testing.assert_array_equal(got[1], [1.0, 2.0, -3.0])


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
@pytest.mark.parametrize("fill", [-1e9, -1e30, LOWEST])
def test_a_fill_that_the_type_cannot_hold_is_infinite(fill: float, dtype: DType, arithmetic: Arithmetic) -> None:
    g = GraphBuilder("fill")
    x, hidden = g.input("x", (1, 3), dtype), np.array([[True, False, True]])
    filled = g.masked_fill(x, hidden, np.array(fill, np.float32))
    chosen = g.node("Select", [*map(g.constant, (hidden, np.array(fill, np.float32))), x], g.type_of(x))
    g.output(filled, chosen, g.muls(x, fill), g.cast(g.constant(np.array([fill], np.float32)), dtype))
    got = execute(g.model(), {"x": np.array([[0.5, 2.0, 1.0]], dtype.numpy)}, arithmetic)
    with np.errstate(over="ignore"):
        held = float(np.array(fill).astype(dtype.numpy))  # −∞ but for what bfloat16 reaches
    assert math.isinf(held) is (dtype is FLOAT16 or fill == LOWEST)
    for result in got[:2]:
        np.testing.assert_allclose(result, [[held, 2.0, held]], rtol=2.0**-8)
    product = 2.0 * fill  # the number is used as it is: only what the type holds of the result is infinite
    beyond = -math.inf if arithmetic is NATIVE and (dtype is FLOAT16 or fill == LOWEST) else product
    np.testing.assert_allclose(got[2][0, 1], beyond, rtol=2.0**-8)
    np.testing.assert_allclose(got[3], [held], rtol=2.0**-8)


def test_native_overflows_as_float16_does() -> None:
    g = GraphBuilder("big")
    g.output(g.muls(g.input("x", (2,), FLOAT16), 100.0))
    got = execute(g.model(), {"x": np.array([1000.0, 1.0], np.float16)}, NATIVE)[0]
    assert got.tolist() == [math.inf, 100.0]


@pytest.mark.parametrize("result", [False, True])
def test_a_rounding_is_laid_upon_operands_and_result(result: bool) -> None:
    g = GraphBuilder("at")
    x, y = g.input("x", (2, 3)), g.input("y", (3, 4))
    out = g.matmul_ext(x, y)
    g.output(out)
    model = g.model()
    a, c = f(2, 3), f(3, 4, name="y")
    named = {value.name: v for value, v in zip(model.proto.graph.input, (a, c), strict=True)}
    weights = stored_weights(model.proto, Path("/none/x.mindir"))
    rounding = {out: Rounding(FLOAT16, operands=(0, 1), result=result)}
    got = run(lower(model, NATIVE, rounding), named, weights)[0]
    half = a.astype(np.float16).astype(np.float32) @ c.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(got, half.astype(np.float16).astype(np.float32) if result else half)


# --- fused nodes


def heads_first(x: Floats, layout: str, heads: int) -> Floats:
    """To [B, N, S, D]."""
    match layout:
        case "BSND":
            return x.transpose(0, 2, 1, 3)
        case "BSH":
            return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
        case "SBH":
            return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2, 0, 3)
        case _:
            return x


def oracle(
    q: Floats,
    k: Floats,
    v: Floats,
    scale: float,
    before: Array | float = 0.0,
    after: Array | float = 0.0,
    discard: Array | None = None,
) -> Floats:
    """Attention head by head, [B, N, S, D], kv head n // group, as the papers write it."""
    out = np.empty((*q.shape[:3], v.shape[-1]))
    group = q.shape[1] // k.shape[1]
    before, after = (np.broadcast_to(x, (*q.shape[:3], k.shape[2])) for x in (before, after))
    for i in range(q.shape[0]):
        for n in range(q.shape[1]):
            s = scale * (q[i, n] @ k[i, n // group].T + before[i, n]) + after[i, n]
            if discard is not None:
                s = np.where(np.broadcast_to(discard, (*q.shape[:3], k.shape[2]))[i, n], -np.inf, s)
            e = np.exp(s - s.max(-1, keepdims=True))
            out[i, n] = e / e.sum(-1, keepdims=True) @ v[i, n // group]
    return out


DISCARD = np.greater(f(1, 1, 5, 6, name="mask"), 0.7)


@pytest.mark.parametrize("node", ["FlashAttentionScore", "PromptFlashAttention"])
@pytest.mark.parametrize("layout", ["BNSD", "BSH", "BSND", "SBH"])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("extra", ["", "mask", "bias", "mask and bias"])
def test_fused_nodes_against_the_oracle(node: str, layout: str, kv_heads: int, extra: str) -> None:
    if node == "PromptFlashAttention" and layout in ("BSND", "SBH"):
        layout = {"BSND": "BNSD", "SBH": "BSH"}[layout]
    b_, n, s, t, d = 2, 4, 5, 6, 8
    shapes: dict[str, Callable[[int, int], tuple[int, ...]]] = {
        "BNSD": lambda m, length: (b_, m, length, d),
        "BSND": lambda m, length: (b_, length, m, d),
        "BSH": lambda m, length: (b_, length, m * d),
        "SBH": lambda m, length: (length, b_, m * d),
    }
    arrays = {
        "q": f(*shapes[layout](n, s), name="q"),
        "k": f(*shapes[layout](kv_heads, t), name="k"),
        "v": f(*shapes[layout](kv_heads, t), name="v"),
    }
    bias = f(1, n, s, t, name="bias") if "bias" in extra else None
    g = GraphBuilder("fused")
    q, k, v = (g.input(name, a.shape) for name, a in arrays.items())
    mask = g.constant(DISCARD) if "mask" in extra else None
    offset = g.constant(bias) if bias is not None else None
    if node == "FlashAttentionScore":
        out = g.flash_attention_score(q, k, v, heads=n, scale=0.37, layout=layout, attn_mask=mask, real_shift=offset)
    else:
        out = g.prompt_flash_attention(
            q, k, v, heads=n, scale=0.37, layout=layout, attn_mask=mask, pse_shift=offset, kv_heads=kv_heads
        )
    g.output(out)
    got = heads_first(execute(g.model(), dict(arrays))[0], layout, n)
    scale = float(np.float32(0.37))
    value: Array | float = 0.0 if bias is None else bias.astype(np.float64)
    before, after = (value, 0.0) if node == "FlashAttentionScore" else (0.0, value)
    apart = [
        heads_first(a.astype(np.float64), layout, m)
        for a, m in zip(arrays.values(), (n, kv_heads, kv_heads), strict=True)
    ]
    expected = oracle(apart[0], apart[1], apart[2], scale, before, after, DISCARD if mask else None)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def sparse(
    node: str, queries: int, keys: int, mask: Array | None, mode: int, pre: int, behind: int
) -> tuple[Model, dict[str, npt.NDArray[np.float32]]]:
    """A graph of one node of that sparse mode, and its operands."""
    arrays = {n: f(1, 2, length, 8, name=n) for n, length in zip("qkv", (queries, keys, keys), strict=True)}
    g = GraphBuilder("sparse")
    q, k, v = (g.input(name, a.shape) for name, a in arrays.items())
    given = g.constant(mask) if mask is not None else None
    write = g.flash_attention_score if node == "FlashAttentionScore" else g.prompt_flash_attention
    out = write(
        q, k, v, heads=2, scale=0.5, attn_mask=given, sparse_mode=mode, pre_tokens=pre, next_tokens=behind
    )  # fmt: skip
    g.output(out)
    return g.model(), arrays


TRIANGLE = np.triu(np.ones((2048, 2048), np.uint8), 1)
SPARSE = {
    # (mode, pre_tokens, next_tokens, queries, keys) → which (query i, key j) are seen
    (2, MAX_TOKENS, MAX_TOKENS, 4, 7): lambda i, j: j <= i,
    (3, MAX_TOKENS, MAX_TOKENS, 4, 7): lambda i, j: j <= i + 3,
    (3, 0, 0, 7, 7): lambda i, j: j <= i,
    (4, 2, 0, 8, 8): lambda i, j: (i - 2 <= j) & (j <= i),
    (4, 1, 2, 4, 7): lambda i, j: (i + 3 - 1 <= j) & (j <= i + 3 + 2),
    (4, 3, -1, 4, 7): lambda i, j: (i <= j) & (j <= i + 2),
}


@pytest.mark.parametrize("node", ["FlashAttentionScore", "PromptFlashAttention"])
@pytest.mark.parametrize("case", SPARSE, ids=str)
def test_sparse_modes_with_a_compressed_mask(case: tuple[int, int, int, int, int], node: str) -> None:
    mode, pre, behind, queries, keys = case
    model, arrays = sparse(node, queries, keys, TRIANGLE, mode, pre, behind)
    discard = ~SPARSE[case](np.arange(queries)[:, None], np.arange(keys)[None])
    q, k, v = (a.astype(np.float64) for a in arrays.values())
    expected = oracle(q, k, v, 0.5, discard=discard)
    np.testing.assert_allclose(execute(model, dict(arrays))[0], expected, rtol=1e-12)


@pytest.mark.parametrize("node", ["FlashAttentionScore", "PromptFlashAttention"])
@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_a_band_counts_beside_a_whole_mask_in_mode_0_only(masked: bool, mode: int, node: str) -> None:
    """Without a mask CANN takes no notice of pre_tokens and next_tokens, and in mode 1 never."""
    mask = np.zeros((6, 6), np.bool_)
    mask[2, 1] = True
    model, arrays = sparse(node, 6, 6, mask if masked else None, mode, 3, 1)
    i, j = np.arange(6)[:, None], np.arange(6)[None]
    discard = mask & masked
    if masked and mode == 0:
        discard = mask | (j < i - 3) | (j > i + 1)
    q, k, v = (a.astype(np.float64) for a in arrays.values())
    expected = oracle(q, k, v, 0.5, discard=discard)
    np.testing.assert_allclose(execute(model, dict(arrays))[0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("mask", "mode", "told"),
    [(1 - TRIANGLE, 4, "another mask than the lower triangle"), (TRIANGLE, 5, "sparse_mode 5; 0 to 4 are known")],
)
def test_what_a_sparse_mode_does_not_say_is_refused(mask: Array, mode: int, told: str) -> None:
    model, _ = sparse("FlashAttentionScore", 4, 4, mask, mode, 1, 0)
    with pytest.raises(UnsupportedOpError, match=told):
        lower(model, EXACT)


def test_a_row_that_is_masked_whole_is_not_a_number() -> None:
    discard = np.zeros((4, 4), np.bool_)
    discard[2] = True
    g = GraphBuilder("masked")
    q = g.input("q", (1, 1, 4, 8))
    g.output(g.prompt_flash_attention(q, q, q, heads=1, scale=0.5, attn_mask=g.constant(discard)))
    got = execute(g.model(), {"q": f(1, 1, 4, 8)})[0][0, 0]
    assert np.isnan(got).all(axis=1).tolist() == [False, False, True, False]


# --- the walk


def test_dead_nodes_need_no_rule() -> None:
    g = GraphBuilder("dead")
    x = g.input("x", (2,))
    g.op("Unknowable", x)
    g.output(g.muls(x, 2.0))
    np.testing.assert_array_equal(execute(g.model(), {"x": np.ones(2, np.float32)})[0], [2.0, 2.0])


def test_an_unknown_operator_is_named() -> None:
    g = GraphBuilder("odd")
    g.output(g.op("Unknowable", g.input("x", (2,))))
    with pytest.raises(UnsupportedOpError, match=r"^Unknowable CNode_1:1: no rule"):
        lower(g.model(), EXACT)


def test_sizes_not_known_before_run_time_are_refused() -> None:
    g = GraphBuilder("dynamic")
    g.output(g.muls(g.input("x", (-1, 3)), 2.0))
    with pytest.raises(UnsupportedOpError, match="input x"):
        lower(g.model(), EXACT)


def test_a_statistic_of_a_fused_node_is_not_made_up() -> None:
    g = GraphBuilder("one")
    q = g.input("q", (2, 4, 24, 16), FLOAT16)
    g.output(g.flash_attention_score(q, q, q, heads=4, scale=0.25, item=0))
    with pytest.raises(UnsupportedOpError, match="statistic"):
        lower(g.model(), EXACT)


@pytest.mark.parametrize("as_output", [False, True])
def test_in_place_changes_others_would_see_are_refused(as_output: bool) -> None:
    g = GraphBuilder("place")
    x = g.muls(g.input("x", (2,)), 1.0)
    changed = g.op("InplaceAddExt", x, x, 1)
    g.output(*((changed, x) if as_output else (g.add(changed, x),)))
    with pytest.raises(UnsupportedOpError, match="in place that others read"):
        lower(g.model(), EXACT)


def test_an_embedding_that_changes_its_table_is_refused() -> None:
    g = GraphBuilder("norm")
    table = g.weight("table", (5, 4))
    arguments = [g.input("i", (2,), INT64), table, g.constant(None), g.constant(1.5)]
    g.output(g.node("Embedding", arguments, TensorType((2, 4), FLOAT32)))
    with pytest.raises(UnsupportedOpError, match="imposes a largest norm"):
        lower(g.model(), EXACT)


def test_calls_are_inlined() -> None:
    g = GraphBuilder("calls")
    x = g.input("x", (2,))
    g.output(g.muls(x, 1.0))
    proto = g.build()
    function = proto.functions.add(name="9_double")
    value = function.input.add(name="9_double:y")
    value.tensor.add(data_type=FLOAT32.wire).dims.append(2)
    body = function.node.add(name="9_double:twice:1", op_type="REF::Muls:0")
    body.CopyFrom(next(n for n in proto.graph.node if n.op_type == "REF::Muls:0"))
    body.name, body.output[0], body.input[0] = "9_double:twice:1", "9_double:twice:1", "9_double:y"
    two = g.constant(2.0)
    body.input[1] = two
    function.output.add(name="9_double:twice:1").tensor.add(data_type=FLOAT32.wire).dims.append(2)
    call = proto.graph.node.add(name="1_calls_construct_1:call:5", op_type="REF::9_double")
    call.output.append("1_calls_construct_1:call:5")
    call.input.append(proto.graph.output[0].name)
    again = proto.graph.node.add(name="1_calls_construct_1:call:6", op_type="REF::9_double")
    again.output.append("1_calls_construct_1:call:6")
    again.input.append(call.output[0])
    proto.graph.output[0].name = again.output[0]
    np.testing.assert_array_equal(execute(Model(proto), {"x": np.array([1, 3], np.float32)})[0], [4.0, 12.0])


def test_a_constant_and_a_weight_may_be_handed_out() -> None:
    g = GraphBuilder("given")
    g.input("x", (2,))
    g.output(g.constant(np.array([1, 2], np.int32)))
    g.output(g.parameter("w", np.array([3.5], np.float16)))
    constant, weight = execute(g.model(), {"x": f(2)})
    np.testing.assert_array_equal(constant, [1, 2])
    np.testing.assert_array_equal(weight, [3.5])


# --- what storing a bias costs


@pytest.mark.parametrize("spelling", ["added", "baddbmm"])
@pytest.mark.parametrize(("dtype", "added"), [(FLOAT16, FLOAT32), (BFLOAT16, FLOAT32), (FLOAT16, BFLOAT16)])
def test_scores_are_moved_by_what_storing_their_bias_costs(dtype: DType, added: DType, spelling: str) -> None:
    """Keys behind the largest of their row by d are off by u · max(d, 1), or by u of the source's sum; −∞ stays."""
    g = GraphBuilder("stored")
    x = g.input("x", (1, 5, 16))
    bias = np.linspace(100.0, 160.0, 40).reshape(1, 5, 8).astype(np.float32)
    bias[0, 3, :4], bias[0, 2, 5], bias[0, 4] = -np.inf, -5000.0, LOWEST
    y = g.input("y", (1, 16, 8))
    product = g.baddbmm(g.constant(bias), x, y) if spelling == "baddbmm" else g.matmul_ext(x, y)
    summed = product if spelling == "baddbmm" else g.add(product, bias)
    weights = g.softmax(summed)
    g.output(weights)
    model = g.model()
    values = {v.name: f(*dims) * 0.1 for v, dims in zip(model.proto.graph.input, [(1, 5, 16), (1, 16, 8)], strict=True)}
    stored = tuple(dict.fromkeys((product, summed)))
    plain, moved = (
        run(lower(model, EXACT, rounding), values, drawn_weights(0))[0][0]
        for rounding in ({}, {weights: Rounding(dtype, stored=stored, added=added)})
    )
    u, own = ({FLOAT16: 2.0**-11, BFLOAT16: 2.0**-8, FLOAT32: 2.0**-24}[d] for d in (dtype, added))
    b = bias[0].astype(np.float64)
    expected = np.maximum(
        u * np.maximum(b.max(-1, keepdims=True) - b, 1.0), np.where(np.abs(b) < 1000, own * np.abs(b), 0)
    )
    for row in range(4):
        seen = b[row] > -1000
        off = np.log(moved[row, seen]) - np.log(plain[row, seen])
        signs = [off + s * expected[row, seen][0] - off[0] for s in (1, -1)]
        assert any(np.allclose(np.abs(o), expected[row, seen], rtol=1e-6, atol=1e-12) for o in signs), row
        np.testing.assert_array_equal(moved[row, ~seen], plain[row, ~seen])
    np.testing.assert_allclose(moved[4], np.full(8, 1 / 8), rtol=1e-12)  # absorbed whole, as before
