"""Weights that a pass asks for edited: what the graph then has, and what is refused before anything is written."""

from __future__ import annotations

import re

import numpy as np
import pytest

from attnfuse.ir.builder import Builder, NotWritableError
from attnfuse.ir.check import check_graph
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import Model, Node, read_tensor
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32
from attnfuse.mindir.edits import Cut, Pad, WeightEdits
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.values import WeightValues
from attnfuse.verify.graph.structure import check_interface
from tests.support.graphs import GraphBuilder

PADDED = WeightEdits(pads=(Pad(0, 2, 3),))


def projection() -> tuple[Model, Node]:
    """A Dense of a weight [8, 6] with a bias, and its node."""
    g = GraphBuilder("unet")
    x = g.input("x", (2, 6), FLOAT16)
    made = g.dense(x, "to_q", 8, bias=True)
    g.output(made)
    model = g.model()
    node = model.producer(made)
    assert node is not None
    return model, node


def names(model: Model) -> list[str]:
    return [parameter_name(p) for p in model.parameters()]


def rewritten(edits: WeightEdits) -> tuple[Model, Model]:
    """The projection, and the same with its weight and bias edited where they are read."""
    before, (after, node) = projection()[0], projection()
    edit = Edit(after)
    b = Builder(edit, node, "site")
    wide = b.op("Dense", node.inputs[0], *(b.weight(value, edits) for value in node.inputs[1:]))
    b.finish(b.take_last(wide, 8))
    edit.apply()
    return before, after


def test_an_edited_weight_is_a_second_one_of_its_own_type() -> None:
    before, after = rewritten(PADDED)
    assert names(after) == [*names(before), "to_q.weight__pad_0_2_3", "to_q.bias__pad_0_2_3"]
    added = list(after.parameters())[-2]
    assert list(added.dims) == [14, 6]
    assert added.ref_key == "to_q.weight__pad_0_2_3"  # parameters of one key are one to MindSpore
    assert not added.raw_data
    assert check_graph(after) == []
    assert check_interface(before, after) == []
    dense = next(node for node in after.nodes if node.op == "Dense")
    assert after.type_of(dense.name) == TensorType((2, 14), FLOAT16)


def test_it_is_entered_once_and_edited_on() -> None:
    model, node = projection()
    edit = Edit(model)
    b = Builder(edit, node, "site")
    once, again = b.weight(node.inputs[1], PADDED), b.weight(node.inputs[1], PADDED)
    assert once != again  # each is a Load of its own
    assert len(edit.new_weights) == 1
    (name,) = edit.new_weights
    other = b.weight(name, WeightEdits(cuts=(Cut(1, 0, 2),)))
    assert other.endswith(":to_q.weight__pad_0_2_3_cut_1_0_2")
    assert b.type_of(other) == TensorType((14, 2), FLOAT16)


def test_what_nothing_reads_is_not_entered() -> None:
    model, node = projection()
    before = model.proto.SerializeToString(deterministic=True)
    edit = Edit(model)
    Builder(edit, node, "dropped").weight(node.inputs[1], PADDED)
    edit.apply()
    assert model.proto.SerializeToString(deterministic=True) == before


def test_passes_see_edited_values() -> None:
    before, after = rewritten(PADDED)
    name = list(after.parameters())[-2].name
    values = WeightValues(before.proto)
    found = values(name)
    assert found is not None
    own = read_tensor(next(before.parameters()))
    np.testing.assert_array_equal(found[[0, 1, 2, 3, 7, 8, 9, 10]], own)
    assert not found[[4, 5, 6, 11, 12, 13]].any()
    assert [asked for asked, _ in values.asked] == ["to_q.weight"]


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        (WeightEdits(pads=(Pad(0, 3, 1),)), r"has no 3 groups on axis 0 of \[8, 6\]"),
        (WeightEdits(BFLOAT16), "of float16 cannot be bfloat16 without being rounded"),
    ],
)
def test_edits_that_a_weight_does_not_take(edits: WeightEdits, told: str) -> None:
    model, node = projection()
    with pytest.raises(NotWritableError, match=told):
        Builder(Edit(model), node, "site").weight(node.inputs[1], edits)


def test_a_weight_in_a_wider_type() -> None:
    model, node = projection()
    b = Builder(Edit(model), node, "site")
    assert b.type_of(b.weight(node.inputs[2], WeightEdits(FLOAT32))) == TensorType((8,), FLOAT32)


def test_what_is_no_weight_is_not_edited() -> None:
    model, node = projection()
    b = Builder(Edit(model), node, "site")
    for value in (node.inputs[0], node.name):
        with pytest.raises(NotWritableError, match="no weight"):
            b.weight(value, PADDED)


def test_numbers_that_are_listed_one_by_one_are_not_edited() -> None:
    model, node = projection()
    parameter = next(model.parameters())
    parameter.ClearField("raw_data")
    parameter.float_data.extend([0.0] * 48)
    with pytest.raises(NotWritableError, match="otherwise than as bytes"):
        Builder(Edit(model), node, "site").weight(node.inputs[1], PADDED)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda p: p.dims.__setitem__(0, 15), r"to_q.weight__pad_0_2_3 is float16\[15, 6\]"),
        (lambda p: setattr(p, "name", p.name.replace("pad_0_2_3", "pad_0_3_3")), "has no 3 groups"),
        (lambda p: setattr(p, "name", p.name.replace("to_q", "to_k")), "to_k.weight__pad_0_2_3 is new"),
        (lambda p: setattr(p, "raw_data", bytes(2 * 14 * 6)), "holds other values than what it is made of"),
    ],
)
def test_a_weight_that_is_not_what_its_name_says_is_found(spoil, told: str) -> None:  # type: ignore[no-untyped-def]
    before, after = rewritten(PADDED)
    spoil(list(after.parameters())[-2])
    findings = check_interface(before, after)
    assert any(re.search(told, finding) for finding in findings), findings
