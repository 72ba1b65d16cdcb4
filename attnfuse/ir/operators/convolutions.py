"""Convolutions, pooling and resizing: images and volumes [N, C, *space], or without N."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import Kernel, picked
from attnfuse.ir.operators.inference import meet, one_type, reshaped, shape
from attnfuse.ir.operators.row import CLASSIC, Infer, Operator, row
from attnfuse.ir.types import UNKNOWN_DIM, TensorType, ValueType


def _per_axis(a: Arguments, name: str, axes: int, *, least: int) -> tuple[int, ...]:
    """One number for each axis of space: those of the last axes, where there are more; one alone is that of all."""
    numbers = a.integers(name)
    if len(numbers) == 1:
        numbers = numbers * axes
    if len(numbers) < axes or min(numbers, default=0) < least:
        raise TypeMismatch(f"has a {name} of {list(numbers[:8])} for {axes} axes")
    return numbers[-axes:]


def _pairs(a: Arguments, axes: int) -> list[tuple[int, int]]:
    """(before, after) of each axis of space, as the attributes of the older operators tell them."""
    numbers = a.integers("pad" if a.is_none("pad_list") else "pad_list")
    if len(numbers) == 1:
        numbers = numbers * (2 * axes)
    if len(numbers) != 2 * axes or min(numbers) < 0:
        raise TypeMismatch(f"has a padding of {list(numbers[:8])} for {axes} axes")
    return [(numbers[2 * i], numbers[2 * i + 1]) for i in range(axes)]


def _windows(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows there are along an axis, `padding` being that of both ends."""
    if size == UNKNOWN_DIM:
        return UNKNOWN_DIM
    reach = dilation * (kernel - 1) + 1
    if kernel < 1 or size + padding < reach:
        raise TypeMismatch(f"has a kernel that reaches over {reach} of {size + padding} elements")
    return (size + padding - reach) // stride + 1


