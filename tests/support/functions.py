"""Functions beside a builder's graph that hold an attention, and calls of them."""

from __future__ import annotations

from collections.abc import Callable

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT16
from tests.support.graphs import GraphBuilder

DIMS = (2, 4, 6, 16)
KIND = TensorType(DIMS, FLOAT16)
Body = Callable[[GraphBuilder, str, str], str]


def attends(b: GraphBuilder, x: str, weight: str) -> str:
    """Attention of x, whose query is x times a weight."""
    query = b.matmul_ext(x, weight)
    scores = b.op("Muls", b.batch_matmul(query, x, transpose_b=True), 0.25)
    return b.matmul_ext(b.softmax(scores), x)


def function(g: GraphBuilder, name: str, body: Body, layer: str, first: int, call: str = "") -> None:
    """A function of x and a weight beside the graph of the builder; with `call` it ends in a call of that function."""
    b = GraphBuilder(name, first=first)
    x, weight = b.input("x", DIMS, FLOAT16), b.input(f"{layer}.attn.to_q.weight", (2, 4, 16, 16), FLOAT16)
    b.output(body(b, x, weight))
    made = b.build()
    renamed: dict[str, str] = {}
    for entry in made.primitives:
        renamed[entry.name] = entry.name + name
        g.proto.primitives.add().CopyFrom(entry)
        g.proto.primitives[-1].name = renamed[entry.name]
    graph = g.proto.functions.add()
    graph.CopyFrom(made.graph)
    graph.name = name
    for node in graph.node:
        if node.op_type != "Constant":
            node.op_type = "REF::" + renamed[node.op_type.removeprefix("REF::")]
        else:
            for message in graph.node:
                message.input[:] = [f"{name}_{v}" if v == node.output[0] else v for v in message.input]
            node.output[0] = f"{name}_{node.output[0]}"
    if call:
        last = graph.node.add(name=f"{name}:again:99", op_type=f"REF::{call}")
        last.output.append(f"{name}:again:99")
        last.input.extend([graph.output[0].name, weight])
        last.attribute.extend(a for a in graph.node[-2].attribute if a.name == "shape")
        graph.output[0].name = last.output[0]


def call(g: GraphBuilder, name: str, number: int, *arguments: str) -> str:
    """A call of the function in the top graph."""
    node = g.graph.node.add(name=f"{g.prefix}:call:{number}", op_type=f"REF::{name}")
    node.output.append(node.name)
    node.input.extend(arguments)
    g._typed(node.name, KIND)
    return node.name
