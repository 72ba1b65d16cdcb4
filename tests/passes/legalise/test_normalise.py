"""Normalisations: by LayerNorm, or written out."""

from __future__ import annotations

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from tests.passes.legalise.support import Case, Make, cases
from tests.support.graphs import GraphBuilder

Dims = tuple[int, ...]


def layer_norm(
    dims: Dims, axes: int = 1, *, gain: bool = True, bias: bool = True, dtype: DType = FLOAT32, read: int = 0
) -> Make:
    def make(g: GraphBuilder) -> str:
        shape = dims[-axes:]
        weights = [g.weight(n, shape, dtype) if given else g.constant(None) for n, given in (("w", gain), ("b", bias))]
        kind = TensorType(dims, dtype)
        small = TensorType((*dims[:-axes], *(1,) * axes), FLOAT32)
        values = [g.input("x", dims, dtype), g.constant(shape), *weights, g.constant(1e-5)]
        return g.tuple_get_item(g.node("LayerNormExt", values, (kind, small, small)), read)

    return make


def group_norm(
    dims: Dims, groups: int, *, gain: bool = True, bias: bool = True, dtype: DType = FLOAT32, read: int = 0
) -> Make:
    def make(g: GraphBuilder) -> str:
        c = (dims[1],)
        weights = [g.weight(n, c, dtype) if given else g.constant(None) for n, given in (("w", gain), ("b", bias))]
        kind, small = TensorType(dims, dtype), TensorType((dims[0], groups), dtype)
        values = [g.input("x", dims, dtype), g.constant(groups), *weights, g.constant(1e-5)]
        return g.tuple_get_item(g.node("GroupNorm", values, (kind, small, small)), read)

    return make


def rms_norm(dims: Dims, axes: int = 1, dtype: DType = FLOAT32, read: int = 0, epsilon: float = 1e-5) -> Make:
    def make(g: GraphBuilder) -> str:
        kind, small = TensorType(dims, dtype), TensorType((*dims[:-axes], *(1,) * axes), FLOAT32)
        values = [g.input("x", dims, dtype), g.weight("w", dims[-axes:], dtype), g.constant(epsilon)]
        return g.tuple_get_item(g.node("RmsNorm", values, (kind, small)), read)

    return make


def whole_tuple(g: GraphBuilder) -> str:
    kind = TensorType((2, 4), FLOAT32)
    small = TensorType((2, 1), FLOAT32)
    return g.node("RmsNorm", [g.input("x", (2, 4)), g.weight("w", (4,)), g.constant(1e-5)], (kind, small))


def read_twice(g: GraphBuilder) -> tuple[str, ...]:
    kind, small = TensorType((2, 4, 6), FLOAT32), TensorType((2, 2), FLOAT32)
    values = [g.input("x", (2, 4, 6)), g.constant(2), g.weight("w", (4,)), g.weight("b", (4,)), g.constant(1e-5)]
    node = g.node("GroupNorm", values, (kind, small, small))
    return g.tuple_get_item(node, 0), g.op("Sigmoid", g.tuple_get_item(node, 0))


MOMENTS = ("ReduceMean", "Sub", "Square", "ReduceMean", "Add", "Rsqrt", "Mul")
GROUPS = ("Reshape", *MOMENTS, "Reshape", "Reshape", "Mul", "Reshape", "Add")
LOW_GROUPS = (
    *("Cast", "Reshape", *MOMENTS, "Reshape"),
    *("Cast", "Reshape", "Mul", "Cast", "Reshape", "Add", "Cast"),
)
MEAN_SQUARE = ("Square", "ReduceMean", "Add", "Rsqrt", "Mul", "Mul")
TAKEN = ("LayerNorm", "TupleGetItem")

cases(
    "normalise",
    Case("LayerNormExt", layer_norm((2, 3, 8)), TAKEN),
    Case("LayerNormExt of two axes", layer_norm((2, 3, 8), 2), TAKEN),
    Case("LayerNormExt in float16", layer_norm((2, 3, 8), dtype=FLOAT16), TAKEN),
    Case("LayerNormExt in bfloat16", layer_norm((2, 3, 8), dtype=BFLOAT16), TAKEN),
    Case("LayerNormExt of one unknown size", layer_norm((2, -1, 8)), TAKEN),
    Case("LayerNormExt without gain", layer_norm((2, 3, 8), gain=False), TAKEN, newer=True),
    Case("LayerNormExt without bias", layer_norm((2, 3, 8), bias=False), TAKEN, newer=True),
    Case("LayerNormExt without both", layer_norm((2, 3, 8), gain=False, bias=False), TAKEN, newer=True),
    Case("LayerNormExt whose deviation is read", layer_norm((2, 3, 8), read=2), refused="deviation is read"),
    Case("GroupNorm", group_norm((2, 6, 4, 5), 3), GROUPS, native=3e-6),
    Case("GroupNorm of a sequence", group_norm((2, 6, 5), 2), GROUPS, native=3e-6),
    Case("GroupNorm of a volume", group_norm((2, 6, 2, 4, 5), 3), GROUPS, native=3e-6),
    Case("GroupNorm in float16", group_norm((2, 6, 4, 5), 3, dtype=FLOAT16), LOW_GROUPS, native=1e-3),
    Case("GroupNorm in bfloat16", group_norm((2, 6, 4, 5), 3, dtype=BFLOAT16), LOW_GROUPS, native=8e-3),
    Case(
        "GroupNorm without gain",
        group_norm((2, 6, 4, 5), 3, gain=False),
        ("Reshape", *MOMENTS, "Reshape", "Reshape", "Add"),
        native=3e-6,
        newer=True,
    ),
    Case(
        "GroupNorm without both",
        group_norm((2, 6, 4, 5), 3, gain=False, bias=False),
        ("Reshape", *MOMENTS, "Reshape"),
        native=3e-6,
        newer=True,
    ),
    Case("GroupNorm, read twice", read_twice, (*GROUPS, "Sigmoid", "MakeTuple"), native=3e-6),
    Case("GroupNorm of an unknown size", group_norm((2, 6, -1, 5), 3), refused="not known"),
    Case("GroupNorm whose mean is read", group_norm((2, 6, 4, 5), 3, read=1), refused="mean"),
    Case("RmsNorm with the epsilon of CANN", rms_norm((2, 3, 8), epsilon=1e-6), ("RmsNorm", "TupleGetItem")),
    Case("RmsNorm", rms_norm((2, 3, 8)), MEAN_SQUARE, native=3e-6),
    Case("RmsNorm of two axes", rms_norm((2, 3, 8), 2), MEAN_SQUARE, native=3e-6),
    Case("RmsNorm of one unknown size", rms_norm((2, -1, 8)), MEAN_SQUARE),
    Case(
        "RmsNorm in float16",
        rms_norm((2, 3, 8), dtype=FLOAT16),
        ("Cast", *MEAN_SQUARE[:-1], "Cast", "Mul", "Cast"),
        native=1e-3,
    ),
    Case("RmsNorm whose deviation is read", rms_norm((2, 3, 8), read=1), refused="deviation is read"),
    Case("RmsNorm, its tuple an output", whole_tuple, refused="deviation is read"),
)
