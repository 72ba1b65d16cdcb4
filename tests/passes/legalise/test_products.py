"""Matrix products: the mint products as MatMul and BatchMatMul."""

from __future__ import annotations

import pytest

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, INT64, DType
from tests.passes.legalise.programs import In, gives, kind
from tests.passes.legalise.support import Case, Make, cases, check_structure
from tests.support.graphs import GraphBuilder

Dims = tuple[int, ...]


def bmm(dtype: DType = FLOAT32, batch: int = 2) -> Make:
    def make(g: GraphBuilder) -> str:
        x, y = g.input("x", (batch, 3, 4), dtype), g.input("y", (batch, 4, 5), dtype)
        return g.node("BatchMatMulExt", [x, y], TensorType((batch, 3, 5), dtype))

    return make


def matmul(left: Dims, right: Dims, out: Dims, dtype: DType = FLOAT32) -> Make:
    def make(g: GraphBuilder) -> str:
        return g.node("MatMulExt", [g.input("x", left, dtype), g.input("y", right, dtype)], TensorType(out, dtype))

    return make


def mm(g: GraphBuilder) -> str:
    return g.node("Mm", [g.input("x", (3, 4)), g.input("y", (4, 5))], TensorType((3, 5), FLOAT32))


def mixed(g: GraphBuilder) -> str:
    x, y = g.input("x", (3, 4), FLOAT16), g.input("y", (4, 5), FLOAT32)
    return g.node("MatMulExt", [x, y], TensorType((3, 5), FLOAT32))


def dense(dims: Dims, *, bias: bool = True, dtype: DType = FLOAT32) -> Make:
    def make(g: GraphBuilder) -> str:
        return g.dense(g.input("x", dims, dtype), "to_q", 6, bias=bias)

    return make


def dense_vector(g: GraphBuilder) -> str:
    weight = g.weight("w", (8,))
    return g.node("Dense", [g.input("x", (3, 8)), weight, g.constant(None)], TensorType((3,), FLOAT32))


def baddbmm(bias: Dims, beta: float = 1, alpha: float = 1, dtype: DType = FLOAT32) -> Make:
    def make(g: GraphBuilder) -> str:
        x, y = g.input("x", (4, 3, 5), dtype), g.input("y", (4, 5, 7), dtype)
        return g.baddbmm(g.input("bias", bias, dtype), x, y, beta, alpha)

    return make


def addmm(bias: Dims, beta: float = 1, alpha: float = 1, dtype: DType = FLOAT32) -> Make:
    def make(g: GraphBuilder) -> str:
        values = [g.input("bias", bias, dtype), g.input("x", (3, 5), dtype), g.input("y", (5, 7), dtype)]
        return g.node("Addmm", [*values, g.constant(beta), g.constant(alpha)], TensorType((3, 7), dtype))

    return make


def unknown_heads(g: GraphBuilder) -> str:
    x, y = g.input("x", (-1, 3, 5)), g.input("y", (-1, 5, 7))
    bias = g.input("bias", (2, 1, 1, 7))
    return g.node("Baddbmm", [bias, x, y, g.constant(1), g.constant(1)], TensorType((-1, 3, 7), FLOAT32))


def outer(left: DType, right: DType, out: DType, rows: int = 3) -> Make:
    def make(g: GraphBuilder) -> str:
        return g.node("Outer", [g.input("x", (rows,), left), g.input("y", (4,), right)], TensorType((rows, 4), out))

    return make


def bias_add(dims: Dims, layout: int, channels: int) -> Make:
    def make(g: GraphBuilder) -> str:
        x = g.input("x", dims)
        return g.op("BiasAdd", x, g.input("bias", (channels,)), layout, like=x)

    return make


def read_by_others(g: GraphBuilder) -> tuple[str, ...]:
    """The replaced value is an output and an operand."""
    y = g.dense(g.input("x", (2, 3, 8)), "to_q", 6)
    return y, g.op("Sigmoid", y)


FLAT = ("Reshape", "MatMul", "Reshape")
BIASED = ("Reshape", "MatMul", "BiasAdd", "Reshape")

