"""Sums, running sums, means, extremes, norms over axes: the mint operators as classic ones, in forms that Lite takes.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`).
"""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.api import Result, cannot, dtypes
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises

_CLASSIC = {"MeanExt": "ReduceMean", "SumExt": "ReduceSum", "Max": "ReduceMax", "Min": "ReduceMin"}


@legalises("MeanExt", "SumExt")
def mean_or_sum(at: RuleContext) -> Result:
    """(x, axes or None for all, whether they stay, element type or None): x is cast, then reduced in that type."""
    if at.node.op == "MeanExt" and not at.out.dtype.is_float:
        raise cannot(f"its result is {at.out}, a mean of whole numbers")
    x, axes = at.build.cast(at.input(0), at.out.dtype), at.axes(1, at.type(0).rank)
    return _reduced(at, _CLASSIC[at.node.op], x, axes) if axes else x


@legalises("CumsumExt")
def running_sum(at: RuleContext) -> Result:
    """(x, axis, element type or None): x is cast, then summed up in that type; the classic one is told not to leave
    out a place's own value, nor to begin at the end."""
    x = at.build.cast(at.input(0), at.out.dtype)
    return at.build.op("CumSum", x, *map(at.build.constant, (at.integer(1), False, False)))


@legalises("LinalgVectorNorm")
def vector_norm(at: RuleContext) -> Result:
    """(x, order, axes or None for all, whether they stay, element type or None): of order 2, summed in float32."""
    tensor_type, axes = at.type(0), at.axes(2, at.type(0).rank)
    if at.number(1) != 2 or not tensor_type.dtype.is_float or not axes:
        raise cannot(f"its order is {at.number(1)}, its operand {tensor_type}")
    x = at.build.cast(at.input(0), dtypes.FLOAT32)
    squares = at.build.op("Mul", x, x)
    return at.build.cast(at.build.op("Sqrt", _reduced(at, "ReduceSum", squares, axes)), at.out.dtype)


@legalises("Max", "Min")
def extreme(at: RuleContext) -> Result:
    """(x): over all elements."""
    axes = range(at.type(0).rank)
    return _reduced(at, _CLASSIC[at.node.op], at.input(0), axes) if axes else at.input(0)


@legalises("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceAll", "ReduceAny")
def reduce(at: RuleContext) -> Result:
    """(x, axes, whether they stay): with the axes written out, which MindSpore lets be ().

    Whether the axes of ReduceAny stay is lost on the way through MindSpore Lite: a Reshape brings them back. The fourth
    argument of ReduceSum makes () mean no axis; then nothing is summed.
    """
    tensor_type, op = at.type(0), at.node.op
    if op == "ReduceSum" and len(at.node.inputs) > 3 and at.flag(3) and at.literal(1) in (None, ()):
        return at.input(0)
    x, axes = at.build.cast(at.input(0), at.out.dtype), at.axes(1, tensor_type.rank)
    if tensor_type.rank == 0:
        return x
    if op != "ReduceAny" or not at.flag(2):
        return _reduced(at, op, x, axes)
    if at.out.dims.count(-1) > 1:
        raise cannot(f"{at.out} has sizes that are not known before run time")
    return at.build.reshape(nodes.reduce(at.build, op, x, axes, keep=False), at.out.dims)


def _reduced(at: RuleContext, op: str, value: str, axes: Sequence[int]) -> str:
    """Whether the axes stay with one element is read off the result's type."""
    return nodes.reduce(at.build, op, value, axes, keep=at.out.rank == at.build.type_of(value).rank)
