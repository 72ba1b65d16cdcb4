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
    "ReduceMax": "ReduceMax", "ReduceMin": "ReduceMin", "ReduceProd": "ReduceProd", "ProdExt": "ReduceProd",
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


@lowers("MaxDim", "MinDim", "ArgMaxWithValue", "ArgMinWithValue", moves=True)
def _extreme_of_axis(at: LoweringContext) -> Result:
    """Operand, axis, whether it stays; the largest or smallest and its first place, or the other way round."""
    place, x = 1 if at.op in ("MaxDim", "MinDim") else 0, at.tensor(0)
    extreme = "Max" if "Max" in at.op else "Min"
    keep = int(len(at.outs[place].dims) == len(at.dims(0)))
    axis = at.integer(1) % len(at.dims(0))
    found = at.emit(f"Reduce{extreme}", x, at.writer.integers([axis]), keepdims=keep)
    index = at.emit(f"Arg{extreme}", x, axis=axis, keepdims=keep)
    where = at.writer.convert(index, dtypes.INT64, at.outs[place].dtype)
    return [found, where] if place else [where, found]


@lowers("LogSumExp")
def _log_sum_exp(at: LoweringContext) -> Result:
    """Operand, axes, whether they stay. The largest number is taken out first, as the operator does it."""
    x, axes = at.converted(0, at.out.dtype), at.writer.integers(_axes(at, 1))
    keep = int(len(at.out.dims) == len(at.dims(0)))
    largest = at.emit("ReduceMax", x, axes, keepdims=1)
    total = at.emit("ReduceSum", at.emit("Exp", at.emit("Sub", x, largest)), axes, keepdims=keep)
    kept = largest if keep else at.emit("Squeeze", largest, axes)
    return at.emit("Add", at.emit("Log", total), kept)


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


@lowers("Argmax", "Argmin", "ArgMaxExt", "ArgMinExt", moves=True)
def _place_of_extreme(at: LoweringContext) -> Result:
    """Operand and axis, of mint's None for the place among all elements; the first place of equal ones."""
    x, dims = at.tensor(0), at.dims(0)
    if at.is_absent(1):
        x, dims = at.writer.reshape(x, [at.tensor_type(0).size]), (at.tensor_type(0).size,)
    axis = 0 if at.is_absent(1) else at.integer(1)
    op = "ArgMax" if at.op.lower().startswith("argmax") else "ArgMin"
    index = at.emit(op, x, axis=axis % len(dims), keepdims=int(len(at.out.dims) == len(dims)))
    return at.writer.convert(index, dtypes.INT64, at.out.dtype)


@lowers("Var", "Std")
def _spread(at: LoweringContext) -> Result:
    """Operand, axes or None, by how much the divisor is less than the count, whether the axes stay."""
    x, axes = at.converted(0, at.out.dtype), _axes(at, 1)
    count = math.prod(at.dims(0)[axis] for axis in axes)
    if count <= at.integer(2):
        raise at.unsupported(f"of {count} numbers, {at.integer(2)} of them taken off")
    keep, over = int(len(at.out.dims) == len(at.dims(0))), at.writer.integers(axes)
    centred = at.emit("Sub", x, at.emit("ReduceMean", x, over, keepdims=1))
    total = at.emit("ReduceSum", at.emit("Mul", centred, centred), over, keepdims=keep)
    variance = at.emit("Div", total, at.scalar(count - at.integer(2)))
    return at.emit("Sqrt", variance) if at.op == "Std" else variance


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
    scores = at.converted(0, at.out.dtype)
    if at.rounding is not None and at.rounding.level is not None and not at.rounding.stored:
        scores = at.writer.levelled(scores, at.out.dtype, at.rounding.level, axes[0])
    return at.emit("Softmax", scores, axis=axes[0])


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


@lowers("LogSoftmax", "LogSoftmaxExt")
def _log_softmax(at: LoweringContext) -> Result:
    """Operand and axis; mint's None is the first of the ranks 0, 1 and 3 and the second of others, as in torch."""
    rank = len(at.dims(0))
    axis = (0 if rank in (0, 1, 3) else 1) if at.is_absent(1) else at.integer(1) % rank
    return at.emit("LogSoftmax", at.converted(0, at.out.dtype), axis=axis)


@lowers("LayerNorm")
def _layer_norm(at: LoweringContext) -> Result:
    """x, gamma, beta, begin_norm_axis, begin_params_axis, epsilon."""
    rank = len(at.dims(0))
    first = at.integer(3) % rank
    y = _normalised(at, at.tensor(0), range(first, rank), at.number(5))
    return [_affine(at, y, 1, 2), None, None]


