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
from attnfuse.mindir.dtypes import BOOL, FLOAT16
from attnfuse.report.build import check_census, count_sites
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError, lower
from tests.support.functions import DIMS, KIND, Body, attends, call, function
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder


def capped(b: GraphBuilder, x: str, weight: str) -> str:
    """The same with capped scores, which no fused node says."""
    query = b.matmul_ext(x, weight)
    scores = b.op("Tanh", b.batch_matmul(query, x, transpose_b=True))
    return b.matmul_ext(b.softmax(scores), x)


def choice(g: GraphBuilder, functions: tuple[str, str], *values: str) -> str:
    """What one of two functions gives, by an input."""
    condition = g.input("condition", (), BOOL)
    parts = [g.node("Partial", [name, *values], None) for name in functions]
    chosen = g.node("Switch", [condition, *parts], None)
    node = g.graph.node.add(name=f"{g.prefix}:chosen:98", op_type=f"REF::{chosen}")
    node.output.append(node.name)
    g._typed(node.name, KIND)
    return node.name


def branches(one: Body = attends, other: Body = attends) -> Model:
    g = GraphBuilder("cache")
    x, weight = g.input("x", DIMS, FLOAT16), g.weight("layers.0.attn.to_q.weight", (2, 4, 16, 16), FLOAT16)
    function(g, "8_yes", one, "layers.0", 100)
    function(g, "9_no", other, "layers.0", 200)
    g.output(choice(g, ("8_yes", "9_no"), x, weight))
    return g.model()


def loop(goes_on: Callable[[GraphBuilder, str], str] = lambda b, x: b.constant(True), body: Body = attends) -> Model:
    """The body attends and calls the header, which hands on the body or what comes after, by a condition of x."""
    g = GraphBuilder("sampling")
    x, weight = g.input("x", DIMS, FLOAT16), g.weight("layers.0.attn.to_q.weight", (2, 4, 16, 16), FLOAT16)
    function(g, "8_body", body, "layers.0", 100, call="6_header")
    function(g, "9_after", attends, "layers.1", 200)
    b = GraphBuilder("header", first=300)
    own = [b.input("x", DIMS, FLOAT16), b.input("layers.0.attn.to_q.weight", (2, 4, 16, 16), FLOAT16)]
    condition = goes_on(b, own[0])
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
    g.output(call(g, "6_header", 97, x, weight))
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
