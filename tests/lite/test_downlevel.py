"""The writer of version 1: what moves, what goes, what stays. Needs no MindSpore Lite."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from attnfuse.ir.graph import Model, read_literal
from attnfuse.ir.types import Literal, TensorType
from attnfuse.mindir.dtypes import FLOAT32, INT64
from attnfuse.mindir.schema import ModelProto
from attnfuse.verify.numbers.weights import drawn_weights, stored_weights
from tests.lite import worker
from tests.lite.downlevel import EXPANSIONS, HELD, down_level
from tests.support.graphs import GraphBuilder, operators


def written(g: GraphBuilder, *, plain: tuple[str, ...] = ()) -> ModelProto:
    model = g.model()
    return down_level(model, stored_weights(model.proto, Path()), plain=plain)


def attributes(proto: ModelProto, op: str) -> dict[str, Literal]:
    (primitive,) = (p for p in proto.primitives if p.op_type == op)
    return {a.name: read_literal(a) for a in primitive.attribute}


def test_scalar_arguments_become_attributes() -> None:
    g = GraphBuilder()
    x = g.softmax(g.batch_matmul(g.input("q", (2, 4, 8)), g.input("k", (2, 4, 8)), transpose_b=True))
    g.output(g.strided_slice(x, (0, 0, 0), (1, 4, 4)))
    proto = written(g)
    assert proto.mind_ir_version == 1
    assert attributes(proto, "BatchMatMul") == {"transpose_a": False, "transpose_b": True}
    assert attributes(proto, "Softmax") == {"axis": (-1,)}
    assert attributes(proto, "StridedSlice")["begin_mask"] == 0
    nodes = {n.op_type.partition("REF::")[2].partition(":")[0]: n for n in proto.graph.node}
    assert [len(nodes[op].input) for op in ("BatchMatMul", "Softmax", "StridedSlice")] == [2, 1, 4]
    assert not any(p.HasField("prim_type") for p in proto.primitives)


def test_effects_go_and_weights_are_read_by_name() -> None:
    g = GraphBuilder()
    g.output(g.add(g.input("x", (4, 8)), g.weight("bias", (8,))))
    proto = written(g)
    assert operators(Model(proto)) == ["Add"]
    (parameter,) = proto.graph.parameter
    assert proto.graph.node[0].input[1] == parameter.name
    assert proto.graph.output[0].name == proto.graph.node[0].output[0]
    assert len(parameter.raw_data) == 32


def test_weights_that_the_file_does_not_hold_are_written_into_it() -> None:
    g = GraphBuilder(weights=False)
    g.output(g.add(g.input("x", (4, 8)), g.weight("bias", (8,))))
    model = g.model()
    with pytest.raises(ValueError, match="bias has no value"):
        down_level(model, stored_weights(model.proto, Path()))
    assert len(down_level(model, drawn_weights(1)).graph.parameter[0].raw_data) == 32


def test_an_argument_of_a_table_must_be_constant() -> None:
    g = GraphBuilder()
    x = g.input("x", (4, 8))
    axis = g.input("axis", (1,), INT64)
    g.output(g.node("Softmax", [x, axis], TensorType((4, 8), FLOAT32)))
    with pytest.raises(ValueError, match="axis is not constant"):
        written(g)


def test_ways_round_are_taken_unless_told_otherwise() -> None:
    g = GraphBuilder()
    x = g.input("x", (4, 8))
    g.output(g.op("Rsqrt", g.op("SiLU", x)))
    model = g.model()
    assert operators(Model(down_level(model, drawn_weights(1)))) == ["Sigmoid", "Mul", "Sqrt", "Div"]
    plain = down_level(model, drawn_weights(1), plain=("SiLU", "Rsqrt"))
    assert operators(Model(plain)) == ["SiLU", "Rsqrt"]


def test_no_two_nodes_have_the_same_full_name() -> None:
    g = GraphBuilder()
    x = g.input("x", (4, 8))
    for _ in range(3):
        x = g.op("Cos", g.op("GeLU", x))
    g.output(x)
    names = [n.domain for n in written(g).graph.node if n.op_type != "Constant"]
    assert len(names) == len(set(names)) > 20


def test_the_same_graph_gives_the_same_bytes() -> None:
    def once() -> bytes:
        g = GraphBuilder()
        g.output(g.op("GeLU", g.add(g.input("x", (4, 8)), g.weight("bias", (8,)))))
        return written(g).SerializeToString(deterministic=True)

    assert once() == once()


def test_each_way_round_has_its_limit_shown() -> None:
    limits = Path(__file__).with_name("test_limits.py").read_text(encoding="utf-8")
    for op in EXPANSIONS:
        assert re.search(rf'plain=\(?"{op}"', limits), op
    for op in HELD:
        assert re.search(rf'LOST = .*"{op}"', limits), op


def test_the_worker_is_python_3_7() -> None:
    ast.parse(Path(worker.__file__).read_text(encoding="utf-8"), feature_version=(3, 7))
