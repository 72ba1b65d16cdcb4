"""Convolutions and changes of resolution.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`); Conv2D and Conv3D keep their
arguments as attributes, all of which are written, as MindSpore exports them. A learned bias is their third input, which
MindSpore Lite hands to CANN's convolution: that adds it before it rounds, as MindSpore's own does. A BiasAdd loses its
format on the way, and works only where the graph engine takes it into a convolution, which it does not where a size is
not known before run time; an Add rounds once more, and is a kernel of its own. All other biases are added by Add, and
so is one that is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.api import AttributeProto, Result, TensorType, argument_name, cannot, dtypes
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises

_PORT_NAMES = {"input_names": ("x", "w"), "output_names": ("output",)}


@legalises("Conv2DExt")
def convolution_2d(at: RuleContext) -> Result:
    """Conv2D, whose strides and dilations are those of all four axes.

    Grouped only where each channel is a group: what else is grouped, Ascend does not take (MindSpore's Conv2D). By a
    kernel of one place, groups of several channels are a batch of products.
    """
    x, weight = _operands(at, 4)
    stride, padding, dilation = (_pair(at, position, 2) for position in (3, 4, 5))
    groups = at.integer(6)
    if groups != 1 and not groups == x.dims[1] == weight.dims[0]:
        if (weight.dims[2:], stride, padding) != ((1, 1), (1, 1), (0, 0)) or not x.is_static:
            raise cannot(f"it has {groups} groups of several channels")
        return _with_bias(at, _product_of_groups(at, x, weight, groups), at.optional(2))
    attributes = (
        *_common_attributes(weight, padding, groups, "NCHW"),
        nodes.wholes("stride", (1, 1, *stride)),
        nodes.wholes("dilation", (1, 1, *dilation)),
    )
    return _convolution(at, "Conv2D", (at.input(0), at.input(1)), attributes, at.optional(2))


@legalises("Conv3DExt")
def convolution_3d(at: RuleContext) -> Result:
    """Conv3D. It takes no groups and no dilated depth on Ascend, and no bfloat16 (MindSpore's Conv3D).

    Where each channel is a group and windows lie side by side (a wavelet), products and sums do.
    """
    x, weight = _operands(at, 5)
    stride, padding, dilation = (_pair(at, position, 3) for position in (3, 4, 5))
    groups = at.integer(6)
    side_by_side = stride == weight.dims[2:] and not any(padding) and max(dilation) == 1
    if groups == x.dims[1] == weight.dims[0] != 1 and side_by_side and x.is_static:
        return _with_bias(at, _windows_of_channels(at, x, weight), at.optional(2))
    if groups != 1 or dilation[0] != 1:
        raise cannot(f"it has {groups} groups and a depth dilated by {dilation[0]}")
    attributes = (
        *_common_attributes(weight, padding, groups, "NCDHW"),
        nodes.wholes("stride", stride),
        nodes.wholes("strides", (1, 1, *stride)),
        nodes.wholes("dilation", dilation),
        nodes.wholes("dilations", (1, 1, *dilation)),
        nodes.whole("offset_x", 0),
    )
    inside = dtypes.FLOAT32 if x.dtype == dtypes.BFLOAT16 else x.dtype
    operands = [at.build.cast(at.input(i), inside) for i in (0, 1)]
    return _convolution(at, "Conv3D", operands, attributes, at.optional(2))


@legalises("ConvTranspose2D")
def transposed_2d(at: RuleContext) -> Result:
    """(x, weight [C, O, …], bias, stride, padding, padding of the far edge, groups, dilation)."""
    stride, padding, dilation = (_pair(at, position, 2) for position in (3, 4, 7))
    return _turned_round(at, stride, padding, dilation, at.integer(6), at.optional(2))


@legalises("Conv2DTranspose", "Conv2DBackpropInput")
def transposed_by_attributes(at: RuleContext) -> Result:
    """(x, weight [C, O, …], size of the result), the rest attributes; pad_list is (before, after) of each axis.

    The transposed convolution of a line has another name, and a picture of height 1.
    """
    stride, dilation, pads = (at.attributes(name) for name in ("stride", "dilation", "pad_list"))
    groups, layout = at.attribute("group"), at.attribute("format")
    if pads[::2] != pads[1::2] or layout != "NCHW" or not isinstance(groups, int):
        raise cannot(f"it is padded by {pads}, in {layout}")
    return _turned_round(at, stride[-2:], pads[::2], dilation[-2:], groups)


def _turned_round(
    at: RuleContext,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    bias: str | None = None,
) -> str:
    """The transposed convolution of x [N, C, H, W] with weight [C, O, …]: each place of x lays a kernel down.

    Where kernels lie side by side, each of their places is a channel of a convolution by 1. Else it is a convolution
    of x with zeros between its places with the kernel turned round: the same products, and some with zero.
    """
    x, weight = _operands(at, 4)
    (batch, channels, *space), kernel, build = x.dims, weight.dims[2:], at.build
    if groups != 1 or not (x.is_static and at.out.is_static) or 0 in (*x.dims, *weight.dims):
        raise cannot(f"it has {groups} groups, and makes {at.out} of {x}")
    beside = tuple(n * s for n, s in zip(space, stride, strict=True))
    if (kernel, dilation, padding, at.out.dims[2:]) == (stride, (1, 1), (0, 0), beside):
        by_place = build.transpose(at.input(1), (1, 2, 3, 0))
        flat = build.reshape(by_place, (weight.size // channels, channels, 1, 1))
        y = _plain_convolution(at, at.input(0), flat, (0, 0), (1, 1))
        apart = build.reshape(y, (batch, weight.dims[1], *kernel, *space))
        return _with_bias(at, build.reshape(build.transpose(apart, (0, 1, 4, 2, 5, 3)), at.out.dims), bias)
    value, turned = at.input(0), build.transpose(at.input(1), (1, 0, 2, 3))
    reach = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    near = tuple(r - p for r, p in zip(reach, padding, strict=True))
    if min(near) < 0:
        raise cannot(f"it is cut by {padding}, more than its kernel {kernel} reaches")
    for axis in (2, 3):
        value = _zeros_between(at, value, axis, stride[axis - 2])
        size = build.type_of(value).dims[axis] + 2 * near[axis - 2] - reach[axis - 2]
        if size < at.out.dims[axis]:
            value = nodes.border(build, value, axis, 0, at.out.dims[axis] - size, 0)
        if kernel[axis - 2] > 1:
            turned = nodes.look_up(build, turned, axis, nodes.places(build, turned, kernel[axis - 2])[::-1])
    return _plain_convolution(at, value, turned, near, dilation, bias)


def _zeros_between(at: RuleContext, value: str, axis: int, stride: int) -> str:
    """`stride` - 1 zeros between the elements of an axis."""
    if stride == 1:
        return value
    dims = at.build.type_of(value).dims
    wide = nodes.border(at.build, nodes.expand(at.build, value, axis + 1), axis + 1, 0, stride - 1, 0)
    long = at.build.reshape(wide, (*dims[:axis], dims[axis] * stride, *dims[axis + 1 :]))
    return nodes.part(at.build, long, axis, 0, (dims[axis] - 1) * stride + 1)


def _plain_convolution(
    at: RuleContext,
    value: str,
    weight: str,
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    bias: str | None = None,
) -> str:
    """Conv2D of stride 1 and one group, in the type of the node's result."""
    attributes = (
        *_common_attributes(at.build.type_of(weight), padding, 1, "NCHW"),
        nodes.wholes("stride", (1, 1, 1, 1)),
        nodes.wholes("dilation", (1, 1, *dilation)),
    )
    return _convolution(at, "Conv2D", (value, weight), attributes, bias)


def _convolution(
    at: RuleContext, op: str, operands: Sequence[str], attributes: Sequence[AttributeProto], bias: str | None
) -> str:
    """Conv2D or Conv3D of (x, weight), and the bias in the same node where it is learned; in the node's type.

    MindSpore's names of its ports are of two inputs: with a third they are left out, as they were where it arrived.
    """
    if bias is None or not nodes.is_learned(at.model, bias):
        y = at.build.op(op, *operands, prim_type=at.build.PRIMITIVE, attributes=attributes)
        return _with_bias(at, y, bias)
    kept = [attribute for attribute in attributes if attribute.name not in _PORT_NAMES]
    third = nodes.as_third_input(at.build, bias)
    y = at.build.op(op, *operands, third, prim_type=at.build.PRIMITIVE, attributes=kept)
    return at.build.cast(y, at.out.dtype)


@legalises("UpsampleNearest1D", "UpsampleNearest2D", "UpsampleNearest3D")
def upsample(at: RuleContext) -> Result:
    """(x, size or None, factors or None): ResizeNearestNeighbor takes, as it does, pixel ⌊i · in / out⌋ for pixel i.

    It knows images only. A line is an image of one row; the pictures of a video stand for channels more, and the
    depth is looked up.
    """
    x, out = at.type(0), at.out
    if not out.is_static or 0 in x.dims:
        raise cannot(f"it makes {out} of {x}: of a size not known before run time, or of nothing")
    if at.optional(2) is not None:
        factors = at.literal(2)
        if factors != tuple(large / small for small, large in zip(x.dims[2:], out.dims[2:], strict=True)):
            raise cannot(f"its factors are {factors}, and make {out} of {x}")
    if out.rank == 4:
        return _resized(at, at.input(0), out.dims[2:])
    batch, channels, *space = x.dims
    if out.rank == 3:
        line = at.build.reshape(at.input(0), (batch, channels, 1, *space))
        return at.build.reshape(_resized(at, line, (1, out.dims[2])), out.dims)
    small, large = space[0], out.dims[2]
    video = at.input(0)
    if x.dims[3:] != out.dims[3:]:
        pictures = at.build.reshape(video, (batch, channels * small, *space[1:]))
        video = at.build.reshape(_resized(at, pictures, out.dims[3:]), (batch, channels, small, *out.dims[3:]))
    if small == large:
        return video
    return nodes.look_up(at.build, video, 2, nodes.places(at.build, video, large) * small // large)


def _resized(at: RuleContext, image: str, size: tuple[int, ...]) -> str:
    """An image [N, C, H, W] at another size."""
    no = at.build.constant(False)
    return at.build.op("ResizeNearestNeighbor", image, at.build.constant(size), no, no)


def _product_of_groups(at: RuleContext, x: TensorType, weight: TensorType, groups: int) -> str:
    """A convolution by one place: each group's weight [O / groups, C / groups] times its places [C / groups, H · W]."""
    batch, channels, *space = x.dims
    features, depth = weight.dims[0] // groups, channels // groups
    matrices = at.build.reshape(at.input(1), (1, groups, features, depth))
    matrices = at.build.broadcast(matrices, (batch, groups, features, depth))
    places = at.build.reshape(at.input(0), (batch, groups, depth, space[0] * space[1]))
    no = at.build.constant(False)
    return at.build.reshape(at.build.op("BatchMatMul", matrices, places, no, no), at.out.dims)


def _windows_of_channels(at: RuleContext, x: TensorType, weight: TensorType) -> str:
    """Each channel's windows, times its own kernel, summed and left in float32, as a convolution sums; the rest is cut.

    Only an axis along which a window has more than one place becomes two.
    """
    build, kernel, out = at.build, weight.dims[2:], at.out.dims[2:]
    value = at.input(0)
    blocks, taps, within = [*x.dims[:2]], [1, x.dims[1]], []
    for axis, (size, count) in enumerate(zip(kernel, out, strict=True), 2):
        if x.dims[axis] != count * size:
            value = nodes.part(build, value, axis, 0, count * size)
        blocks.append(count)
        taps.append(1)
        if size > 1:
            within.append(len(blocks))
            blocks.append(size)
            taps.append(size)
    value = build.cast(build.reshape(value, blocks), dtypes.FLOAT32)
    kernels = build.cast(build.reshape(at.input(1), taps), dtypes.FLOAT32)
    products = build.op("Mul", value, kernels)
    return nodes.reduce(build, "ReduceSum", products, within, keep=False) if within else products


def _operands(at: RuleContext, rank: int) -> tuple[TensorType, TensorType]:
    """Types of x [N, C, …] and weight [O, C / groups, …] of (x, weight, bias, stride, padding, dilation, groups)."""
    x, weight = at.type(0), at.static(1)
    if x.rank != rank:
        raise cannot(f"its input {x} has no batch axis")
    if not x.dtype == weight.dtype == at.out.dtype:
        raise cannot(f"it takes {x.dtype} and {weight.dtype} to {at.out.dtype}")
    return x, weight


def _pair(at: RuleContext, position: int, axes: int) -> tuple[int, ...]:
    """An argument of one number for each spatial axis, or for all of them."""
    numbers = at.integers(position)
    if len(numbers) not in (1, axes):
        raise cannot(f"its argument {argument_name(at.node, position)} is {numbers}, for {axes} axes")
    return numbers * axes if len(numbers) == 1 else numbers


def _common_attributes(
    weight: TensorType, padding: tuple[int, ...], groups: int, layout: str
) -> tuple[AttributeProto, ...]:
    before_and_after = tuple(p for p in padding for _ in range(2))
    return (
        nodes.whole("out_channel", weight.dims[0]),
        nodes.wholes("kernel_size", weight.dims[2:]),
        nodes.whole("mode", 1),
        nodes.text("pad_mode", "pad"),
        nodes.wholes("pad", before_and_after),
        nodes.wholes("pad_list", before_and_after),
        nodes.whole("group", groups),
        nodes.whole("groups", groups),
        nodes.text("format", layout),
        *(nodes.texts(name, ports) for name, ports in _PORT_NAMES.items()),
    )


def _with_bias(at: RuleContext, y: str, bias: str | None) -> str:
    """y + bias by channel, in the type of y; the result in the node's."""
    if bias is None:
        return at.build.cast(y, at.out.dtype)
    tensor_type = at.build.type_of(y)
    outside = (1,) if tensor_type.rank == 4 else ()  # of four axes it can take the format that convolutions give
    channels = (*outside, tensor_type.dims[1], *(1,) * (tensor_type.rank - 2))
    by_channel = at.build.reshape(at.build.cast(bias, tensor_type.dtype), channels)
    return at.build.cast(at.build.op("Add", y, by_channel), at.out.dtype)
