"""Nodes that no rule can run: everything around them is verified, and what is not is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT16, INT64
from attnfuse.mindir.schema import ModelProto
from attnfuse.verify.numbers.full import Found, Request, check_numbers
from tests.support.fusing import fuse
from tests.support.graphs import PRIMITIVE, GraphBuilder, fill_literal

DIMS = (2, 4, 6, 16)
KIND = TensorType(DIMS, FLOAT16)
Build = Callable[[GraphBuilder, str], str]


def attends(g: GraphBuilder, x: str, name: str) -> str:
    query = g.matmul_ext(x, g.weight(f"{name}.attn.to_q.weight", (2, 4, 16, 16), FLOAT16))
    scores = g.muls(g.matmul_ext(query, g.transpose(x, (0, 1, 3, 2))), 0.25)
    return g.matmul_ext(g.softmax(scores), x)


def invented(g: GraphBuilder, x: str) -> str:
    """An operator that nobody knows, of a tensor and a number."""
    return g.node("Invented", [x, g.constant(3)], KIND)


def pair_of_results(g: GraphBuilder, x: str) -> str:
    """One of several results: a tensor and places in it."""
    made = g.node("Torn", [g.tuple_of([x, g.op("Neg", x)])], (KIND, TensorType((3,), INT64)))
    places = g.tuple_get_item(made, 1)
    picked = g.node("Gather", [g.tuple_get_item(made, 0), places, g.constant(2), g.constant(0)], KIND_OF_THREE)
    return g.concat([picked, picked], 2)


KIND_OF_THREE = TensorType((2, 4, 3, 16), FLOAT16)


def between(build: Build) -> Model:
    """Two attentions, and what is built between them."""
    g = GraphBuilder("between")
    x = g.input("x", DIMS, FLOAT16)
    g.output(g.add(attends(g, build(g, attends(g, x, "first")), "second"), x))
    return g.model()


def fused(model: Model) -> Model:
    copy = ModelProto()
    copy.CopyFrom(model.proto)
    made = Model(copy)
    assert [site.status for site in fuse(made)] == ["fused", "fused"]
    return made


def checked(before: Model, after: Model, folder: Path, *data: Path) -> Found:
    where = folder / "m.mindir"
    request = Request(name="m", original=where, fused=where, seed=0, work=folder, data=data)
    return check_numbers(before, after, request, {})


@pytest.mark.parametrize(("build", "op"), [(invented, "Invented"), (pair_of_results, "Torn")])
def test_what_is_before_and_behind_is_verified(build: Build, op: str, tmp_path: Path) -> None:
    model = between(build)
    found = checked(model, fused(model), tmp_path)
    assert found.findings == []
    (text,) = found.not_verified
    assert text.startswith(f"{op} CNode_")
    assert "no rule for this operator: taken for the same in both" in text
    assert len(found.sites) == 2
    assert all(site.drawn for site in found.sites)
    assert len(found.outputs) >= 2  # the graph's, and what goes into the node


def scaled_wrongly(model: Model, number: int) -> Model:
    """The scale of one fused node made another."""
    node = [node for node in model.nodes if node.op == "FlashAttentionScore"][number]
    position = next(i for i, v in enumerate(node.inputs) if model.is_literal(v) and model.literal(v) == 0.25)
    proto = model.proto
    wrong = proto.graph.node.add(name="wrong", op_type="Constant", output=["wrong"])
    fill_literal(wrong.attribute.add(name="value"), 0.5)
    proto.graph.node.insert(0, wrong)
    del proto.graph.node[-1]
    next(m for m in proto.graph.node if m.output[0] == node.name).input[position] = "wrong"
    return Model(proto)


@pytest.mark.parametrize("number", [0, 1])
def test_a_mistake_on_either_side_of_it_is_found(number: int, tmp_path: Path) -> None:
    model = between(invented)
    found = checked(model, scaled_wrongly(fused(model), number), tmp_path)
    assert any(text.startswith("output ") for text in found.findings)
    assert any(text.startswith("site ") for text in found.findings)


def test_it_is_held_to_its_operands(tmp_path: Path) -> None:
    """A rewrite that gives the node another tensor of that type is found: nothing else reads what it is given."""
    model = between(invented)
    after = fused(model)
    message = next(n for n in after.proto.graph.node if n.op_type.startswith("REF::Invented"))
    message.input[0] = after.proto.graph.input[0].name
    found = checked(model, Model(after.proto), tmp_path)
    assert any(text.startswith("output CNode_") for text in found.findings)


@pytest.mark.parametrize("literal", [4, 3.0])
def test_with_another_argument_it_is_another_node(literal: float, tmp_path: Path) -> None:
    """Nothing is known of it then, and it says so; what is around it is verified all the same."""
    model = between(invented)
    after = fused(model)
    message = next(n for n in after.proto.graph.node if n.op_type.startswith("REF::Invented"))
    constant = after.proto.graph.node.add(name="other", op_type="Constant", output=["other"])
    fill_literal(constant.attribute.add(name="value"), literal)
    after.proto.graph.node.insert(0, constant)
    del after.proto.graph.node[-1]
    next(n for n in after.proto.graph.node if n.output[0] == message.output[0]).input[1] = "other"
    found = checked(model, Model(after.proto), tmp_path)
    assert found.findings == []
    assert any("Invented" in text and "was replaced, and one of the two" in text for text in found.not_verified)


def with_another_operator(model: Model, old: str, new: str) -> Model:
    """The nodes of one operator as those of another, as a rewrite of one's own would write them."""
    message = next(n for n in model.proto.graph.node if n.op_type.startswith(f"REF::{old}:"))
    message.op_type = f"REF::{new}:0"
    model.proto.primitives.add(name=f"{new}:0", op_type=new, prim_type=PRIMITIVE)
    return Model(model.proto)


