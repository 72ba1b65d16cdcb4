"""Matrix products and convolutions. Sums run in the carrier's precision (float32 or float64).

Argument orders: MindSpore 2.7.1's operator definitions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from attnfuse.mindir import dtypes
from attnfuse.verify.lowering.context import LoweringContext, Result, lowers

_FLAGS = ("transpose_a", "transpose_b")


def _transposed(at: LoweringContext, name: str, rank: int) -> str:
    """The last two axes exchanged."""
    return at.emit("Transpose", name, perm=[*range(rank - 2), rank - 1, rank - 2])


@lowers("MatMulExt", "BatchMatMulExt", "Matmul", "Bmm", "Mm")
def _product(at: LoweringContext) -> Result:
    dtype = at.out.dtype
    return at.emit("MatMul", at.converted(0, dtype), at.converted(1, dtype))


@lowers("MatMul", "BatchMatMul")
def _product_with_flags(at: LoweringContext) -> Result:
    """The flags behind the operands; or attributes, and CANN's bias by column, added before it rounds, behind them."""
    held = "transpose_a" in at.attributes
    flags = [at.attributes.get(name) if held else at.literal(2 + i) for i, name in enumerate(_FLAGS)]
    operands = []
    for i, turned in enumerate(flags):
        x = at.converted(i, at.out.dtype)
        operands.append(_transposed(at, x, len(at.dims(i))) if turned else x)
    y, bias = at.emit("MatMul", *operands), 2 if held else 4
    return y if at.is_absent(bias) else at.emit("Add", y, at.converted(bias, at.out.dtype))


@lowers("Dense")
def _dense(at: LoweringContext) -> Result:
    y = at.emit("MatMul", at.tensor(0), _transposed(at, at.tensor(1), 2))
    return y if at.is_absent(2) else at.emit("Add", y, at.tensor(2))


@lowers("Einsum")
def _einsum(at: LoweringContext) -> Result:
    """ONNX has the same notation."""
    operands = at.element_tensors(0, at.out.dtype)
    return at.emit("Einsum", *operands, equation=str(at.attributes["equation"]).replace(" ", ""))


@lowers("BiasAdd")
def _bias(at: LoweringContext) -> Result:
    """The bias belongs to axis 1 (formats NCHW and NCDHW, numbers 0 and 14) or to the last one (NHWC, 1)."""
    rank, layout, bias = len(at.dims(0)), at.literal(2), at.tensor(1)
    if layout not in (0, 1, 14, "NCHW", "NHWC", "NCDHW"):
        raise at.unsupported(f"data format {layout!r}")
    if rank > 2 and layout not in (1, "NHWC"):
        bias = at.writer.reshape(bias, [-1] + [1] * (rank - 2))
    return at.emit("Add", at.tensor(0), bias)


@lowers("Addmm")
def _addmm(at: LoweringContext) -> Result:
    return _scaled_sum(at, at.tensor(0))


@lowers("Baddbmm")
def _baddbmm(at: LoweringContext) -> Result:
    """The bias may have one axis more than the product: [B or 1, N or 1, S or 1, T] against [B·N, S, T].

    mindone leaves it so, and MindSpore's inference lets it pass (it declares the product's shape).
    """
    bias, dims, out = at.tensor(0), at.dims(0), at.out.dims
    if len(dims) == len(out) + 1:
        batch, heads = dims[:2]
        if batch * heads != 1 and batch * heads != out[0]:
            batch = batch if heads == 1 else out[0] // heads
            heads = out[0] // batch
            bias = at.emit("Expand", bias, at.writer.integers([batch, heads, *dims[2:]]))
        bias = at.writer.reshape(bias, [batch * heads, *dims[2:]])
    return _scaled_sum(at, bias)


def _scaled_sum(at: LoweringContext, bias: str) -> str:
    """beta · bias + alpha · (a @ b), operands 1 to 4."""
    product = at.emit("MatMul", at.tensor(1), at.tensor(2))
    beta, alpha = at.number(3), at.number(4)
    if alpha != 1.0:
        product = at.emit("Mul", product, at.scalar(alpha))
    at.writer.products[at.node.name] = product
    if beta != 1.0:
        bias = at.emit("Mul", bias, at.scalar(beta))
    return at.emit("Add", bias, product)


@lowers("Conv2DExt", "Conv3DExt", "Conv1DExt")
def _convolution(at: LoweringContext) -> Result:
    """Input [N, C, *space], weight [O, C / groups, *kernel], bias [O]."""
    rank = len(at.dims(0)) - 2
    stride, padding, dilation = (_per_axis(at.integers(i), rank) for i in (3, 4, 5))
    y = _convolved(at, stride, padding, dilation, at.integer(6))
    if at.is_absent(2):
        return y
    return at.emit("Add", y, at.writer.reshape(at.tensor(2), [1, -1] + [1] * rank))


