"""Parts of graphs are graphs: whatever is left out, what is left says what it said before, without the weights."""

from __future__ import annotations

import random

import pytest

from attnfuse.component import Component
from attnfuse.ir.graph import Model
from attnfuse.ir.text import parse_model, print_model
from attnfuse.ir.verifier import Verifier
from attnfuse.mindir import codec, external
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import ModelProto
from attnfuse.policy import Policy
from attnfuse.reduction.errors import Compile
from attnfuse.reduction.jobs import Values, error
from attnfuse.reduction.merging import merged_inputs, merged_weights
from attnfuse.reduction.parts import Cutter, alone, node_count
from attnfuse.targets import Target
from attnfuse.verify.graph.structure import check_interface
from tests.reduction.faults import Crash
from tests.support.functions import DIMS, attends, call, function
from tests.support.graphs import GraphBuilder, transformer
from tools.corpus import store


def ops(graph: ModelProto) -> list[str]:
    return [node.op for node in Model(graph).nodes if node.op != "Constant"]


@pytest.mark.parametrize("name", ["unet_sd15-float16", "llama_flash-float16", "controlnet-float32"])
def test_a_part_is_a_sound_graph(name: str) -> None:
    whole = Model(codec.parse(store.read(name), name))
    cutter = Cutter(whole)
    chosen = random.Random(0)
    for count in (1, 2, 5, 20, 100, len(cutter.names) - 1, len(cutter.names)):
        part = cutter.part(chosen.sample(cutter.names, count))
        if part is None:
            continue
        model = Model(part)
        assert list(Verifier(model).source_faults()) == []
        assert check_interface(model, model) == []
        assert codec.serialise(parse_model(print_model(part))) == codec.serialise(part)
        assert not any(map(external.has_data, model.parameters()))
        assert {given.name for given in part.graph.input} <= {node.name for node in whole.nodes} | {
            given.name for given in whole.proto.graph.input
        }


def test_a_tuple_comes_with_the_node_that_makes_it() -> None:
    g = GraphBuilder()
    halves = g.split_with_size(g.op("Neg", g.input("x", (2, 8))), (4, 4), 1)
    g.output(g.add(*halves))
    cutter = Cutter(g.model())
    get, split = (
        next(node.name for node in cutter.model.nodes if node.op == op) for op in ("TupleGetItem", "SplitWithSize")
    )
    part = cutter.part([get])
    assert part is not None
    assert ops(part) == ["SplitWithSize", "TupleGetItem"]
    assert len(part.graph.input) == len(part.graph.output) == 1
    assert cutter.part([split]) is None  # a tuple is no output


def test_the_order_of_effects_is_kept_between_what_is_left() -> None:
    model = Model(codec.parse(store.read("llama_flash-float16"), "llama"))
    cutter = Cutter(model)
    loads = [node.name for node in model.nodes if node.op == "Load"][:2]
    part = cutter.part(loads)
    assert part is not None
    assert ops(part) == ["Load", "Load"]
    states = {node.inputs[1] for node in Model(part).nodes if node.op == "Load"}
    assert len(states) == 1  # that before any effect
    whole = cutter.part(cutter.names)
    assert whole is not None
    assert ops(whole) == ops(model.proto)


def test_what_the_format_is_goes_along_and_nothing_else_of_the_file() -> None:
    model = transformer().model()
    model.proto.user_info.add(key="author", value="somebody")
    cutter = Cutter(model)
    part = cutter.part(cutter.names)
    assert part is not None
    assert not part.user_info
    assert (part.mind_ir_version, part.model_version) == (model.proto.mind_ir_version, model.proto.model_version)
    assert {entry.op_type for entry in part.primitives} == set(ops(part))


def with_function() -> ModelProto:
    g = GraphBuilder("unet")
    x = g.input("x", DIMS, FLOAT16)
    g.output(g.op("Neg", call(g, "block", 1, x, g.weight("attn.to_q.weight", (2, 4, 16, 16), FLOAT16))))
    function(g, "block", attends, "layer", 100)
    return g.build()


def test_a_function_is_tried_alone() -> None:
    proto = with_function()
    (body,) = alone(proto)
    assert "Softmax" in ops(body)
    assert not body.functions
    assert list(Verifier(Model(body)).source_faults()) == []


def test_a_fault_in_a_function_is_found() -> None:
    component = Component(
        name="unet", owner="unet", where="unet", data=codec.serialise(with_function()), graph_name="unet.mindir"
    )

    class InFunctions(Crash):
        def run(self, model: Model, context: object) -> bool:
            if any(node.op == "Softmax" and node.graph is not model.proto.graph for node in model.nodes):
                raise KeyError
            return False

    job = error(
        [Compile(component, Policy(), Target("lite", "ascend910b"), [InFunctions()])], Values("none", 0), str, print
    )
    job.run()
    assert node_count(job.search.best[0]) < node_count(component.parse())


def test_inputs_and_weights_of_one_type_become_one() -> None:
    g = GraphBuilder("unet", weights=False)
    x, y = g.input("x", (2, 8), FLOAT16), g.input("y", (2, 8), FLOAT16)
    g.input("z", (2, 8))
    g.output(g.add(g.dense(x, "a", 8, bias=False), g.dense(y, "b", 8, bias=False)))
    ((inputs,),) = merged_inputs((g.build(),))
    assert [given.name.rpartition(":")[2] for given in inputs.graph.input] == ["x", "z"]
    assert ops(inputs).count("Dense") == 2
    ((both,),) = merged_weights((inputs,))
    assert [p.name.rpartition(":")[2] for p in both.graph.parameter] == ["a.weight"]
    assert ops(both).count("Dense") == ops(both).count("Load") == 1
    assert list(Verifier(Model(both)).source_faults()) == []


def test_a_weight_that_the_rewrite_edits_is_edited_anew() -> None:
    """Of two weights that become one, what was made of the second is made of the first."""
    graphs = []
    for edit in ("", "__pad_0_2_4"):
        g = GraphBuilder("unet", weights=False)
        x, y = g.input("x", (2, 8), FLOAT16), g.input("y", (2, 8), FLOAT16)
        size = 16 if edit else 8
        for value, name in ((x, "a"), (y, "b")):
            weight = g.weight(f"{name}.weight{edit if name == 'b' else ''}", (size if name == "b" else 8, 8), FLOAT16)
            g.output(g.matmul_ext(value, g.transpose(weight, (1, 0))))
        graphs.append(g.build())
    ((original, fused),) = merged_weights(graphs)
    assert [p.name.rpartition(":")[2] for p in original.graph.parameter] == ["a.weight"]
    assert [p.name.rpartition(":")[2] for p in fused.graph.parameter] == ["a.weight", "a.weight__pad_0_2_4"]
    assert [list(p.dims) for p in fused.graph.parameter] == [[8, 8], [16, 8]]
