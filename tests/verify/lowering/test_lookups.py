"""Elements by their places and in order, held to NumPy, and to what MindSpore's CPU kernels gave for these arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT32, INT64
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError, lower
from tests.support.graphs import GraphBuilder, fill_literal
from tests.verify.lowering.support import C3, EXACT, NATIVE, Case, N, X, check, execute, f, one

_TEN = np.full((3, 4), 10, np.float32)
_VALUES = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
_NEGATIVE = np.array([[0, 1, 0], [1, -1, 0]], np.int64)
_WHOLE = np.array([[0, 1, 0], [1, 0, 0]], np.int64)
_PUT = np.array([[1, 5, 6, 10], [4, 2, 10, 10], [10, 10, 10, 10]], np.float32)
_POINTS, _AT = np.array([[0, 1], [2, 3], [0, 1]], np.int32), np.array([1, 2, 4], np.float32)
_ROWS = np.arange(8, dtype=np.float32).reshape(2, 4) + 1


def _put(*, at_0_1: float, at_2_3: float, base: float = 10) -> Array:
    result = np.full((3, 4), base, np.float32)
    result[0, 1], result[2, 3] = at_0_1, at_2_3
    return result


def _copied(part: tuple[slice, ...], value: Array) -> Array:
    result = C3.copy()
    result[part] = value
    return result


_EVERY_SECOND = (slice(0, 3, 2), slice(1, 4))
CASES: list[Case] = [
    ("Gather", [C3, N, 1, 0], C3[:, N], FLOAT32),
    ("Embedding", [N, f(5, 4), None, None, 2.0, False], f(5, 4)[N], FLOAT32),
    ("EmbeddingLookup", [f(5, 4), N, 0], f(5, 4)[N], FLOAT32),
    ("GatherD", [X[:2, :3].copy(), 1, N % 3], np.take_along_axis(X[:2, :3], N % 3, 1), FLOAT32),
    ("GatherNd", [X, np.array([[0, 1], [2, 3]], np.int64)], X[[0, 2], [1, 3]], FLOAT32),
    ("Scatter", [_TEN, 0, _WHOLE, _VALUES, 0], _PUT, FLOAT32),
    ("Scatter", [_TEN, 0, _WHOLE, np.pad(_VALUES, ((0, 1), (0, 1))), 0], _PUT, FLOAT32),
    ("TensorScatterElements", [_TEN, _WHOLE, _VALUES, 0, 0], _PUT, FLOAT32),
    (
        "TensorScatterElements",
        [_TEN, _NEGATIVE, _VALUES, 0, 1],
        np.array([[11, 10, 19, 10], [14, 12, 10, 10], [10, 15, 10, 10]]),
        FLOAT32,
    ),
    ("ScatterAddExt", [_TEN, 0, _WHOLE, _VALUES], _TEN + np.array([[1, 5, 9, 0], [4, 2, 0, 0], [0] * 4]), FLOAT32),
    ("TensorScatterUpdate", [_TEN, _POINTS, _AT], _put(at_0_1=4, at_2_3=2), FLOAT32),
    ("TensorScatterAdd", [_TEN, _POINTS, _AT], _put(at_0_1=15, at_2_3=12), FLOAT32),
    ("TensorScatterSub", [_TEN, _POINTS, _AT], _put(at_0_1=5, at_2_3=8), FLOAT32),
    ("TensorScatterMul", [_TEN, _POINTS, _AT], _put(at_0_1=40, at_2_3=20), FLOAT32),
    ("TensorScatterMax", [_TEN, _POINTS, 5 * _AT], _put(at_0_1=20, at_2_3=10), FLOAT32),
    ("TensorScatterMin", [_TEN, _POINTS, _AT], _put(at_0_1=1, at_2_3=2), FLOAT32),
    ("ScatterNd", [_POINTS, _AT, (3, 4)], _put(at_0_1=5, at_2_3=2, base=0), FLOAT32),
    ("TensorCopySlices", [_TEN, _ROWS, (1,), (3,), (1,)], np.concatenate([_TEN[:1], _ROWS]), FLOAT32),
    ("TensorCopySlices", [_TEN, _ROWS, (1, 0), (3, 4), (1, 1)], np.concatenate([_TEN[:1], _ROWS]), FLOAT32),
    (
        "TensorCopySlices",
        [C3, f(2, 3, 5), (0, 1), (3, 4), (2, 1)],
        _copied(_EVERY_SECOND, f(2, 3, 5)),
        FLOAT32,
    ),
    ("ArgSort", [N, -1, False, False], N.argsort(-1, kind="stable"), INT64),
    ("ArgSort", [X, 0, True, False], (-X).argsort(0, kind="stable"), INT64),
]


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c[0]))
def test_operators(case: Case, arithmetic: Arithmetic) -> None:
    check(case, arithmetic)


def test_an_index_of_several_axes() -> None:
    rows, columns = N[0] % 3, N[:, :1] % 4
    g = GraphBuilder("index")
    x, i, j = g.input("x", C3.shape), g.input("i", rows.shape, INT64), g.input("j", columns.shape, INT64)
    expected = C3[rows, columns]
    g.output(g.node("Index", [x, g.tuple_of([i, j])], TensorType(expected.shape, FLOAT32)))
    np.testing.assert_array_equal(execute(g.model(), {"x": C3, "i": rows, "j": columns})[0], expected)


EQUAL = np.array([[1, 3, 3, 2], [3, 0, 1, 3]], np.float32)
RISING, FALLING = [[0, 3, 1, 2], [1, 2, 0, 3]], [[1, 2, 3, 0], [0, 3, 2, 1]]
"""Of equal elements the first comes first, as MindSpore's CPU kernels of Sort and TopK have it."""


