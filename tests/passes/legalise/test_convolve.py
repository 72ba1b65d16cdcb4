"""Convolutions and changes of resolution."""

from __future__ import annotations

from attnfuse.ir.types import Literal, TensorType
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from tests.passes.legalise.support import Case, Make, cases
from tests.support.graphs import PRIMITIVE, GraphBuilder, fill_literal

Dims = tuple[int, ...]


def arguments(g: GraphBuilder, stride: Dims, padding: Dims, dilation: Dims, groups: int) -> list[str]:
    return [*(g.constant(numbers) for numbers in (stride, padding, dilation)), g.constant(groups)]


def convolution(
    x: Dims,
    weight: Dims,
    stride: Dims = (1,),
    padding: Dims = (0,),
    dilation: Dims = (1,),
    groups: int = 1,
    *,
    bias: bool = True,
    dtype: DType = FLOAT32,
) -> Make:
    space = len(x) - 2

    def every(numbers: Dims) -> Dims:
        return numbers * space if len(numbers) == 1 else numbers

    def make(g: GraphBuilder) -> str:
        out = [
            n if n < 0 else (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(x[2:], weight[2:], every(stride), every(padding), every(dilation), strict=True)
        ]
        values = [g.input("x", x, dtype), g.weight("w", weight, dtype)]
        values.append(g.weight("b", weight[:1], dtype) if bias else g.constant(None))
        values += arguments(g, stride, padding, dilation, groups)
        return g.node(f"Conv{space}DExt", values, TensorType((x[0], weight[0], *out), dtype))

    return make


def unbatched(g: GraphBuilder) -> str:
    values = [g.input("x", (4, 7, 8)), g.weight("w", (6, 4, 3, 3)), g.constant(None)]
    values += arguments(g, (1, 1), (1, 1), (1, 1), 1)
    return g.node("Conv2DExt", values, TensorType((6, 7, 8), FLOAT32))


def two_shapes(g: GraphBuilder) -> tuple[str, ...]:
    """Two convolutions, whose attributes must not become each other's."""
    x = g.input("x", (1, 4, 6, 6))
    sizes = (3, 1)
    results = []
    for size in sizes:
        values = [x, g.weight(f"w{size}", (5, 4, size, size)), g.constant(None)]
        values += arguments(g, (1, 1), (size // 2, size // 2), (1, 1), 1)
        results.append(g.node("Conv2DExt", values, TensorType((1, 5, 6, 6), FLOAT32)))
    return tuple(results)


def upsample(
    size: tuple[int, int] | None, factors: tuple[float, float] | None, out: tuple[int, int], dtype: DType = FLOAT32
) -> Make:
    def make(g: GraphBuilder) -> str:
        values = [g.input("x", (2, 3, 4, 6), dtype), g.constant(size), g.constant(factors)]
        return g.node("UpsampleNearest2D", values, TensorType((2, 3, *out), dtype))

    return make


def upsample_unknown(g: GraphBuilder) -> str:
    values = [g.input("x", (2, 3, -1, 6)), g.constant(None), g.constant((2.0, 2.0))]
    return g.node("UpsampleNearest2D", values, TensorType((2, 3, -1, 12), FLOAT32))


def transposed(
    x: Dims, weight: Dims, stride: Dims, padding: Dims, beyond: Dims, groups: int = 1, dtype: DType = FLOAT32
) -> Make:
    """ConvTranspose2D of a dilation of 1."""

    def make(g: GraphBuilder) -> str:
        sizes = zip(x[2:], weight[2:], stride, padding, beyond, strict=True)
        out = [(n - 1) * s - 2 * p + k + b for n, k, s, p, b in sizes]
        values = [g.input("x", x, dtype), g.weight("w", weight, dtype), g.weight("b", (weight[1] * groups,), dtype)]
        values += [*(g.constant(numbers) for numbers in (stride, padding, beyond)), g.constant(groups)]
        values.append(g.constant((1, 1)))
        return g.node("ConvTranspose2D", values, TensorType((x[0], weight[1] * groups, *out), dtype))

    return make


def transposed_by_attributes(x: Dims, weight: Dims, stride: Dims, padding: Dims, op: str = "Conv2DTranspose") -> Make:
    """Conv2DTranspose or the same by another name, its attributes those that mindone's models are exported with."""
    space = zip(x[2:], weight[2:], stride, padding, strict=True)
    out = (x[0], weight[1], *((n - 1) * s - 2 * p + k for n, k, s, p in space))
    pads = tuple(p for p in padding for _ in range(2))

    def make(g: GraphBuilder) -> str:
        values = [g.input("x", x), g.weight("w", weight), g.constant(out)]
        y = g.node(op, values, TensorType(out, FLOAT32), primitive=PRIMITIVE)
        entry = next(p for p in g.proto.primitives if p.op_type == op)
        attributes: dict[str, Literal] = {
            "kernel_size": weight[2:],
            "mode": 1,
            "out_channel": weight[0],
            "pad": pads,
            "pad_mode": "PAD",
            "format": "NCHW",
            "pad_list": pads,
            "groups": 1,
            "stride": (1, 1, *stride),
            "group": 1,
            "dilation": (1, 1, 1, 1),
        }
        for name, literal in attributes.items():
            fill_literal(entry.attribute.add(name=name), literal)
        return y

    return make


def upsample_others(op: str, x: Dims, size: Dims | None, factors: tuple[float, ...] | None, out: Dims) -> Make:
    def make(g: GraphBuilder) -> str:
        values = [g.input("x", x), g.constant(size), g.constant(factors)]
        return g.node(op, values, TensorType((*x[:2], *out), FLOAT32))

    return make


X, W = (2, 4, 7, 8), (6, 4, 3, 3)
CONV2D, CONV3D = ("Conv2D", "BiasAdd"), ("Conv3D", "Reshape", "Add")
VIDEO = (1, 3, 4, 6, 6)
NEAREST = ("ResizeNearestNeighbor",)
PICTURES = ("Reshape", *NEAREST, "Reshape")
PATCHES = ("Transpose", "Reshape", "Conv2D", "Reshape", "Transpose", "Reshape", "BiasAdd")
ZEROS = ("ExpandDims", "MakeTuple", "Concat", "Reshape", "StridedSlice")

cases(
    "convolve",
    Case("Conv2DExt", convolution(X, W, padding=(1, 1)), CONV2D, native=1e-6),
    Case("Conv2DExt without bias", convolution(X, W, padding=(1, 1), bias=False), ("Conv2D",)),
    Case("Conv2DExt with one number for both axes", convolution(X, W, (2,), (1,)), CONV2D, native=1e-6),
    Case(
        "Conv2DExt with a number for each axis",
        convolution(X, (6, 4, 3, 5), (1, 2), (2, 0), (2, 1)),
        CONV2D,
        native=1e-6,
    ),
    Case("Conv2DExt by patches", convolution((2, 4, 8, 8), (6, 4, 2, 2), (2, 2)), CONV2D, native=1e-6),
    Case("Conv2DExt in float16", convolution(X, W, padding=(1, 1), dtype=FLOAT16), CONV2D, native=1e-3),
    Case("Conv2DExt in bfloat16", convolution(X, W, padding=(1, 1), dtype=BFLOAT16), CONV2D, native=8e-3),
    Case("Conv2DExt of each channel", convolution(X, (4, 1, 3, 3), padding=(1,), groups=4), CONV2D, native=1e-6),
    Case("Conv2DExt of groups", convolution(X, (6, 2, 3, 3), groups=2), refused="2 groups of several channels"),
    Case(
        "Conv2DExt of groups by one place",
        convolution(X, (6, 2, 1, 1), groups=2),
        ("Reshape", "BroadcastTo", "Reshape", "BatchMatMul", "Reshape", "BiasAdd"),
        native=1e-6,
    ),
    Case(
        "Conv2DExt of groups by one place, in float16",
        convolution((1, 4, 7, 8), (6, 2, 1, 1), groups=2, bias=False, dtype=FLOAT16),
        ("Reshape", "Reshape", "BatchMatMul", "Reshape"),
        native=1e-3,
    ),
    Case("Conv2DExt of groups, each second place", convolution(X, (6, 2, 1, 1), (2,), groups=2), refused="2 groups"),
    Case("Conv2DExt of a size known at run time", convolution((2, 4, -1, 8), W, padding=(1, 1)), CONV2D),
    Case("Conv2DExt without a batch", unbatched, refused="no batch axis"),
    Case("Conv2DExt twice", two_shapes, ("Conv2D", "Conv2D", "MakeTuple")),
    Case("Conv3DExt", convolution(VIDEO, (5, 3, 2, 3, 3), (1, 2, 2), (0, 1, 1)), CONV3D, native=1e-6),
    Case("Conv3DExt by patches", convolution(VIDEO, (5, 3, 1, 2, 2), (1, 2, 2), bias=False), ("Conv3D",)),
    Case(
        "Conv3DExt in bfloat16",
        convolution(VIDEO, (5, 3, 1, 2, 2), (1, 2, 2), dtype=BFLOAT16),
        ("Cast", "Cast", "Conv3D", "Cast", "Reshape", "Add", "Cast"),
        native=8e-3,
    ),
    Case("Conv3DExt of groups", convolution((1, 4, 4, 6, 6), (4, 1, 1, 2, 2), groups=4), refused="4 groups"),
    Case(
        "Conv3DExt of each channel, side by side",
        convolution((1, 3, 5, 6, 6), (3, 1, 2, 1, 1), (2, 1, 1), groups=3, bias=False),
        ("StridedSlice", "Reshape", "Reshape", "Mul", "ReduceSum"),
        native=1e-6,
    ),
    Case(
        "Conv3DExt of each channel, side by side along two axes, in float16",
        convolution((2, 3, 3, 4, 6), (3, 1, 1, 2, 3), (1, 2, 3), groups=3, dtype=FLOAT16),
        ("Reshape", "Cast", "Reshape", "Cast", "Mul", "ReduceSum", "Cast", "Reshape", "Add"),
        native=1e-3,
    ),
    Case(
        "Conv3DExt of each channel by one place",
        convolution((1, 3, 2, 3, 4), (3, 1, 1, 1, 1), groups=3, bias=False),
        ("Reshape", "Mul"),
        native=1e-6,
    ),
    Case(
        "Conv3DExt of each channel, overlapping",
        convolution((1, 3, 5, 6, 6), (3, 1, 2, 1, 1), groups=3),
        refused="3 groups",
    ),
    Case("Conv3DExt dilated in depth", convolution(VIDEO, (5, 3, 2, 2, 2), dilation=(2, 1, 1)), refused="dilated by 2"),
    Case("UpsampleNearest2D to a size", upsample((8, 12), None, (8, 12)), NEAREST),
    Case("UpsampleNearest2D to a size of no whole factor", upsample((7, 9), None, (7, 9)), NEAREST),
    Case("UpsampleNearest2D by factors", upsample(None, (2.0, 2.0), (8, 12)), NEAREST),
    Case("UpsampleNearest2D by factors of no whole size", upsample(None, (1.6, 2.0), (6, 12)), refused="its factors"),
    Case("UpsampleNearest2D in float16", upsample((8, 12), None, (8, 12), FLOAT16), NEAREST),
    Case("UpsampleNearest2D in bfloat16", upsample((8, 12), None, (8, 12), BFLOAT16), NEAREST),
    Case("UpsampleNearest2D of a size known at run time", upsample_unknown, refused="not known before run time"),
    Case("UpsampleNearest1D", upsample_others("UpsampleNearest1D", (2, 3, 4), (8,), None, (8,)), PICTURES),
    Case(
        "UpsampleNearest1D by a factor", upsample_others("UpsampleNearest1D", (2, 3, 4), None, (2.0,), (8,)), PICTURES
    ),
    Case("UpsampleNearest1D to less", upsample_others("UpsampleNearest1D", (2, 3, 7), (5,), None, (5,)), PICTURES),
    Case(
        "UpsampleNearest3D",
        upsample_others("UpsampleNearest3D", VIDEO, None, (2.0, 2.0, 2.0), (8, 12, 12)),
        (*PICTURES, "Gather"),
    ),
    Case(
        "UpsampleNearest3D of its pictures",
        upsample_others("UpsampleNearest3D", VIDEO, (4, 12, 9), None, (4, 12, 9)),
        PICTURES,
    ),
    Case(
        "UpsampleNearest3D of its depth",
        upsample_others("UpsampleNearest3D", VIDEO, (7, 6, 6), None, (7, 6, 6)),
        ("Gather",),
    ),
    Case("ConvTranspose2D", transposed((2, 3, 4, 5), (3, 6, 2, 2), (2, 2), (0, 0), (0, 0)), PATCHES, native=1e-6),
    Case(
        "ConvTranspose2D that overlaps, is cut and padded",
        transposed((2, 3, 4, 5), (3, 6, 4, 3), (2, 2), (1, 1), (0, 1)),
        ("Transpose", *ZEROS, "Gather", *ZEROS, "MakeTuple", "Concat", "Gather", "Conv2D", "BiasAdd"),
        native=1e-6,
    ),
    Case(
        "ConvTranspose2D in float16",
        transposed((2, 3, 4, 5), (3, 6, 2, 2), (2, 2), (0, 0), (0, 0), dtype=FLOAT16),
        PATCHES,
        native=1e-3,
    ),
    Case(
        "ConvTranspose2D of groups",
        transposed((2, 4, 4, 5), (4, 3, 2, 2), (2, 2), (0, 0), (0, 0), 2),
        refused="2 groups",
    ),
    Case(
        "ConvTranspose2D that is cut by more than its kernel",
        transposed((2, 4, 4, 5), (4, 3, 2, 2), (2, 2), (2, 0), (0, 0)),
        refused="more than its kernel",
    ),
    Case(
        "Conv2DTranspose of a line",
        transposed_by_attributes((2, 3, 1, 8), (3, 4, 1, 8), (1, 2), (0, 7)),
        ("Transpose", *ZEROS, "Gather", "Conv2D"),
        native=1e-6,
    ),
    Case(
        "Conv2DBackpropInput of a line",
        transposed_by_attributes((2, 3, 1, 8), (3, 4, 1, 6), (1, 3), (0, 2), "Conv2DBackpropInput"),
        ("Transpose", *ZEROS, "Gather", "Conv2D"),
        native=1e-6,
    ),
    Case(
        "Conv2DTranspose side by side",
        transposed_by_attributes((2, 3, 4, 5), (3, 6, 2, 3), (2, 3), (0, 0)),
        PATCHES[:-1],
        native=1e-6,
    ),
)
