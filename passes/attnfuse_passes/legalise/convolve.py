"""Convolutions and changes of resolution.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`); Conv2D and Conv3D keep their
arguments as attributes, all of which are written, as MindSpore exports them. The bias of an image is added by BiasAdd,
as MindSpore's own convolutions export it; that of a video by Add, for BiasAdd loses its format on the way through
MindSpore Lite, and without one takes the last of five axes.
"""

from __future__ import annotations

from attnfuse.api import AttributeProto, TensorType, dtypes
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import At, NotLegalError, Result, legalises


@legalises("Conv2DExt")
def convolution_2d(at: At) -> Result:
    """Conv2D, whose strides and dilations are those of all four axes.

    Grouped only where each channel is a group: what else is grouped, Ascend does not take (MindSpore's Conv2D).
    """
    x, weight = _operands(at, 4)
    stride, padding, dilation = (_pair(at, position, 2) for position in (3, 4, 5))
    groups = at.integer(6)
    if groups != 1 and not groups == x.dims[1] == weight.dims[0]:
        raise NotLegalError(f"it has {groups} groups of several channels")
    attributes = (
        *_common_attributes(weight, padding, groups, "NCHW"),
        nodes.wholes("stride", (1, 1, *stride)),
        nodes.wholes("dilation", (1, 1, *dilation)),
    )
    return _with_bias(at, at.build.node("Conv2D", at.node.inputs[:2], at.out, at.build.PRIMITIVE, attributes))


@legalises("Conv3DExt")
def convolution_3d(at: At) -> Result:
    """Conv3D. It takes no groups and no dilated depth on Ascend, and no bfloat16 (MindSpore's Conv3D)."""
    x, weight = _operands(at, 5)
    stride, padding, dilation = (_pair(at, position, 3) for position in (3, 4, 5))
    groups = at.integer(6)
    if groups != 1 or dilation[0] != 1:
        raise NotLegalError(f"it has {groups} groups and a depth dilated by {dilation[0]}")
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
    y = at.build.node("Conv3D", operands, TensorType(at.out.dims, inside), at.build.PRIMITIVE, attributes)
    return _with_bias(at, y)


@legalises("UpsampleNearest2D")
def upsample(at: At) -> Result:
    """(x, size or None, factors or None): ResizeNearestNeighbor takes, as it does, pixel ⌊i · in / out⌋ for pixel i."""
    x, out = at.type(0), at.out
    if not out.is_static:
        raise NotLegalError(f"it makes {out}, of a size not known before run time")
    if at.optional(2) is not None:
        factors = at.literal(2)
        if factors != tuple(large / small for small, large in zip(x.dims[2:], out.dims[2:], strict=True)):
            raise NotLegalError(f"its factors are {factors}, and make {out} of {x}")
    no = at.build.constant(False)
    return at.build.node("ResizeNearestNeighbor", (at.input(0), at.build.constant(out.dims[2:]), no, no), out)


def _operands(at: At, rank: int) -> tuple[TensorType, TensorType]:
    """Types of x [N, C, …] and weight [O, C / groups, …] of (x, weight, bias, stride, padding, dilation, groups)."""
    x, weight = at.type(0), at.static(1)
    if x.rank != rank:
        raise NotLegalError(f"its input {x} has no batch axis")
    if not x.dtype == weight.dtype == at.out.dtype:
        raise NotLegalError(f"it takes {x.dtype} and {weight.dtype} to {at.out.dtype}")
    return x, weight


def _pair(at: At, position: int, axes: int) -> tuple[int, ...]:
    """An argument of one number for each spatial axis, or for all of them."""
    numbers = at.integers(position)
    if len(numbers) not in (1, axes):
        raise NotLegalError(f"its argument {position} is {numbers}, for {axes} axes")
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
        nodes.texts("input_names", ("x", "w")),
        nodes.texts("output_names", ("output",)),
    )


def _with_bias(at: At, y: str) -> str:
    """y + bias by channel, in the type of y; the result in the node's."""
    bias, kind = at.optional(2), at.build.type_of(y)
    if bias is None:
        return at.build.cast(y, at.out.dtype)
    bias = at.build.cast(bias, kind.dtype)
    if kind.rank == 4:
        return nodes.bias_add(at.build, y, bias)
    by_channel = at.build.reshape(bias, (kind.dims[1], *(1,) * (kind.rank - 2)))
    return at.build.cast(at.build.node("Add", (y, by_channel), kind), at.out.dtype)
