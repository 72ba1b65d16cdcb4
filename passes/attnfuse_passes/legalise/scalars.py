"""Operators between a tensor and a number: the classic ones take the number as a tensor of no axes.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`); comparisons with a number are how
MindSpore 2.10 exports them. A number is not rounded to a low-precision tensor's type before it
is used: where the type does not hold it, the operator computes in float32, and its result is rounded.
"""

from __future__ import annotations

import numpy as np

from attnfuse.api import Result, cannot, dtypes
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises

_ARITHMETIC = {"Muls": "Mul", "Divs": "Div"}
_WITH_ALPHA = {"AddExt": "Add", "SubExt": "Sub"}
_NUMBER_WITH_ALPHA = {"AddScalar": "Add", "SubScalar": "Sub"}
_COMPARISONS = {
    "LessScalar": "Less",
    "GreaterScalar": "Greater",
    "GreaterEqualScalar": "GreaterEqual",
    "EqScalar": "Equal",
    "NeScalar": "NotEqual",
}


@legalises(*_ARITHMETIC)
def arithmetic(at: RuleContext) -> Result:
    """(x, number), in the type of the result: that of x, or float32 where x holds whole numbers and the result not."""
    return _with_number(at, _ARITHMETIC[at.node.op], at.number(1))


@legalises(*_WITH_ALPHA)
def with_alpha(at: RuleContext) -> Result:
    """(x, y, alpha): x ± alpha · y, tensors of one type that broadcast."""
    alpha = at.number(2)
    if alpha != 1 and not at.out.dtype.is_float:
        raise cannot(f"it multiplies {at.out.dtype} by {alpha!r}")
    y = at.build.scaled(at.input(1), float(alpha))
    return at.build.op(_WITH_ALPHA[at.node.op], at.input(0), y)


@legalises(*_NUMBER_WITH_ALPHA)
def number_with_alpha(at: RuleContext) -> Result:
    """(x, number, alpha): x ± alpha · number."""
    return _with_number(at, _NUMBER_WITH_ALPHA[at.node.op], at.number(1) * at.number(2))


@legalises("PowTensorScalar")
def power(at: RuleContext) -> Result:
    """(x, exponent); a square is a product, which is exact where a power may not be."""
    exponent = at.number(1)
    if exponent == 2:
        x = at.build.cast(at.input(0), at.out.dtype)
        return at.build.op("Square", x)
    return _with_number(at, "Pow", exponent)


@legalises(*_COMPARISONS)
def comparison(at: RuleContext) -> Result:
    """(x, number), in a type that holds both."""
    number, dtype = at.number(1), at.type(0).dtype
    if not nodes.holds(dtype, number):
        if dtype.itemsize > 2 or not nodes.holds(dtypes.FLOAT32, number):
            raise cannot(f"it compares {dtype} with {number!r}")
        dtype = dtypes.FLOAT32
    x = at.build.cast(at.input(0), dtype)
    return at.build.op(_COMPARISONS[at.node.op], x, at.build.tensor(np.array(number), dtype))


def _with_number(at: RuleContext, op: str, number: bool | int | float) -> str:
    """One operator between x and a number, in the type of the result."""
    out = at.out
    inside = out.dtype
    if not nodes.holds(inside, number):
        if not inside.is_float:
            raise cannot(f"{inside} does not hold its number {number!r}")
        inside = dtypes.FLOAT32 if inside.is_low_precision else inside
    x = at.build.cast(at.input(0), inside)
    y = at.build.op(op, x, at.build.tensor(np.array(number), inside))
    return at.build.cast(y, out.dtype)
