"""Sums, means, norms and softmax. Norms are written out: ONNX's own compute inside in float32.

Argument orders: MindSpore 2.7.1's operator definitions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.verify.lowering.arithmetic import onnx_type
from attnfuse.verify.lowering.context import LoweringContext, Result, lowers

_REDUCTIONS = {
    "ReduceMean": "ReduceMean", "MeanExt": "ReduceMean", "ReduceSum": "ReduceSum", "SumExt": "ReduceSum",
    "ReduceMax": "ReduceMax", "ReduceMin": "ReduceMin",
}  # fmt: skip


def _axes(at: LoweringContext, position: int) -> list[int]:
    """None or () is every axis."""
    rank = len(at.dims(0))
    given = () if at.is_absent(position) else at.integers(position)
    return sorted(a % rank for a in given) or list(range(rank))


@lowers(*_REDUCTIONS)
def _reduce(at: LoweringContext) -> Result:
    """Operand, axes, whether they stay; of ReduceSum whether () means no axes, then nothing is summed."""
    keep = int(len(at.out.dims) == len(at.dims(0)))
    x = at.converted(0, at.out.dtype)
    if at.op == "ReduceSum" and not at.is_absent(3) and at.literal(3) is True and at.literal(1) == ():
        return x
    axes = _axes(at, 1)
    return at.emit(_REDUCTIONS[at.op], x, at.writer.integers(axes), keepdims=keep) if axes else x


@lowers("ReduceAny", "ReduceAll", moves=True)
def _reduce_bool(at: LoweringContext) -> Result:
    keep = int(len(at.out.dims) == len(at.dims(0)))
    counted = at.emit("Cast", at.converted(0, dtypes.BOOL), to=onnx_type(dtypes.INT32))
    op = "ReduceMax" if at.op == "ReduceAny" else "ReduceMin"
    reduced = at.emit(op, counted, at.writer.integers(_axes(at, 1)), keepdims=keep)
    return at.emit("Cast", reduced, to=onnx_type(dtypes.BOOL))


@lowers("AdaptiveAvgPool2DExt")
def _adaptive_average(at: LoweringContext) -> Result:
    """Of n places, mean i of m is that of those from ⌊i · n / m⌋ up to, without, ⌈(i + 1) · n / m⌉; axes −2 and −1.

    The second operand is m by axis, which the result's declared size tells too (None in it is n).
    """
    x, carrier = at.tensor(0), at.writer.arithmetic.carry(at.out.dtype).numpy
    weights: list[Array] = []
    for places, means in zip(at.dims(0)[-2:], at.out.dims[-2:], strict=True):
        rows = np.zeros((means, places))
        for i in range(means):
            first, end = i * places // means, -(-(i + 1) * places // means)
            rows[i, first:end] = 1 / (end - first)
        weights.append(rows.astype(carrier))
    down, across = at.writer.constant(weights[0]), at.writer.constant(weights[1].T)
    return at.emit("MatMul", at.emit("MatMul", down, x), across)


@lowers("Max", "Min", moves=True)
def _extreme(at: LoweringContext) -> Result:
    """Over all elements, one operand."""
    axes = at.writer.integers(range(len(at.dims(0))))
    return at.emit("ReduceMax" if at.op == "Max" else "ReduceMin", at.tensor(0), axes, keepdims=0)


@lowers("LinalgVectorNorm")
def _vector_norm(at: LoweringContext) -> Result:
    """x, order (2), axes (None: all), keepdim, dtype."""
    if at.number(1) != 2.0:
        raise at.unsupported(f"a norm of order {at.literal(1)}")
    x = at.converted(0, at.out.dtype)
    keep = int(len(at.out.dims) == len(at.dims(0)))
    squares = at.emit("ReduceSum", at.emit("Mul", x, x), at.writer.integers(_axes(at, 2)), keepdims=keep)
    return at.emit("Sqrt", squares)


@lowers("L2Normalize")
def _of_length_one(at: LoweringContext) -> Result:
    """Operand; the axis and the least sum of squares are attributes."""
    told, least = at.attributes.get("axis"), at.attributes.get("epsilon")
    axes = [n for n in (told if isinstance(told, tuple) else (told,)) if isinstance(n, int)]
    if not axes or not isinstance(least, float):
        raise at.unsupported(f"axis {told} and epsilon {least}")
    x = at.converted(0, at.out.dtype)
    squares = at.emit("ReduceSum", at.emit("Mul", x, x), at.writer.integers(axes), keepdims=1)
    carrier = at.writer.arithmetic.carry(at.out.dtype).numpy
    return at.emit("Div", x, at.emit("Sqrt", at.emit("Max", squares, at.writer.constant(np.array(least, carrier)))))


@lowers("Argmax", moves=True)
def _argmax(at: LoweringContext) -> Result:
    index = at.emit("ArgMax", at.tensor(0), axis=at.integer(1), keepdims=0)
    return at.writer.convert(index, dtypes.INT64, at.out.dtype)


@lowers("CumSum")
def _cumulated(at: LoweringContext) -> Result:
    """Operand, axis, exclusive, reverse."""
    axis = at.writer.constant(np.array(at.integer(1), np.int64))
    flags = {"exclusive": at.integer(2), "reverse": at.integer(3)}
    return at.emit("CumSum", at.converted(0, at.out.dtype), axis, **flags)


@lowers("CumsumExt")
def _cumulated_from_the_front(at: LoweringContext) -> Result:
    """Operand, axis, type or None."""
    axis = at.writer.constant(np.array(at.integer(1), np.int64))
    return at.emit("CumSum", at.converted(0, at.out.dtype), axis)


@lowers("Softmax")
def _softmax(at: LoweringContext) -> Result:
    axes = at.integers(1)
    if len(axes) != 1:
        raise at.unsupported(f"a softmax over the axes {axes}")
    return at.emit("Softmax", at.converted(0, at.out.dtype), axis=axes[0])


def _normalised(at: LoweringContext, x: str, axes: Sequence[int], epsilon: float, *, centre: bool = True) -> str:
    """(x − mean) / √(variance + ε), or x / √(mean square + ε)."""
    over = at.writer.integers(axes)
    dtype = at.tensor_type(0).dtype
    if centre:
        x = at.emit("Sub", x, at.emit("ReduceMean", x, over, keepdims=1))
    variance = at.emit("ReduceMean", at.emit("Mul", x, x), over, keepdims=1)
    deviation = at.emit("Sqrt", at.emit("Add", variance, at.writer.number(epsilon, dtype)))
    return at.emit("Div", x, deviation)


def _affine(
    at: LoweringContext, x: str, gain: int | None, offset: int | None, dims: Sequence[int] | None = None
) -> str:
    """x · gain + offset, operands by position, reshaped to `dims` where given."""
    for op, position in (("Mul", gain), ("Add", offset)):
        if position is not None and not at.is_absent(position):
            operand = at.converted(position, at.tensor_type(0).dtype)
            x = at.emit(op, x, operand if dims is None else at.writer.reshape(operand, dims))
    return x


@lowers("LayerNorm")
def _layer_norm(at: LoweringContext) -> Result:
    """x, gamma, beta, begin_norm_axis, begin_params_axis, epsilon."""
    rank = len(at.dims(0))
    first = at.integer(3) % rank
    y = _normalised(at, at.tensor(0), range(first, rank), at.number(5))
    return [_affine(at, y, 1, 2), None, None]


@lowers("LayerNormExt")
def _layer_norm_ext(at: LoweringContext) -> Result:
    """x, normalized_shape, weight, bias, epsilon."""
    rank = len(at.dims(0))
    y = _normalised(at, at.tensor(0), range(rank - len(at.integers(1)), rank), at.number(4))
    return [_affine(at, y, 2, 3), None, None]


@lowers("GroupNorm")
def _group_norm(at: LoweringContext) -> Result:
    """x [N, C, *space], groups, weight [C], bias [C], epsilon."""
    dims, groups = at.dims(0), at.integer(1)
    grouped = at.writer.reshape(at.tensor(0), [dims[0], groups, math.prod(dims[1:]) // groups])
    y = at.writer.reshape(_normalised(at, grouped, [2], at.number(4)), dims)
    return [_affine(at, y, 2, 3, [1, dims[1], *[1] * (len(dims) - 2)]), None, None]


@lowers("RmsNorm")
def _rms_norm(at: LoweringContext) -> Result:
    """x, gamma (over the last axes), epsilon."""
    rank = len(at.dims(0))
    y = _normalised(at, at.tensor(0), range(rank - len(at.dims(1)), rank), at.number(2), centre=False)
    return [_affine(at, y, 1, None), None]