cases(
    "products",
    Case("BatchMatMulExt", bmm(), ("BatchMatMul",)),
    Case("BatchMatMulExt in float16", bmm(FLOAT16), ("BatchMatMul",)),
    Case("BatchMatMulExt in bfloat16", bmm(BFLOAT16), ("BatchMatMul",)),
    Case("BatchMatMulExt of a batch known at run time", bmm(batch=-1), ("BatchMatMul",)),
    Case("Mm", mm, ("MatMul",)),
    Case("MatMulExt of matrices", matmul((3, 4), (4, 5), (3, 5)), ("MatMul",)),
    Case("MatMulExt of matrices in float16", matmul((3, 4), (4, 5), (3, 5), FLOAT16), ("MatMul",)),
    Case("MatMulExt by one matrix", matmul((2, 3, 4), (4, 5), (2, 3, 5)), FLAT, native=1e-6),
    Case(
        "MatMulExt of a matrix by many", matmul((3, 4), (2, 4, 5), (2, 3, 5)), ("Reshape", "BroadcastTo", "BatchMatMul")
    ),
    Case("MatMulExt of four axes", matmul((2, 6, 3, 4), (2, 6, 4, 5), (2, 6, 3, 5)), ("BatchMatMul",)),
    Case(
        "MatMulExt that broadcasts both ways",
        matmul((2, 1, 3, 4), (6, 4, 5), (2, 6, 3, 5)),
        ("BroadcastTo", "Reshape", "BroadcastTo", "BatchMatMul"),
    ),
    Case("MatMulExt of a row", matmul((4,), (4, 5), (5,)), FLAT, native=1e-6),
    Case("MatMulExt of a column", matmul((3, 4), (4,), (3,)), FLAT, native=1e-6),
    Case("MatMulExt of a column by many", matmul((2, 3, 4), (4,), (2, 3)), ("Reshape", *FLAT), native=1e-6),
    Case("MatMulExt of two vectors", matmul((4,), (4,), ()), ("Reshape", *FLAT), native=1e-6),
    Case(
        "MatMulExt of a batch known at run time", matmul((-1, 6, 3, 4), (-1, 6, 4, 5), (-1, 6, 3, 5)), ("BatchMatMul",)
    ),
    Case("MatMulExt by one matrix, one size unknown", matmul((2, -1, 4), (4, 5), (2, -1, 5)), FLAT),
    Case("MatMulExt by one matrix, two sizes unknown", matmul((-1, -1, 4), (4, 5), (-1, -1, 5)), refused="not known"),
    Case("MatMulExt of unlike unknown batches", matmul((-1, 3, 4), (1, 4, 5), (-1, 3, 5)), refused="batch axes"),
    Case("MatMulExt of two types", mixed, refused="multiplies float16 by float32"),
    Case("Dense", dense((2, 3, 8)), BIASED, native=1e-6),
    Case("Dense without bias", dense((2, 3, 8), bias=False), FLAT, native=1e-6),
    Case("Dense of a matrix", dense((3, 8)), ("MatMul", "BiasAdd")),
    Case("Dense of a matrix without bias", dense((3, 8), bias=False), ("MatMul",)),
    Case("Dense of a vector", dense((8,)), BIASED, native=1e-6),
    Case("Dense of four axes", dense((2, 2, 3, 8)), BIASED, native=1e-6),
    Case("Dense in float16", dense((2, 3, 8), dtype=FLOAT16), BIASED, native=1e-3),
    Case("Dense in bfloat16", dense((2, 3, 8), dtype=BFLOAT16), BIASED, native=8e-3),
    Case("Dense of one unknown size", dense((2, -1, 8)), BIASED),
    Case("Dense of two unknown sizes", dense((-1, -1, 8)), refused="not known"),
    Case("Dense by a vector", dense_vector, refused="no matrix"),
    Case("Dense, read twice", read_by_others, (*BIASED, "Sigmoid", "MakeTuple"), native=1e-6),
    Case("Baddbmm", baddbmm((4, 3, 7)), ("BatchMatMul", "Add")),
    Case("Baddbmm, its bias broadcast", baddbmm((1, 1, 7)), ("BatchMatMul", "Add")),
    Case("Baddbmm with factors", baddbmm((4, 3, 7), 0.5, 3), ("Mul", "BatchMatMul", "Mul", "Add"), native=1e-6),
    Case("Baddbmm in float16", baddbmm((4, 3, 7), dtype=FLOAT16), ("BatchMatMul", "Add"), native=1e-3),
    Case(
        "Baddbmm with a factor in float16",
        baddbmm((4, 3, 7), alpha=0.3, dtype=FLOAT16),
        ("Cast", "Mul", "Cast", "BatchMatMul", "Add"),
        native=2e-3,
    ),
    Case("Baddbmm, a bias by batch", baddbmm((2, 1, 1, 7)), ("BroadcastTo", "Reshape", "BatchMatMul", "Add")),
    Case("Baddbmm, a bias by head", baddbmm((1, 2, 3, 7)), ("BroadcastTo", "Reshape", "BatchMatMul", "Add")),
    Case("Baddbmm, a bias by batch and head", baddbmm((2, 2, 3, 7)), ("Reshape", "BatchMatMul", "Add")),
    Case("Baddbmm, a bias for all", baddbmm((1, 1, 3, 7)), ("Reshape", "BatchMatMul", "Add")),
    Case("Baddbmm, a bias of unknown heads", unknown_heads, refused="its bias"),
    Case("Addmm", addmm((7,)), ("MatMul", "BiasAdd")),
    Case("Addmm of a matrix", addmm((3, 7)), ("MatMul", "Add")),
    Case("Addmm with factors", addmm((7,), 2, 0.5), ("Mul", "MatMul", "Mul", "BiasAdd"), native=1e-6),
    Case("Addmm in float16", addmm((7,), dtype=FLOAT16), ("MatMul", "BiasAdd"), native=1e-3),
    Case("Outer", outer(FLOAT32, FLOAT32, FLOAT32), ("Reshape", "Mul")),
    Case("Outer of two types", outer(INT64, FLOAT32, INT64), refused="multiplies int64 by float32"),
    Case("Outer in float64", outer(FLOAT64, FLOAT64, FLOAT64), ("Reshape", "Mul")),
    Case("Outer of a size known at run time", outer(FLOAT32, FLOAT32, FLOAT32, -1), ("Reshape", "Mul")),
    Case("BiasAdd of a matrix", bias_add((3, 4), 0, 4), ("BiasAdd",)),
    Case("BiasAdd of an image", bias_add((2, 3, 5, 4), 0, 3), ("BiasAdd",)),
    Case("BiasAdd of channels", bias_add((2, 3, 5), 0, 3), ("Reshape", "Add")),
    Case("BiasAdd of channels in a volume", bias_add((2, 3, 2, 5, 4), 14, 3), ("Reshape", "Add")),
    Case("BiasAdd of the last axis of an image", bias_add((2, 3, 5, 4), 1, 4), ("Add",)),
    Case("BiasAdd of the last axis", bias_add((2, 3, 4), 1, 4), ("Add",)),
    Case("BiasAdd of an unknown format", bias_add((2, 3, 5), 2, 3), refused="its format is 2"),
)


@pytest.mark.parametrize(
    ("bias", "refused"),
    [
        ((3, 1, 5), "does not broadcast"),
        ((1, 4, 5, 5), "does not broadcast"),
        ((5, 1, 1, 5), "does not go with 4 products"),
        ((0, 1, 1, 5), "does not go with 4 products"),
        ((2, 3, 1, 5), "does not go with 4 products"),
    ],
)
def test_a_bias_that_nothing_adds_is_refused(bias: tuple[int, ...], refused: str) -> None:
    """MindSpore's inference of Baddbmm does not look at the bias."""
    make = gives("Baddbmm", In("bias", bias), In("a", (4, 2, 3)), In("b", (4, 3, 5)), 1.0, 1.0, out=kind(4, 2, 5))
    check_structure(Case("bias", make, refused=refused))