@pytest.mark.parametrize(
    ("op", "arguments", "order"),
    [
        ("SortExt", [-1, False, True], RISING),
        ("SortExt", [1, True, False], FALLING),
        ("Sort", {"axis": -1, "descending": False}, RISING),
        ("Sort", {"axis": 1, "descending": True}, FALLING),
        ("TopK", [3], np.array(FALLING)[:, :3]),
        ("TopkExt", [2, -1, True, True], np.array(FALLING)[:, :2]),
        ("TopkExt", [2, -1, False, True], np.array(RISING)[:, :2]),
    ],
)
def test_what_is_in_order_and_where_it_was(
    op: str, arguments: Sequence[Literal] | dict[str, Literal], order: Sequence[Sequence[int]]
) -> None:
    places = np.array(order, np.int64)
    g = GraphBuilder("order")
    literals = () if isinstance(arguments, dict) else arguments
    x = g.input("x", EQUAL.shape)
    made = g.node(
        op, [x, *map(g.constant, literals)], (TensorType(places.shape, FLOAT32), TensorType(places.shape, dtypes.INT32))
    )
    for name, value in (arguments if isinstance(arguments, dict) else {}).items():
        fill_literal(g.proto.primitives[-1].attribute.add(name=name), value)
    g.output(g.tuple_get_item(made, 0), g.tuple_get_item(made, 1))
    values, where = execute(g.model(), {"x": EQUAL})
    np.testing.assert_array_equal(where, places)
    np.testing.assert_array_equal(values, np.take_along_axis(EQUAL, places, 1))


@pytest.mark.parametrize(
    ("op", "arguments", "message"),
    [
        ("Scatter", [_TEN, 0, _WHOLE, _VALUES, 1], "reduction of kind 1"),
        ("TensorScatterElements", [_TEN, _WHOLE, _VALUES, 0, 2], "reduction of kind 2"),
        ("TensorCopySlices", [_TEN, _ROWS, (0,), (3,), (1,)], "a part of 12 elements"),
        ("EmbeddingLookup", [_TEN, _WHOLE, 1], "begin at 1"),
    ],
)
def test_what_is_refused(op: str, arguments: list[Array | Literal], message: str) -> None:
    with pytest.raises(UnsupportedOpError, match=message):
        one(op, arguments, (3, 4))


def test_an_embedding_that_changes_its_table_is_refused() -> None:
    g = GraphBuilder("norm")
    table = g.weight("table", (5, 4))
    arguments = [g.input("i", (2,), INT64), table, g.constant(None), g.constant(1.5)]
    g.output(g.node("Embedding", arguments, TensorType((2, 4), FLOAT32)))
    with pytest.raises(UnsupportedOpError, match="imposes a largest norm"):
        lower(g.model(), EXACT)
