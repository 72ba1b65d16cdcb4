"""Sums, means and extremes over axes."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32, INT64, DType
from tests.passes.legalise.programs import In, Make, gives, kind
from tests.passes.legalise.support import Case, cases, check_structure
from tests.support.graphs import GraphBuilder

X = In("x", (2, 3, 4))
TRUTHS = {"b": np.array([[False, True, False], [False, False, False]])}


def of(op: str, x: In, axes: object, keep: bool, *dims: int, dtype: DType | None = None, told: bool = False) -> Make:
    """MeanExt or SumExt, giving another type than x's where told to, or of itself."""
    result = dtype or x.dtype
    return gives(op, x, axes, keep, result.type_id if told else None, out=kind(*dims, dtype=result))


def classic(op: str, x: In, axes: object, keep: bool, *dims: int, more: tuple[object, ...] = ()) -> Make:
    """Reduce…"""
    return gives(op, x, axes, keep, *more, out=kind(*dims, dtype=x.dtype))


cases(
    "reduce",
    Case("MeanExt", of("MeanExt", X, (-1,), True, 2, 3, 1), ("ReduceMean",)),
    Case("MeanExt of two axes, dropped", of("MeanExt", X, (2, 0), False, 3), ("ReduceMean",)),
    Case("MeanExt of all axes", of("MeanExt", X, None, False), ("ReduceMean",)),
    Case("MeanExt of all axes, kept", of("MeanExt", X, (), True, 1, 1, 1), ("ReduceMean",)),
    Case("MeanExt in float16", of("MeanExt", In("x", (2, 3), FLOAT16), (1,), True, 2, 1), ("ReduceMean",), native=1e-3),
    Case(
        "MeanExt of float16 in float32",
        of("MeanExt", In("x", (2, 3), FLOAT16), (1,), False, 2, dtype=FLOAT32, told=True),
        ("Cast", "ReduceMean"),
    ),
    Case(
        "MeanExt of bfloat16, of unknown size",
        of("MeanExt", In("x", (-1, 3), BFLOAT16), (1,), True, -1, 1),
        ("ReduceMean",),
    ),
    Case("SumExt", of("SumExt", X, (0, 1), False, 4), ("ReduceSum",)),
    Case("SumExt of one number for an axis", of("SumExt", X, 1, True, 2, 1, 4), ("ReduceSum",), newer=True),
    Case(
        "SumExt of truths",
        of("SumExt", In("b", (2, 3), BOOL), (1,), False, 2, dtype=INT64),
        ("Cast", "ReduceSum"),
        inputs=TRUTHS,
    ),
    Case(
        "SumExt of whole numbers in float32",
        of("SumExt", In("x", (2, 3), INT32), None, True, 1, 1, dtype=FLOAT32, told=True),
        ("Cast", "ReduceSum"),
    ),
    Case("CumsumExt", gives("CumsumExt", X, 1, None, out=kind(2, 3, 4)), ("CumSum",)),
    Case(
        "CumsumExt of whole numbers, the last axis, in another type",
        gives("CumsumExt", In("x", (2, 3), INT32), -1, INT64.type_id, out=kind(2, 3, dtype=INT64)),
        ("Cast", "CumSum"),
    ),
    Case(
        "LinalgVectorNorm",
        gives("LinalgVectorNorm", X, 2.0, (-1,), True, None, out=kind(2, 3, 1)),
        ("Mul", "ReduceSum", "Sqrt"),
    ),
    Case(
        "LinalgVectorNorm of float16, of all axes",
        gives("LinalgVectorNorm", In("x", (2, 3), FLOAT16), 2.0, None, False, None, out=kind(dtype=FLOAT16)),
        ("Cast", "Mul", "ReduceSum", "Sqrt", "Cast"),
        native=1e-3,
    ),
    Case(
        "LinalgVectorNorm of order 1",
        gives("LinalgVectorNorm", X, 1.0, (-1,), True, None, out=kind(2, 3, 1)),
        refused="its order is 1",
    ),
    Case("Max", gives("Max", X, out=kind()), ("ReduceMax",)),
    Case("Min of whole numbers", gives("Min", In("x", (5,), INT64), out=kind(dtype=INT64)), ("ReduceMin",)),
    Case("ReduceMean of ()", classic("ReduceMean", X, (), True, 1, 1, 1), ("ReduceMean",)),
    Case("ReduceMax of ()", classic("ReduceMax", X, (), False), ("ReduceMax",)),
    Case("ReduceMin of ()", classic("ReduceMin", X, (), False), ("ReduceMin",)),
    Case("ReduceSum of ()", classic("ReduceSum", X, (), True, 1, 1, 1, more=(False,)), ("ReduceSum",)),
    Case("ReduceSum of an axis", classic("ReduceSum", X, (1,), True, 2, 1, 4, more=(False,)), ("ReduceSum",)),
    Case("ReduceSum of an axis, skipping ()", classic("ReduceSum", X, (1,), False, 2, 4, more=(True,)), ("ReduceSum",)),
    Case(
        "ReduceAll of ()",
        classic("ReduceAll", In("b", (2, 3), BOOL), (), False),
        ("ReduceAll",),
        inputs=TRUTHS,
    ),
    Case(
        "ReduceAny of ()",
        classic("ReduceAny", In("b", (2, 3), BOOL), (), False),
        ("ReduceAny",),
        inputs=TRUTHS,
    ),
    Case(
        "ReduceAny, kept",
        classic("ReduceAny", In("b", (2, 3), BOOL), (-1,), True, 2, 1),
        ("ReduceAny", "Reshape"),
        inputs=TRUTHS,
    ),
    Case(
        "ReduceAny, kept, of unknown sizes",
        classic("ReduceAny", In("b", (-1, -1, 3), BOOL), (2,), True, -1, -1, 1),
        refused="not known before run time",
    ),
)


def negated(op: str, x: In, *arguments: object) -> Make:
    """The operator, whose result is of x's type, before another: MindSpore folds the first away."""

    def make(g: GraphBuilder) -> str:
        return g.op("Neg", g.op(op, g.input(x.name, x.dims), *arguments))  # type: ignore[arg-type]  # literals

    return make


def test_a_sum_over_no_axes_that_skips_is_no_sum() -> None:
    """As MindSpore documents skip_mode."""
    check_structure(Case("skipped", negated("ReduceSum", X, (), True, True), ("Neg",)))


@pytest.mark.parametrize(("op", "arguments"), [("MeanExt", ((), False, None)), ("Max", ()), ("ReduceMin", ((), False))])
def test_a_number_is_its_own_mean_and_extreme(op: str, arguments: tuple[object, ...]) -> None:
    check_structure(Case(op, negated(op, In("x", ()), *arguments), ("Neg",)))


def test_a_mean_of_whole_numbers_is_refused() -> None:
    make = of("MeanExt", In("x", (2, 3), INT64), (1,), False, 2)
    check_structure(Case("whole numbers", make, refused="a mean of whole numbers"))