@lowers("LayerNormV3")
def _layer_norm_v3(at: LoweringContext) -> Result:
    """As LayerNorm. CANN's kernel rounds mean and deviation to the type of gamma, and nothing else but the result."""
    rank = len(at.dims(0))
    first = at.integer(3) % rank
    w, dtype, statistics = at.writer, at.tensor_type(0).dtype, at.tensor_type(1).dtype
    over, carrier = w.integers(range(first, rank)), w.arithmetic.carry(dtype)
    mean = at.emit("ReduceMean", at.tensor(0), over, keepdims=1)
    centred = at.emit("Sub", at.tensor(0), mean)
    variance = at.emit("ReduceMean", at.emit("Mul", centred, centred), over, keepdims=1)
    raised = at.emit("Sqrt", at.emit("Add", variance, w.number(at.number(5), dtype)))
    inverse = w.round_to(at.emit("Reciprocal", raised), statistics, carrier)
    centred = at.emit("Sub", at.tensor(0), w.round_to(mean, statistics, carrier))
    return [_affine(at, at.emit("Mul", centred, inverse), 1, 2), None, None]


@lowers("AddLayerNorm")
def _add_layer_norm(at: LoweringContext) -> Result:
    """x1, x2, gamma, beta, bias or none; the sum is the fourth result, and is normalised before it is rounded."""
    epsilon, gives_sum = at.attributes.get("epsilon"), at.attributes.get("additional_output")
    if not isinstance(epsilon, float) or not isinstance(gives_sum, bool):
        raise at.unsupported("an attribute is left to CANN")
    dtype, rank = at.tensor_type(0).dtype, len(at.dims(0))
    total = at.emit("Add", at.tensor(0), at.converted(1, dtype))
    if not at.is_absent(4):
        total = at.emit("Add", total, at.converted(4, dtype))
    y = _normalised(at, total, range(rank - len(at.dims(2)), rank), epsilon)
    return [_affine(at, y, 2, 3), None, None, total if gives_sum else None]


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


@lowers("GroupNormSilu")
def _group_norm_silu(at: LoweringContext) -> Result:
    """x [N, C, *space], gamma [C], beta [C]; groups, epsilon and whether SiLU follows are attributes.

    As CANN's kernel computes it: in float32, the variance as mean square less squared mean, gain and offset folded into
    one product and one sum, SiLU of what is not rounded yet. Float64 has the formula's own variance.
    """
    dims, groups, epsilon = at.dims(0), at.attributes.get("num_groups"), at.attributes.get("eps")
    activated = at.attributes.get("activate_silu")
    if not isinstance(groups, int) or not isinstance(epsilon, float) or not isinstance(activated, bool):
        raise at.unsupported("an attribute is left to CANN")
    w, dtype = at.writer, at.tensor_type(0).dtype
    x = w.reshape(at.tensor(0), [dims[0], groups, dims[1] // groups, math.prod(dims[2:])])
    over = w.integers([2, 3])
    mean = at.emit("ReduceMean", x, over, keepdims=1)
    if w.arithmetic.is_formula:
        centred = at.emit("Sub", x, mean)
        variance = at.emit("ReduceMean", at.emit("Mul", centred, centred), over, keepdims=1)
    else:
        mean_square = at.emit("ReduceMean", at.emit("Mul", x, x), over, keepdims=1)
        variance = at.emit("Sub", mean_square, at.emit("Mul", mean, mean))
    deviation = at.emit("Sqrt", at.emit("Add", variance, w.number(epsilon, dtype)))
    gamma, beta = (w.reshape(at.converted(i, dtype), [1, groups, dims[1] // groups, 1]) for i in (1, 2))
    gain = at.emit("Div", gamma, deviation)
    y = at.emit("Add", at.emit("Mul", x, gain), at.emit("Sub", beta, at.emit("Mul", gain, mean)))
    if activated:
        y = at.emit("Mul", y, at.emit("Sigmoid", y))
    return [w.reshape(y, dims), None, None]


@lowers("RmsNorm")
def _rms_norm(at: LoweringContext) -> Result:
    """x, gamma (over the last axes), epsilon."""
    rank = len(at.dims(0))
    y = _normalised(at, at.tensor(0), range(rank - len(at.dims(1)), rank), at.number(2), centre=False)
    return [_affine(at, y, 1, None), None]