def _check_channels(x: TensorType, weight: TensorType, groups: int, *, batched: bool) -> None:
    channels = x.dims[1 if batched else 0]
    if groups < 1 or (channels >= 0 and channels % groups):
        raise TypeMismatch(f"puts {channels} channels into {groups} groups")
    if channels >= 0 and meet(channels // groups, weight.dims[1]) is None:
        raise TypeMismatch(f"convolves {shape(x.dims)} in {groups} groups with a weight of {shape(weight.dims)}")


def _check_bias(bias: TensorType | None, features: int) -> None:
    if bias is not None and (bias.rank != 1 or meet(bias.dims[0], features) is None):
        raise TypeMismatch(f"adds a bias of {shape(bias.dims)} to {features} channels")


def _convolution(axes: int) -> Infer:
    """Arguments in a row; the input's element type."""

    def infer(a: Arguments) -> ValueType:
        x, weight = a.tensor("input"), a.tensor("weight")
        if weight.rank != axes + 2 or x.rank not in (axes + 1, axes + 2):
            raise TypeMismatch(f"convolves {shape(x.dims)} with a weight of {shape(weight.dims)} over {axes} axes")
        _check_channels(x, weight, a.integer("groups"), batched=x.rank == axes + 2)
        _check_bias(a.optional_tensor("bias"), weight.dims[0])
        strides = _per_axis(a, "stride", axes, least=1)
        paddings = _per_axis(a, "padding", axes, least=0)
        dilations = _per_axis(a, "dilation", axes, least=1)
        windows = map(_windows, x.dims[-axes:], weight.dims[2:], strides, (2 * p for p in paddings), dilations)
        return TensorType((*x.dims[: x.rank - axes - 1], weight.dims[0], *windows), x.dtype)

    return infer


def _convolution_by_attributes(axes: int) -> Infer:
    """The older operators, whose arguments are attributes; only with channels before space."""

    def infer(a: Arguments) -> ValueType:
        x, weight = a.tensor("x"), a.tensor("w")
        if a.get("format").value not in ("NCHW", "NCDHW"):
            raise NotKnown("format")
        if x.rank != axes + 2 or weight.rank != axes + 2:
            raise TypeMismatch(f"convolves {shape(x.dims)} with a weight of {shape(weight.dims)} over {axes} axes")
        _check_channels(x, weight, a.integer("group"), batched=True)
        _check_bias(a.optional_tensor("bias"), weight.dims[0])
        one_type(x, weight)
        strides = _per_axis(a, "stride", axes, least=1)
        dilations = _per_axis(a, "dilation", axes, least=1)
        mode = a.choice("pad_mode", {0: "pad", 1: "same", 2: "valid"})
        if mode == "same":
            space = [d if d < 0 else -(-d // s) for d, s in zip(x.dims[2:], strides, strict=True)]
        else:
            pads = [(0, 0)] * axes if mode == "valid" else _pairs(a, axes)
            space = list(map(_windows, x.dims[2:], weight.dims[2:], strides, map(sum, pads), dilations))
        return TensorType((x.dims[0], weight.dims[0], *space), x.dtype)

    return infer


def _spread(
    x: TensorType,
    weight: TensorType,
    groups: int,
    axes: int,
    numbers: Sequence[Sequence[int]],
) -> ValueType:
    """A transposed convolution. `numbers` are strides, paddings of both ends, what is added behind, and dilations."""
    if weight.rank != axes + 2 or x.rank not in (axes + 1, axes + 2):
        raise TypeMismatch(f"convolves {shape(x.dims)} with a weight of {shape(weight.dims)} over {axes} axes")
    if groups < 1 or meet(x.dims[x.rank - axes - 1], weight.dims[0]) is None:
        raise TypeMismatch(f"convolves {shape(x.dims)} in {groups} groups with a weight of {shape(weight.dims)}")
    space = []
    for size, kernel, stride, padding, behind, dilation in zip(x.dims[-axes:], weight.dims[2:], *numbers, strict=True):
        out_size = UNKNOWN_DIM
        if size != UNKNOWN_DIM:
            out_size = (size - 1) * stride - padding + dilation * (kernel - 1) + behind + 1
            if out_size < 0:
                raise TypeMismatch(f"takes {padding} elements off the ends of an axis that has fewer")
        space.append(out_size)
    features = UNKNOWN_DIM if weight.dims[1] == UNKNOWN_DIM else weight.dims[1] * groups
    return TensorType((*x.dims[: x.rank - axes - 1], features, *space), x.dtype)


def _transposed(a: Arguments) -> ValueType:
    strides, paddings, behind, dilations = (
        _per_axis(a, name, 2, least=least)
        for name, least in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1))
    )
    both = [2 * padding for padding in paddings]
    numbers = (strides, both, behind, dilations)
    return _spread(a.tensor("input"), a.tensor("weight"), a.integer("groups"), 2, numbers)


def _transposed_volume(a: Arguments) -> ValueType:
    if a.get("format").value != "NCDHW" or a.get("pad_mode").value == "same":
        raise NotKnown("format")
    strides, behind, dilations = (
        _per_axis(a, name, 3, least=least) for name, least in (("stride", 1), ("output_padding", 0), ("dilation", 1))
    )
    both = [sum(pair) for pair in _pairs(a, 3)]
    return _spread(a.tensor("x"), a.tensor("filter"), a.integer("group"), 3, (strides, both, behind, dilations))


def _of_sizes(a: Arguments) -> ValueType:
    """A transposed convolution that is told its result's sizes."""
    x, sizes = a.tensor("out_backprop"), a.sizes("input_sizes")
    if len(sizes) != x.rank or any(size is not None and size < UNKNOWN_DIM for size in sizes):
        raise TypeMismatch(f"is to give {len(sizes)} sizes from {shape(x.dims)}")
    return TensorType(tuple(UNKNOWN_DIM if size is None else size for size in sizes), x.dtype)


# --- pooling


def _average(a: Arguments) -> ValueType:
    x = a.tensor("input")
    if x.rank not in (3, 4):
        raise TypeMismatch(f"pools {shape(x.dims)}; it takes images")
    kernels, strides = _per_axis(a, "kernel_size", 2, least=1), _per_axis(a, "stride", 2, least=1)
    paddings, up = _per_axis(a, "padding", 2, least=0), a.flag("ceil_mode")
    space = []
    for size, kernel, stride, padding in zip(x.dims[-2:], kernels, strides, paddings, strict=True):
        count = _windows(size, kernel, stride, 2 * padding + (stride - 1 if up else 0), 1)
        if up and count > 0 and (count - 1) * stride >= size + padding:
            count -= 1  # a window that starts behind the end is none
        space.append(count)
    return TensorType((*x.dims[:-2], *space), x.dtype)


def _adaptive_average(a: Arguments) -> ValueType:
    """The sizes wanted; −1 keeps one."""
    x, wanted = a.tensor("input"), a.sizes("output_size")
    if x.rank not in (3, 4) or len(wanted) != 2:
        raise TypeMismatch(f"pools {shape(x.dims)} to {len(wanted)} sizes; it takes images")
    space = []
    for size, out_size in zip(x.dims[-2:], wanted, strict=True):
        if out_size is not None and out_size < UNKNOWN_DIM:
            raise TypeMismatch(f"pools {size} elements to {out_size}")
        space.append(UNKNOWN_DIM if out_size is None else size if out_size == UNKNOWN_DIM else out_size)
    return TensorType((*x.dims[:-2], *space), x.dtype)


# --- resizing


def _resized(operand: str) -> Infer:
    def infer(a: Arguments) -> ValueType:
        x, sizes = a.tensor(operand), a.sizes("size")
        if x.rank != 4 or len(sizes) != 2 or any(size is not None and size < 0 for size in sizes):
            raise TypeMismatch(f"resizes {shape(x.dims)} to {len(sizes)} sizes; it takes images")
        return reshaped(x, (*x.dims[:2], *(UNKNOWN_DIM if size is None else size for size in sizes)))

    return infer


def _upsampled(axes: int) -> Infer:
    """To sizes, or by factors; one of the two is None."""

    def infer(a: Arguments) -> ValueType:
        x = a.tensor("x")
        if x.rank != axes + 2:
            raise TypeMismatch(f"resizes {shape(x.dims)} over {axes} axes")
        if a.is_none("output_size"):
            factors = a.finites("scales")
            if len(factors) != axes or min(factors) <= 0:
                raise TypeMismatch(f"resizes {axes} axes by {list(factors[:8])}")
            space = [UNKNOWN_DIM if d < 0 else math.floor(d * f) for d, f in zip(x.dims[2:], factors, strict=True)]
        else:
            sizes = a.sizes("output_size")
            if len(sizes) != axes or any(size is not None and size < 0 for size in sizes):
                raise TypeMismatch(f"resizes {axes} axes to {len(sizes)} sizes")
            space = [UNKNOWN_DIM if size is None else size for size in sizes]
        return reshaped(x, (*x.dims[:2], *space))

    return infer


_EXT = (
    "input: tensor, weight: tensor, bias: tensor? = None, stride: ints = 1, padding: ints = 0, dilation: ints = 1, "
    "groups: int = 1"
)
_ATTRIBUTES = (
    "stride: ints = 1, dilation: ints = 1, pad_mode: enum = 'valid', pad: ints = 0, pad_list: ints? = None, "
    "group: int = 1"
)
_FORMAT_2D, _FORMAT_3D = "format: enum = 'NCHW'", "format: enum = 'NCDHW'"

ROWS: tuple[Operator, ...] = (
    row(
        "Conv1DExt",
        _EXT,
        _convolution(1),
        kernel=Kernel.CONVOLUTION,
        examples=(
            "Conv1DExt(x: float16[2, 3, 8], w: float16[4, 3, 3], None, (1,), (1,), (1,), 1) -> float16[2, 4, 8]",
        ),
    ),
    row(
        "Conv2DExt",
        _EXT,
        _convolution(2),
        kernel=Kernel.CONVOLUTION,
        examples=(
            (
                "Conv2DExt(x: float16[2, 3, ?, 9], w: float16[4, 3, 3, 3], b: float16[4], (1, 1), (1, 1), (1, 1), 1)"
                " -> float16[2, 4, ?, 9]"
            ),
            (
                "Conv2DExt(x: float16[2, 4, 8, 9], w: float16[6, 2, 3, 3], None, (2, 2), (0, 1), (2, 1), 2)"
                " -> float16[2, 6, 2, 5]"
            ),
            (
                "Conv2DExt(x: float16[3, 8, 9], w: float16[4, 3, 3, 3], None, (1, 1), (1, 1), (1, 1), 1)"
                " -> float16[4, 8, 9]"
            ),
            "refused: Conv2DExt(x: float16[2, 3, 8, 9], w: float16[4, 2, 3, 3], None, (1, 1), (1, 1), (1, 1), 1)",
            "refused: Conv2DExt(x: float16[2, 3, 2, 9], w: float16[4, 3, 3, 3], None, (1, 1), (0, 0), (1, 1), 1)",
        ),
    ),
    row(
        "Conv3DExt",
        _EXT,
        _convolution(3),
        kernel=Kernel.CONVOLUTION,
        examples=(
            (
                "Conv3DExt(x: float16[2, 3, 4, 8, 9], w: float16[4, 3, 1, 2, 2], b: float16[4], (1, 2, 2), (0, 0, 0),"
                " (1, 1, 1), 1) -> float16[2, 4, 4, 4, 4]"
            ),
        ),
    ),
    row(
        "Conv2D",
        f"x: tensor, w: tensor, bias: tensor? = None; {_ATTRIBUTES}, {_FORMAT_2D}",
        _convolution_by_attributes(2),
        kernel=Kernel.CONVOLUTION,
        examples=(
            (
                "Conv2D(x: float16[2, 3, ?, 9], w: float16[4, 3, 3, 3]; out_channel=4, kernel_size=(3, 3), mode=1,"
                ' pad_mode="pad", pad=(1, 1, 1, 1), pad_list=(1, 1, 1, 1), stride=(1, 1, 1, 1), dilation=(1, 1, 1, 1),'
                ' group=1, groups=1, format="NCHW") -> float16[2, 4, ?, 9]'
            ),
            (
                "Conv2D(x: float16[2, 3, 8, 9], w: float16[4, 3, 3, 3]; out_channel=4, kernel_size=(3, 3), mode=1,"
                ' pad_mode="valid", pad=(0, 0, 0, 0), stride=(1, 1, 2, 2), dilation=(1, 1, 1, 1),'
                ' group=1, groups=1, format="NCHW") -> float16[2, 4, 3, 4]'
            ),
            (
                "Conv2D(x: float16[2, 3, 8, 9], w: float16[4, 3, 3, 3]; out_channel=4, kernel_size=(3, 3), mode=1,"
                ' pad_mode="same", pad=(0, 0, 0, 0), stride=(1, 1, 2, 2), dilation=(1, 1, 1, 1),'
                ' group=1, groups=1, format="NCHW") -> float16[2, 4, 4, 5]'
            ),
        ),
        source=CLASSIC,
    ),
    row(
        "Conv3D",
        f"x: tensor, w: tensor, bias: tensor? = None; {_ATTRIBUTES}, {_FORMAT_3D}",
        _convolution_by_attributes(3),
        kernel=Kernel.CONVOLUTION,
        examples=(
            (
                "Conv3D(x: float16[2, 3, 4, 8, 9], w: float16[4, 3, 1, 2, 2]; out_channel=4, kernel_size=(1, 2, 2),"
                ' mode=1, pad_mode="pad", pad=(0, 0, 0, 0, 0, 0), pad_list=(0, 0, 0, 0, 0, 0), strides=(1, 1, 1, 2, 2),'
                " stride=(1, 1, 1, 2, 2), dilations=(1, 1, 1, 1, 1), dilation=(1, 1, 1, 1, 1), group=1, groups=1,"
                ' format="NCDHW", offset_x=0) -> float16[2, 4, 4, 4, 4]'
            ),
        ),
        source=CLASSIC,
    ),
    row(
        "ConvTranspose2D",
        "input: tensor, weight: tensor, bias: tensor? = None, stride: ints = 1, padding: ints = 0, "
        "output_padding: ints = 0, groups: int = 1, dilation: ints = 1",
        _transposed,
        kernel=Kernel.CONVOLUTION,
        examples=(
            (
                "ConvTranspose2D(x: float16[2, 4, 5, ?], w: float16[4, 3, 3, 3], None, (2, 2), (1, 1), (1, 1), 1, (1,"
                " 1)) -> float16[2, 3, 10, ?]"
            ),
        ),
    ),
    *(
        row(
            name,
            f"out_backprop: tensor, filter: tensor, input_sizes: ints; {_ATTRIBUTES}, {_FORMAT_2D}",
            _of_sizes,
            kernel=Kernel.CONVOLUTION,
            examples=(
                (
                    f"{name}(x: float16[2, 4, 5, 6], w: float16[4, 3, 2, 2], (2, 3, 10, 12); out_channel=4,"
                    ' kernel_size=(2, 2), mode=1, pad_mode="pad", pad=(0, 0, 0, 0), pad_list=(0, 0, 0, 0), stride=(2,'
                    ' 2), dilation=(1, 1), group=1, groups=1, format="NCHW") -> float16[2, 3, 10, 12]'
                ),
            ),
            source=CLASSIC,
        )
        for name in ("Conv2DTranspose", "Conv2DBackpropInput")
    ),
    row(
        "Conv3DTranspose",
        f"x: tensor, filter: tensor; {_ATTRIBUTES}, output_padding: ints = 0, {_FORMAT_3D}",
        _transposed_volume,
        kernel=Kernel.CONVOLUTION,
        examples=(
            (
                "Conv3DTranspose(x: float16[2, 4, 3, 5, 6], w: float16[4, 3, 1, 2, 2]; in_channel=4, out_channel=3,"
                ' kernel_size=(1, 2, 2), mode=1, pad_mode="pad", pad=(0, 0, 0, 0, 0, 0), pad_list=(0, 0, 0, 0, 0, 0),'
                " strides=(1, 1, 1, 2, 2), stride=(1, 1, 1, 2, 2), dilations=(1, 1, 1, 1, 1), dilation=(1, 1, 1, 1, 1),"
                ' group=1, groups=1, format="NCDHW", output_padding=(0, 0, 0, 0, 0), input_size=(2, 3, 3, 10, 12))'
                " -> float16[2, 3, 3, 10, 12]"
            ),
        ),
        source=CLASSIC,
    ),
    row(
        "AvgPool2D",
        "input: tensor, kernel_size: ints, stride: ints, padding: ints = 0, ceil_mode: bool = False, "
        "count_include_pad: bool = True, divisor_override: int? = None",
        _average,
        kernel=Kernel.REDUCE,
        examples=(
            "AvgPool2D(x: float16[2, 3, ?, 9], (2, 2), (2, 2), (0, 0), False, True, None) -> float16[2, 3, ?, 4]",
            "AvgPool2D(x: float16[2, 3, 8, 9], (2, 2), (2, 2), (0, 0), True, True, None) -> float16[2, 3, 4, 5]",
            "AvgPool2D(x: float16[2, 3, 8, 9], (3, 3), (2, 2), (1, 1), False, True, None) -> float16[2, 3, 4, 5]",
        ),
    ),
    row(
        "AdaptiveAvgPool2DExt",
        "input: tensor, output_size: ints",
        _adaptive_average,
        kernel=Kernel.REDUCE,
        examples=(
            "AdaptiveAvgPool2DExt(x: float16[2, 3, 8, 8], (4, -1)) -> float16[2, 3, 4, 8]",
            "AdaptiveAvgPool2DExt(x: float16[3, 8, 8], (1, 1)) -> float16[3, 1, 1]",
        ),
    ),
    *(
        row(
            name,
            f"{args}, align_corners: bool = False, half_pixel_centers: bool = False",
            _resized(args.partition(":")[0]),
            value=picked(args.partition(":")[0]),
            kernel=Kernel.MOVE,
            examples=(f"{name}(x: float16[?, 3, 4, 5], (8, 10), False, False) -> float16[?, 3, 8, 10]",),
        )
        for name, args in (
            ("ResizeNearestNeighbor", "input_x: tensor, size: ints"),
            ("ResizeNearestNeighborV2", "image: tensor, size: ints"),
        )
    ),
    *(
        row(
            f"UpsampleNearest{axes}D",
            "x: tensor, output_size: ints? = None, scales: numbers? = None",
            _upsampled(axes),
            value=picked("x"),
            kernel=Kernel.MOVE,
            examples=examples,
        )
        for axes, examples in (
            (1, ("UpsampleNearest1D(x: float16[2, 3, 4], (8,), None) -> float16[2, 3, 8]",)),
            (
                2,
                (
                    "UpsampleNearest2D(x: float16[2, 3, 4, ?], (8, 10), None) -> float16[2, 3, 8, 10]",
                    "UpsampleNearest2D(x: float16[2, 3, 5, 5], None, (1.3, 0.7)) -> float16[2, 3, 6, 3]",
                    "UpsampleNearest2D(x: float16[2, 3, ?, 5], None, (2.0, 1.5)) -> float16[2, 3, ?, 7]",
                ),
            ),
            (
                3,
                (
                    "UpsampleNearest3D(x: float16[2, 3, 4, 5, 6], (4, 10, 12), None) -> float16[2, 3, 4, 10, 12]",
                    "UpsampleNearest3D(x: float16[2, 3, 4, 5, 6], None, (1.0, 2.0, 2.5)) -> float16[2, 3, 4, 10, 15]",
                ),
            ),
        )
    ),
)
