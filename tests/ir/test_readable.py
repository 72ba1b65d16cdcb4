"""Sizes that no tensor has, and bytes that are not as many as they say, are told with the value's name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import Model, attribute, tensor_type
from attnfuse.ir.verifier import Fault, Verifier
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto, NodeProto, TensorProto
from tests.support.graphs import GraphBuilder, transformer
from tools.corpus import store


def message() -> ModelProto:
    """y = (x + constant) · weight."""
    g = GraphBuilder()
    g.output(g.mul(g.add(g.input("x", (2, 3)), g.constant(np.ones((2, 3), np.float32))), g.weight("w", (3,))))
    return g.build()


def constant(proto: ModelProto) -> TensorProto:
    return next(n.attribute[0].tensors[0] for n in proto.graph.node if n.name.startswith("Parameter"))


def result(proto: ModelProto, op: str) -> TensorProto:
    node = next(n for n in proto.graph.node if n.op_type == f"REF::{op}:0")
    shape = attribute(node, "shape")
    assert shape is not None
    return shape.tensors[0]


def resize(tensor: TensorProto, *dims: int) -> None:
    tensor.dims[:] = dims


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda m: resize(result(m, "Add"), 2, -3), "Add CNode_1:1 is declared a tensor of a dimension of -3."),
        (lambda m: resize(result(m, "Add"), 2, -2), "Add CNode_1:1 is declared a tensor of a dimension of -2."),
        (lambda m: resize(m.graph.input[0].tensor[0], 1 << 62, 4), f"input x is declared a tensor of {1 << 66} bytes."),
        (lambda m: resize(m.graph.input[0].tensor[0], 0, 1 << 62), f"input x is declared a tensor of {1 << 64} bytes."),
        (lambda m: resize(m.graph.output[0].tensor[0], *[1] * 33), "declared a tensor of 33 axes."),
        (lambda m: resize(m.graph.parameter[0], -5), "parameter w is declared a tensor of a dimension of -5."),
        (
            lambda m: resize(constant(m), 2, 4),
            "Constant Parameter_0 is declared float32[2, 4], which takes 32 bytes, and holds 24.",
        ),
    ],
)
def test_what_cannot_be_is_told(damage: Callable[[ModelProto], None], told: str) -> None:
    proto = message()
    damage(proto)
    fault = next(Verifier(Model(proto)).source_faults())
    assert fault.endswith(told)


def test_a_weight_that_an_edit_adds_is_looked_at() -> None:
    source = Model(message())
    verifier, model = Verifier(source), source.copy()
    edit, node = Edit(model), next(node for node in model.nodes if node.op == "Mul")
    edit.new_weights["graph:v"] = TensorProto(name="graph:v", data_type=1, dims=[-5])
    written = NodeProto()
    written.CopyFrom(node.proto)
    written.input[1] = "graph:v"
    edit.replace[node.name] = written
    edit.apply()
    assert verifier.fault(model, {}) == Fault("parameter v is declared a tensor of a dimension of -5.")


def test_an_unknown_rank_is_no_damage_and_no_type() -> None:
    proto = message()
    resize(result(proto, "Add"), -2)
    model = Model(proto)
    assert list(Verifier(model).source_faults()) == []
    assert model.type_of(next(n.name for n in model.nodes if n.op == "Add")) is None


@pytest.mark.parametrize("dims", [(-3,), (1 << 62,), (1,) * 33])
def test_a_shape_that_is_none_is_no_type(dims: tuple[int, ...]) -> None:
    assert tensor_type(TensorProto(dims=dims, data_type=1)) is None


def test_sound_graphs_have_no_fault() -> None:
    assert list(Verifier(transformer().model()).source_faults()) == []
    for name in store.names():
        assert list(Verifier(Model(codec.parse(store.read(name), name))).source_faults()) == []
