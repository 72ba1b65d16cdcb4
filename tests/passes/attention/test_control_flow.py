"""Attention in the branches of an if and in the body of a while: functions that are handed about as values.

MindSpore writes `call(Switch(condition, Partial(f, …), Partial(g, …)))`; a loop is a header, called by name, whose body
calls it again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.ir.check import check_graph
from attnfuse.ir.graph import CALL, Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BOOL, FLOAT16
from attnfuse.report.build import check_census, count_sites
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError, lower
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder

DIMS = (2, 4, 6, 16)
KIND = TensorType(DIMS, FLOAT16)
Body = Callable[[GraphBuilder, str, str], str]


def fused_form(b: GraphBuilder, x: str, weight: str) -> str:
    """Attention of x, whose query is x times a weight."""
    query = b.matmul_ext(x, weight)
    scores = b.op("Muls", b.batch_matmul(query, x, transpose_b=True), 0.25)
    return b.matmul_ext(b.softmax(scores), x)


def capped(b: GraphBuilder, x: str, weight: str) -> str:
    """The same with capped scores, which no fused node says."""
    query = b.matmul_ext(x, weight)
    scores = b.op("Tanh", b.batch_matmul(query, x, transpose_b=True))
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


def choice(g: GraphBuilder, functions: tuple[str, str], *values: str) -> str:
    """What one of two functions gives, by an input."""
    condition = g.input("condition", (), BOOL)
    parts = [g.node("Partial", [name, *values], None) for name in functions]
    chosen = g.node("Switch", [condition, *parts], None)
    node = g.graph.node.add(name=f"{g.prefix}:chosen:98", op_type=f"REF::{chosen}")
    node.output.append(node.name)
    g._typed(node.name, KIND)
    return node.name


def branches(one: Body = fused_form, other: Body = fused_form) -> Model:
    g = GraphBuilder("cache")
    x, weight = g.input("x", DIMS, FLOAT16), g.weight("layers.0.attn.to_q.weight", (2, 4, 16, 16), FLOAT16)
    function(g, "8_yes", one, "layers.0", 100)
    function(g, "9_no", other, "layers.0", 200)
    g.output(choice(g, ("8_yes", "9_no"), x, weight))
    return g.model()


def loop() -> Model:
    """The body attends and calls the header, which hands on the body or what comes after."""
    g = GraphBuilder("sampling")
    x, weight = g.input("x", DIMS, FLOAT16), g.weight("layers.0.attn.to_q.weight", (2, 4, 16, 16), FLOAT16)
    function(g, "8_body", fused_form, "layers.0", 100, call="6_header")
    function(g, "9_after", fused_form, "layers.1", 200)
    b = GraphBuilder("header", first=300)
    own = [b.input("x", DIMS, FLOAT16), b.input("layers.0.attn.to_q.weight", (2, 4, 16, 16), FLOAT16)]
    condition = b.constant(True)
    parts = [b.node("Partial", [name, *own], None) for name in ("8_body", "9_after")]
    chosen = b.node("Switch", [condition, *parts], None)
    last = b.graph.node.add(name="6_header:chosen:98", op_type=f"REF::{chosen}")
    last.output.append(last.name)
    b._typed(last.name, KIND)
    b.output(last.name)
    made = b.build()
    header = g.proto.functions.add()
    header.CopyFrom(made.graph)
    header.name = "6_header"
    names = {entry.name for entry in g.proto.primitives}
    g.proto.primitives.extend(entry for entry in made.primitives if entry.name not in names)
    call = g.graph.node.add(name=f"{g.prefix}:call:97", op_type="REF::6_header")
    call.output.append(call.name)
    call.input.extend([x, weight])
    g._typed(call.name, KIND)
    g.output(call.name)
    return g.model()


def fused(model: Model, runtime: str) -> list[SiteRecord]:
    """The records, as many as the source has sites."""
    counted, findings = count_sites(model), check_graph(model)
    records = fuse(model, runtime)
    check_census("unet", counted, records)
    assert check_graph(model) == findings  # of what hands functions on, which this file declares by no type
    return records


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
def test_each_branch_of_an_if_has_its_sites(runtime: str) -> None:
    model = branches()
    records = fused(model, runtime)
    assert [(r.module, r.status, r.graph) for r in records] == [
        ("layers.0.attn", "fused", "8_yes"),
        ("layers.0.attn#2", "fused", "9_no"),
    ]
    form = "PromptFlashAttention" if runtime == "lite" else "FlashAttentionScore"
    assert [node.graph.name for node in model.nodes if node.op == form] == ["8_yes", "9_no"]
    assert sum(node.op == CALL for node in model.nodes) == 1


def test_a_branch_that_is_missed_is_told_for_itself() -> None:
    records = fused(branches(other=capped), "mindspore")
    assert [(r.status, r.code) for r in records] == [("fused", "fused"), ("missed", "structure.soft_cap")]


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
def test_the_body_of_a_loop_and_what_comes_after_it(runtime: str) -> None:
    records = fused(loop(), runtime)
    assert [(r.module, r.status) for r in records] == [("layers.0.attn", "fused"), ("layers.1.attn", "fused")]


@pytest.mark.parametrize("make", [branches, loop])
def test_what_runs_is_known_at_run_time_only(make: Callable[[], Model]) -> None:
    """Verification says so of the node, and does not run a branch of its own choice."""
    with pytest.raises(UnsupportedOpError, match=r"(chosen:98: a call of a value|Switch|Partial)"):
        lower(make(), Arithmetic.EXACT)
