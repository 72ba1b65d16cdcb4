"""Sums, means, norms and softmax, held to NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir.dtypes import BOOL, FLOAT32, INT64
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError
from tests.support.graphs import GraphBuilder
from tests.verify.lowering.support import C3, EXACT, NATIVE, Case, Floats, N, X, b, check, execute, f, one

# Of 4 × 5, means of 3 × 2: rows 0–1, 1–2, 2–3 and columns 0–2, 2–4, which overlap.
ADAPTED: Floats = np.stack(
    [C3[:, i : i + 2, j : j + 3].astype(float).mean((1, 2)) for i in range(3) for j in (0, 2)], -1
)


ADAPTED = ADAPTED.reshape(3, 3, 2)


# Of 4 columns, means of 6: more than there are.
WIDENED: Floats = (X[None, :, [0, 0, 1, 2, 2, 3]].astype(float) + X[None, :, [0, 1, 1, 2, 3, 3]]) / 2

LARGE = np.array([[200, 100, 199], [-300, 0, -1]], np.float32)

CASES: list[Case] = [
    ("AdaptiveAvgPool2DExt", [C3[None], (3, 2)], ADAPTED[None], FLOAT32),
    ("AdaptiveAvgPool2DExt", [X[None], (None, 6)], WIDENED, FLOAT32),
    (
        "LinalgVectorNorm",
        [C3, 2.0, (-1,), True, None],
        np.sqrt((C3.astype(float) ** 2).sum(-1, keepdims=True)),
        FLOAT32,
    ),
    ("LinalgVectorNorm", [C3, 2.0, None, False, None], np.sqrt((C3.astype(float) ** 2).sum()), FLOAT32),
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
    ("Argmin", [N, 0, 35], N.argmin(0), INT64),
    ("ArgMaxExt", [C3, None, False], np.array(C3.argmax()), INT64),
    ("ArgMinExt", [C3, 1, True], C3.argmin(1, keepdims=True), INT64),
    ("ReduceProd", [X, (0,), False], X.astype(float).prod(0), FLOAT32),
    ("Var", [X, (1,), 1, False], X.astype(float).var(1, ddof=1), FLOAT32),
    ("Std", [C3, None, 0, True], C3.astype(float).std(keepdims=True), FLOAT32),
    ("LogSumExp", [LARGE, (-1,), False], np.logaddexp.reduce(LARGE.astype(float), -1), FLOAT32),
    ("LogSumExp", [C3, (0, 2), True], np.log(np.exp(C3.astype(float)).sum((0, 2), keepdims=True)), FLOAT32),
    ("LogSoftmax", [LARGE, -1], LARGE - np.logaddexp.reduce(LARGE.astype(float), -1)[..., None], FLOAT32),
    ("LogSoftmaxExt", [X, None, None], X - np.logaddexp.reduce(X.astype(float), 1)[:, None], FLOAT32),
]


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_operators(case: Case, arithmetic: Arithmetic) -> None:
    check(case, arithmetic)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("op", "first"), [("MaxDim", 0), ("MinDim", 0), ("ArgMaxWithValue", 1), ("ArgMinWithValue", 1)]
)
def test_an_extreme_and_its_place(op: str, first: int, keep: bool) -> None:
    """Of equal elements the first, as MindSpore's CPU kernels tell it."""
    x = np.array([[1, 3, 3, 2], [3, 0, 0, 3]], np.float32)
    values, places = (x.max, x.argmax) if "Max" in op else (x.min, x.argmin)
    results = [values(1, keepdims=keep), places(1, keepdims=keep)]
    g = GraphBuilder("extreme")
    made = [TensorType(results[i].shape, (FLOAT32, INT64)[i]) for i in (0, 1)]
    both = g.node(op, [g.input("x", x.shape), g.constant(1), g.constant(keep)], tuple(made[:: 1 - 2 * first]))
    g.output(g.tuple_get_item(both, first), g.tuple_get_item(both, 1 - first))
    for got, expected in zip(execute(g.model(), {"x": x}), results, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_spread_of_too_few_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="of 1 numbers"):
        one("Var", [X[:, :1].copy(), (1,), 1, False], (3,))


@pytest.mark.parametrize("axis", [-1, (0, 2)])
def test_a_vector_of_length_one(axis: int | tuple[int, ...]) -> None:
    attributes: dict[str, Literal] = {"axis": axis, "epsilon": 2.0}
    a = np.array([[[3, 4], [0.5, 0.25]]], np.float32)
    squares = np.maximum((a.astype(np.float64) ** 2).sum(axis, keepdims=True), 2.0)
    np.testing.assert_allclose(one("L2Normalize", [a], a.shape, attributes=attributes), a / np.sqrt(squares), 1e-12)


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
    tensor_type = TensorType(dims, FLOAT32)
    out = g.node(op, [value, *others], (tensor_type, tensor_type, tensor_type)[: 2 if op == "RmsNorm" else 3])
    g.output(g.tuple_get_item(out, 0))
    expected = formula(x.astype(np.float64))
    model = g.model()
    # The constant is a float32 in the file.
    np.testing.assert_allclose(execute(model, {"x": x})[0], expected, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(execute(model, {"x": x}, NATIVE)[0], expected, rtol=3e-4, atol=3e-4)


def test_softmax_of_either_spelling_of_the_axis() -> None:
    expected = np.exp(X.astype(float)) / np.exp(X.astype(float)).sum(0)
    for axis in (0, (0,), (-2,)):
        np.testing.assert_allclose(one("Softmax", [X, axis], X.shape), expected, rtol=1e-14)
