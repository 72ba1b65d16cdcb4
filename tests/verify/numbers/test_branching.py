"""Numbers of graphs in which an if or a while decides what runs: each branch, each run of a loop, what was not run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import BOOL, FLOAT16
from attnfuse.mindir.schema import ModelProto
from attnfuse.verify.numbers.full import Found, Request, check_numbers
from tests.passes.attention.test_control_flow import branches, loop
from tests.support.functions import DIMS, attends
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, fill_literal


def twice() -> Model:
    """Attention in both branches of an if."""
    return branches(attends, lambda b, x, weight: attends(b, b.op("Neg", x), weight))


def fused(model: Model) -> Model:
    copy = ModelProto()
    copy.CopyFrom(model.proto)
    made = Model(copy)
    assert {site.status for site in fuse(made)} == {"fused"}
    return made


def checked(before: Model, after: Model, folder: Path, *data: Path) -> Found:
    where = folder / "m.mindir"
    request = Request(name="m", original=where, fused=where, seed=0, work=folder, data=data)
    return check_numbers(before, after, request, {})


def planted(model: Model, op: str, number: int, position: int, literal: float) -> Model:
    """The graph with another constant for one node."""
    node = [node for node in model.nodes if node.op == op][number]
    constant = model.proto.graph.node.add(name="planted", op_type="Constant", output=["planted"])
    fill_literal(constant.attribute.add(name="value"), literal)
    model.proto.graph.node.insert(0, constant)
    del model.proto.graph.node[-1]
    graph = next(graph for graph in model.graphs if graph.name == node.graph.name)
    next(m for m in graph.node if m.output[0] == node.name).input[position] = "planted"
    return Model(model.proto)


def scale_of(model: Model, number: int) -> int:
    node = [node for node in model.nodes if node.op == "FlashAttentionScore"][number]
    return next(i for i, v in enumerate(node.inputs) if model.is_literal(v) and model.literal(v) == 0.25)


def test_both_branches_are_verified(tmp_path: Path) -> None:
    model = twice()
    found = checked(model, fused(model), tmp_path)
    assert (found.findings, found.not_verified) == ([], [])
    assert len(found.sites) == 2
    assert len(found.outputs) == 4  # the graph's and the condition, of each branch


@pytest.mark.parametrize(("number", "where"), [(0, "true"), (1, "false")])
def test_a_mistake_in_one_branch_is_found_there(number: int, where: str, tmp_path: Path) -> None:
    model = twice()
    after = fused(model)
    after = planted(after, "FlashAttentionScore", number, scale_of(after, number), 0.5)
    found = checked(model, after, tmp_path)
    assert any("output " in text for text in found.findings)
    assert any("site " in text for text in found.findings)
    assert all(f" {where}: " in text for text in found.findings)


def test_another_condition_is_found(tmp_path: Path) -> None:
    """Of the same graph but for what is compared with."""

    def graph(bound: float) -> Model:
        made = branches(attends, attends)
        proto = made.proto
        switch = next(n for n in made.nodes if n.op == "Switch")
        g = GraphBuilder("compare", first=900)
        g.output(g.op("Greater", g.input("t", ()), np.array(bound, np.float32)))
        built = g.build()
        proto.primitives.extend(entry for entry in built.primitives)
        proto.graph.input.extend(built.graph.input)
        for position, message in enumerate(built.graph.node):
            proto.graph.node.insert(position, message)
        message = next(m for m in proto.graph.node if m.output[0] == switch.name)
        message.input[0] = built.graph.output[0].name
        return Model(proto)

    def on(bound: float, folder: Path) -> Found:
        np.savez(folder / "given.npz", x=np.ones(DIMS, np.float16), condition=np.array(True), t=np.float32(5))
        return checked(graph(0.0), fused(graph(bound)), folder, folder / "given.npz")

    assert on(0.0, tmp_path).findings == []
    assert any("output " in text for text in on(10.0, tmp_path).findings)


def test_given_inputs_decide_and_what_they_do_not_take_is_told(tmp_path: Path) -> None:
    model = twice()
    np.savez(tmp_path / "given.npz", x=np.ones(DIMS, np.float16), condition=np.array(False))
    found = checked(model, fused(model), tmp_path, tmp_path / "given.npz")
    assert found.findings == []
    (text,) = found.not_verified
    assert text.endswith("was never true: that branch was not run")
    assert len(found.sites) == 1


def test_a_graph_that_decides_of_less_or_of_something_else_is_found(tmp_path: Path) -> None:
    """One without the if, and one with another."""
    g = GraphBuilder("cache")
    x, weight = g.input("x", DIMS, FLOAT16), g.weight("layers.0.attn.to_q.weight", (2, 4, 16, 16), FLOAT16)
    g.input("condition", (), BOOL)
    g.output(attends(g, x, weight))
    found = checked(twice(), g.model(), tmp_path)
    assert [text.partition(": ")[2] for text in found.findings] == [
        "the fused graph decides less than the original."
    ] * 2
    found = checked(twice(), fused(loop(large)), tmp_path)
    assert all("the fused graph decides something else at CNode_" in text for text in found.findings)
    assert len(found.findings) == 2


def large(b: GraphBuilder, x: str) -> str:
    return b.op("Greater", b.op("Max", x), np.array(0.5, np.float16))


def test_a_loop_is_run_twice_and_what_comes_after(tmp_path: Path) -> None:
    model = loop(large)
    after = fused(model)
    found = checked(model, after, tmp_path)
    assert (found.findings, found.not_verified) == ([], [])
    assert len(found.sites) == 3
    assert len(found.outputs) == 4  # the graph's, and the condition each time
    assert all(figures.output.endswith(" true, true, false") for figures in found.outputs)
    wrong = checked(model, planted(after, "FlashAttentionScore", 0, scale_of(after, 0), 0.5), tmp_path)
    assert sum("site " in text for text in wrong.findings) >= 2  # of each run


@pytest.mark.parametrize(("size", "runs"), [(3.0, 3), (0.1, 0)])
def test_given_inputs_run_a_loop_as_often_as_it_does(size: float, runs: int, tmp_path: Path) -> None:
    """Attention leaves numbers that are all the same as they are, and the body halves them."""
    model = loop(large, lambda b, x, weight: b.muls(attends(b, x, weight), 0.5))
    np.savez(tmp_path / "given.npz", x=np.full(DIMS, size, np.float16))
    found = checked(model, fused(model), tmp_path, tmp_path / "given.npz")
    assert found.findings == []
    assert len(found.sites) == runs + 1