@lowers("Conv2D", "Conv3D")
def _convolution_by_attributes(at: LoweringContext) -> Result:
    """The same, all but the tensors attributes: pad_list is (before, after) of each axis of space.

    Conv2D's stride and dilation are those of all axes, Conv3D's those of space. A bias, which may be float32 beside
    another type, is added before the sum is rounded.
    """
    rank = len(at.dims(0)) - 2
    stride, pads, dilation = (_attribute(at, name) for name in ("stride", "pad_list", "dilation"))
    (groups,) = _attribute(at, "group")
    if pads[::2] != pads[1::2] or at.attributes.get("format") not in ("NCHW", "NCDHW"):
        raise at.unsupported("unequal padding or an unknown format")
    y = _convolved(at, stride[-rank:], pads[::2], dilation[-rank:], groups)
    if at.is_absent(2):
        return y
    return at.emit("Add", y, at.writer.reshape(at.converted(2, at.out.dtype), [1, -1] + [1] * rank))


def _attribute(at: LoweringContext, name: str) -> list[int]:
    """Whole numbers, or one alone."""
    value = at.attributes.get(name)
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(n, int) for n in numbers):
        raise at.unsupported(f"its {name} is {value!r}")
    return [n for n in numbers if isinstance(n, int)]


def _convolved(at: LoweringContext, stride: list[int], padding: list[int], dilation: list[int], groups: int) -> str:
    x, weight = at.tensor(0), at.tensor(1)
    if at.writer.arithmetic.carry(at.out.dtype) is dtypes.FLOAT64:
        return _by_taps(at, (x, at.dims(0)), (weight, at.dims(1)), stride, padding, dilation, groups)
    return at.emit("Conv", x, weight, strides=stride, pads=[*padding, *padding], dilations=dilation, group=groups)


@lowers("ConvTranspose2D")
def _transposed_convolution(at: LoweringContext) -> Result:
    """input, weight, bias, stride, padding, output padding, groups, dilation."""
    rank = len(at.dims(0)) - 2
    stride, padding, beyond, dilation = (_per_axis(at.integers(i), rank) for i in (3, 4, 5, 7))
    y = _spread(at, stride, padding, beyond, dilation, at.integer(6))
    if at.is_absent(2):
        return y
    return at.emit("Add", y, at.writer.reshape(at.tensor(2), [1, -1] + [1] * rank))


@lowers("Conv2DTranspose", "Conv2DBackpropInput", "Conv3DTranspose")
def _transposed_convolution_by_attributes(at: LoweringContext) -> Result:
    """The same without bias, its arguments attributes; how much of the far edge stays follows from the result."""
    stride, pads, dilation = (_attribute(at, name) for name in ("stride", "pad_list", "dilation"))
    (groups,) = _attribute(at, "group")
    if at.attributes.get("format") not in ("NCHW", "NCDHW"):
        raise at.unsupported("an unknown format")
    if at.op == "Conv3DTranspose" and at.attributes.get("pad_mode") == "same":
        raise at.unsupported("padding that is not given")
    rank = len(at.dims(0)) - 2
    stride, dilation, padding = stride[-rank:], dilation[-rank:], pads[::2]
    least = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, s, p, d, k in zip(at.dims(0)[2:], stride, padding, dilation, at.dims(1)[2:], strict=True)
    ]
    beyond = [out - low for out, low in zip(at.out.dims[2:], least, strict=True)]
    return _spread(at, stride, padding, beyond, dilation, groups)


def _spread(
    at: LoweringContext, stride: list[int], padding: list[int], beyond: list[int], dilation: list[int], groups: int
) -> str:
    """A transposed convolution: input [N, C, *space], weight [C, O / groups, *kernel].

    `padding` is taken off both edges of the result, `beyond` added to the far one.
    """
    w = at.writer
    x, weight = at.tensor(0), at.tensor(1)
    if w.arithmetic.carry(at.out.dtype) is not dtypes.FLOAT64:
        edges = {"strides": stride, "pads": padding * 2, "output_padding": beyond, "dilations": dilation}
        return at.emit("ConvTranspose", x, weight, group=groups, **edges)
    # As a convolution with the kernel turned round, over the input with zeros between: onnxruntime has none in float64.
    (batch, channels, *space), (_, features, *kernel) = at.dims(0), at.dims(1)
    rank, zero = len(space), w.number(0.0, at.out.dtype)
    apart = w.reshape(x, [batch, channels, *itertools.chain(*((n, 1) for n in space))])
    fill = [0, 0, *itertools.chain(*((0, s - 1) for s in stride))]
    wide = w.emit("Pad", apart, w.integers([0] * len(fill) + fill), zero, mode="constant")
    dims = [batch, channels, *(n * s for n, s in zip(space, stride, strict=True))]
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    near = [r - p for r, p in zip(reach, padding, strict=True)]
    far = [n + b - (s - 1) for n, b, s in zip(near, beyond, stride, strict=True)]  # zeros follow the last place too
    x = w.emit("Pad", w.reshape(wide, dims), w.integers([0, 0, *near, 0, 0, *far]), zero, mode="constant")
    dims[2:] = [n + a + b for n, a, b in zip(dims[2:], near, far, strict=True)]
    for axis, size in enumerate(kernel, 2):
        weight = w.emit("Gather", weight, w.integers(range(size - 1, -1, -1)), axis=axis)
    depth = channels // groups
    by_group = w.reshape(weight, [groups, depth, features, *kernel])
    turned = w.emit("Transpose", by_group, perm=[0, 2, 1, *range(3, 3 + rank)])
    kernels = [groups * features, depth, *kernel]
    return _by_taps(at, (x, dims), (w.reshape(turned, kernels), kernels), [1] * rank, [0] * rank, dilation, groups)