@pytest.mark.parametrize("ops", [("Sigmoid", "Invented"), ("Invented", "Sigmoid")])
def test_a_replacement_that_cannot_be_run_is_told_and_the_rest_is_verified(
    ops: tuple[str, str], tmp_path: Path
) -> None:
    model = between(lambda g, x: g.node(ops[0], [x], KIND))
    after = with_another_operator(fused(model), *ops)
    found = checked(model, after, tmp_path)
    assert found.findings == []
    (text,) = found.not_verified
    assert text.startswith(f"{ops[0]} CNode_")
    assert "was replaced, and one of the two cannot be run: Invented" in text
    assert len(found.sites) == 2
    assert checked(model, scaled_wrongly(after, 1), tmp_path).findings


def test_a_replacement_that_its_rule_refuses_is_a_finding(tmp_path: Path) -> None:
    """No rewrite may write it: a norm that tells no order, here."""
    model = between(lambda g, x: g.node("Neg", [x], KIND))
    found = checked(model, with_another_operator(fused(model), "Neg", "LinalgVectorNorm"), tmp_path)
    assert any("cannot be run" in text for text in found.findings)


def test_sites_are_run_alone_where_the_graph_cannot_be(tmp_path: Path) -> None:
    """What changes memory cannot be taken out."""
    model = between(lambda g, x: g.node("InplaceInvented", [g.op("Neg", x), g.monad()], KIND))
    after = fused(model)
    found = checked(model, after, tmp_path)
    assert found.findings == []
    assert found.outputs == []
    (text,) = found.not_verified
    assert text.startswith("the graph as a whole, only sites and replaced operators were run")
    assert len(found.sites) == 2
    wrong = checked(model, scaled_wrongly(after, 1), tmp_path)
    assert all(text.startswith("site ") for text in wrong.findings)
    assert wrong.findings


def test_given_inputs_leave_the_values_in_its_place_to_be_drawn(tmp_path: Path) -> None:
    model = between(invented)
    np.savez(tmp_path / "given.npz", x=np.ones(DIMS, np.float16))
    found = checked(model, fused(model), tmp_path, tmp_path / "given.npz")
    assert found.findings == []
    assert len(found.data) == 1
    assert len(found.not_verified) == 1


def test_a_graph_that_can_be_run_has_no_gaps(tmp_path: Path) -> None:
    model = between(lambda g, x: g.op("Neg", x))
    found = checked(model, fused(model), tmp_path)
    assert found.findings == []
    assert found.not_verified == []
