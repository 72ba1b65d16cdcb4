"""Lengths that are known at run time only: reshapes that ask a tensor for its shape, and heads that want padding."""

from __future__ import annotations

import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.ir.check import check_graph
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT16, INT64
from tests.support.fusing import fuse
from tests.support.graphs import PRIMITIVE, GraphBuilder

B, N, D = 2, 3, 8
OPEN = -1


def size(g: GraphBuilder, value: str, axis: int) -> str:
    """What the graph asks a tensor for: the size of one of its axes."""
    scalar = TensorType((), INT64)
    shape = g.node("Shape", [value], (scalar,) * len(g.type_of(value).dims))
    return g.node("TupleGetItem", [shape, g.constant(axis)], scalar, primitive=PRIMITIVE)


def together(g: GraphBuilder, value: str, asked: str, axis: int = 2) -> str:
    """[B, N, S, D] → [B·N, S, D], written as mindone does: (−1, the size of an axis of `asked`, D)."""
    elements = [g.constant(-1), size(g, asked, axis), g.constant(D)]
    target = g.node("MakeTuple", elements, (TensorType((), INT64),) * 3, primitive=PRIMITIVE)
    return g.node("Reshape", [value, target], TensorType((OPEN, OPEN, D), FLOAT16))


def attention(asked: str = "its own", kv: int = N) -> tuple[Model, SiteRecord]:
    g = GraphBuilder("lumina")
    apart = []
    for name, heads in (("q", N), ("k", kv), ("v", kv)):
        x = g.input(name, (B, OPEN, heads, D), FLOAT16)
        if heads != N:  # grouped heads, repeated in place
            x = g.op("ExpandDims", x, 3, dims=(B, OPEN, heads, 1, D))
            x = g.op("Tile", x, (1, 1, 1, N // heads, 1), dims=(B, OPEN, heads, N // heads, D))
            x = g.op("Reshape", x, (B, -1, N, D), dims=(B, OPEN, N, D))
        apart.append(g.op("Transpose", x, (0, 2, 1, 3), dims=(B, N, OPEN, D)))
    source = {"its own": apart, "another's": [apart[1], apart[0], apart[2]], "its heads": apart}[asked]
    axis = 1 if asked == "its heads" else 2
    q, k, v = (together(g, x, y, axis) for x, y in zip(apart, source, strict=True))
    scores = g.node("BatchMatMul", [q, k, g.constant(False), g.constant(True)], TensorType((OPEN, OPEN, OPEN), FLOAT16))
    weights = g.softmax(g.op("Muls", scores, 0.25))
    result = g.node("BatchMatMulExt", [weights, v], TensorType((OPEN, OPEN, D), FLOAT16))
    g.output(g.op("Reshape", result, (B, N, -1, D), dims=(B, N, OPEN, D)))
    model = g.model()
    (record,) = fuse(model, "mindspore")
    return model, record


@pytest.mark.parametrize("kv", [N, 1])
def test_a_size_that_a_tensor_is_asked_for_is_its_axis(kv: int) -> None:
    """The heads are told apart by it, and their zeros do not lose the sizes around them."""
    model, record = attention(kv=kv)
    assert record.status == "fused", record.reason
    assert record.head_dim_padding == 8
    assert check_graph(model) == []
    node = next(node for node in model.nodes if node.op == "FlashAttentionScore")
    assert [sorted(model.type_of(name).dims) for name in node.inputs[:3]] == [  # type: ignore[union-attr]
        sorted((B, OPEN, heads, 16)) for heads in (N, kv, kv)
    ]


@pytest.mark.parametrize("asked", ["another's", "its heads"])
def test_a_size_of_another_axis_is_not_taken_for_it(asked: str) -> None:
    """Key may be longer than query; and a reshape by the number of heads is another one."""
    _, record = attention(asked)
    assert record.status == "missed"