@lowers("AvgPool2D")
def _average(at: LoweringContext) -> Result:
    """x, kernel, stride, padding, ceil_mode, count_include_pad, divisor: the mean of every window."""
    kernel, stride = _per_axis(at.integers(1), 2), _per_axis(at.integers(1 if at.is_absent(2) else 2), 2)
    if any(at.integers(3)) or not at.is_absent(6):
        raise at.unsupported("padding, or a divisor of its own")
    space = at.out.dims[2:]
    if any((n - 1) * s + k > size for n, s, k, size in zip(space, stride, kernel, at.dims(0)[2:], strict=True)):
        raise at.unsupported("windows that go beyond the edge")
    # Window by window place: onnxruntime's own has no float64.
    w, total = at.writer, ""
    for place in itertools.product(*(range(k) for k in kernel)):
        ends = [o + (n - 1) * s + 1 for o, n, s in zip(place, space, stride, strict=True)]
        part = w.emit("Slice", at.tensor(0), *(w.integers(v) for v in (place, ends, (2, 3), stride)))
        total = w.emit("Add", total, part) if total else part
    return w.emit("Div", total, at.scalar(math.prod(kernel)))


def _per_axis(values: Sequence[int], rank: int) -> list[int]:
    return list(values) * rank if len(values) == 1 else list(values)


def _by_taps(
    at: LoweringContext,
    operand: tuple[str, Sequence[int]],
    kernels: tuple[str, Sequence[int]],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> str:
    """A convolution as products, for float64, in which onnxruntime has none. Operand and kernels with their dims.

    One product per place of the kernel, summed: memory of one shifted input instead of one per place. Where the
    kernel neither overlaps nor is padded (a patch embedding) one product over the rearranged input is enough.
    """
    w = at.writer
    (x, (batch, channels, *space)), (weight, (features, depth, *kernel)) = operand, kernels
    out_space = list(at.out.dims[2:])
    rank, places = len(space), math.prod(kernel)
    if kernel == stride and not any(padding) and set(dilation) == {1} and groups == 1 and places > 1:
        cut = w.emit(
            "Slice", x, w.integers([0] * rank), w.integers([o * k for o, k in zip(out_space, kernel, strict=True)]),
            w.integers(range(2, 2 + rank)),
        )  # fmt: skip
        split = w.reshape(cut, [batch, channels, *itertools.chain(*zip(out_space, kernel, strict=True))])
        inner, outer = [3 + 2 * i for i in range(rank)], [2 + 2 * i for i in range(rank)]
        patches = w.reshape(
            w.emit("Transpose", split, perm=[0, 1, *inner, *outer]), [batch, channels * places, math.prod(out_space)]
        )
        total = w.emit("MatMul", w.reshape(weight, [features, channels * places]), patches)
        return w.reshape(total, [batch, features, *out_space])
    if any(padding):
        pads = [0, 0, *padding]
        x = w.emit("Pad", x, w.integers(pads + pads), w.number(0.0, at.out.dtype), mode="constant")
    # [places, groups, features / groups, depth]
    by_place = w.emit("Transpose", w.reshape(weight, [groups, features // groups, depth, places]), perm=[3, 0, 1, 2])
    axes = w.integers(range(2, 2 + rank))
    total = ""
    for place, offsets in enumerate(itertools.product(*(range(k) for k in kernel))):
        starts = [o * d for o, d in zip(offsets, dilation, strict=True)]
        ends = [b + (n - 1) * s + 1 for b, n, s in zip(starts, out_space, stride, strict=True)]
        shifted = x
        if places > 1 or set(stride) != {1}:
            shifted = w.emit("Slice", x, w.integers(starts), w.integers(ends), axes, w.integers(stride))
        flat = w.reshape(shifted, [batch, groups, depth, math.prod(out_space)])
        matrix = w.emit("Gather", by_place, w.integers([place]), axis=0)
        term = w.emit("MatMul", matrix, flat)
        total = w.emit("Add", total, term) if total else term
    return w.reshape(total, [batch, features, *out_space])
