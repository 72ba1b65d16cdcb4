"""Names that vary between traces are replaced; what refers to them follows; everything else stays."""

from __future__ import annotations

import random

from attnfuse.mindir.schema import ModelProto, PrimitiveProto
from attnfuse.tracing.canonical import canonicalise


def traced(
    graph: str, hints: list[str], phase: str, attributes: list[str], primitives: tuple[str, ...] = ("Load:2", "Add:3")
) -> ModelProto:
    """A two-node graph as MindSpore names it: after a counter, and after Python variables in any order."""
    model = ModelProto(ir_version="0.1.1", mind_ir_version=3)
    for name in primitives:  # in the order of their addresses
        model.primitives.add(name=name, op_type=name.partition(":")[0], prim_type=PrimitiveProto.PRIMITIVE)
    model.graph.name = graph
    model.graph.bprop_filepath = "/home/somebody/bprop"
    for name in attributes:
        model.graph.attribute.add(name=name, s=phase.encode() if name == "compile_phase" else b"same")
    model.graph.input.add(name=f"{graph}:sample")
    model.graph.parameter.add(name=f"{graph}:conv.weight")
    constant = f"ValueNode_53${'$'.join(hints)}"
    model.graph.node.add(op_type="Constant", name=constant, output=[constant])
    loaded = f"{graph}:CNode_54${'$'.join(hints)}:1"
    model.graph.node.add(
        op_type="REF::Load:2",
        name=loaded,
        input=[f"{graph}:conv.weight", constant, f"{graph}:sample"],
        output=[loaded],
        domain="Default/vae-AutoencoderKL/Load-op0",
    )
    model.graph.output.add(name=loaded)
    return model


def test_two_traces_become_one() -> None:
    one = traced("847_846_1_W_construct_52", ["x", "hidden"], "export.mindir.1795.7f0", ["phase", "compile_phase"])
    two = traced(
        "12_W_construct_9", ["hidden", "x"], "export.mindir.42.7fff", ["compile_phase", "phase"], ("Add:3", "Load:2")
    )
    for model in (one, two):
        canonicalise(model, "vae_decoder")
    assert one.SerializeToString(deterministic=True) == two.SerializeToString(deterministic=True)


def test_names_after_place_and_operator() -> None:
    model = traced("847_1_W_construct_52", ["x"], "export.mindir.1", ["compile_phase"])
    canonicalise(model, "vae_decoder")
    graph = model.graph
    assert graph.name == "vae_decoder"
    assert [value.name for value in graph.input] == ["vae_decoder:sample"]
    assert [value.name for value in graph.parameter] == ["vae_decoder:conv.weight"]
    assert [value.name for value in graph.output] == ["vae_decoder:Load_1:1"]
    assert [(node.name, list(node.input), list(node.output)) for node in graph.node] == [
        ("vae_decoder:Constant_0:0", [], ["vae_decoder:Constant_0:0"]),
        (
            "vae_decoder:Load_1:1",
            ["vae_decoder:conv.weight", "vae_decoder:Constant_0:0", "vae_decoder:sample"],
            ["vae_decoder:Load_1:1"],
        ),
    ]
    assert graph.node[1].domain == "Default/vae-AutoencoderKL/Load-op0"
    assert graph.attribute[0].s == b"export.mindir"
    assert not graph.bprop_filepath


def test_functions_keep_the_names_that_nodes_call_them_by() -> None:
    model = traced("9_W_construct_1", ["x"], "export.mindir.1", [])
    function = model.functions.add(name="loop_7")
    function.parameter.add(name="loop_7:count")
    function.node.add(op_type="Constant", name="ValueNode_99", output=["ValueNode_99"])
    function.output.add(name="ValueNode_99")
    canonicalise(model, "unet")
    assert function.name == "loop_7"
    assert function.parameter[0].name == "loop_7:count"
    assert function.output[0].name == function.node[0].output[0] == "loop_7:Constant_2:2"


def test_a_call_of_a_value_follows_its_new_name() -> None:
    model = traced("9_W_construct_1", ["x"], "export.mindir.1", [])
    closure = "9_W_construct_1:CNode_60:2"
    model.graph.node.add(op_type="REF::Add:3", name=closure, output=[closure])
    model.graph.node.add(op_type=f"REF::{closure}", name="9_W_construct_1:CNode_61:3", output=["CNode_61:3"])
    canonicalise(model, "unet")
    made, call = model.graph.node[-2:]
    assert call.op_type == f"REF::{made.output[0]}" == "REF::unet:Add_2:2"
    assert call.output[0] == "unet:call_3:3"


def test_addresses_of_shared_memory_become_numbers() -> None:
    models = []
    for first, second in (("0x562656a805104", "0x562650f1eb805"), ("0x55c168c542b04", "0x55c161e106005")):
        model = traced("9_W", ["x"], "", [])
        shape = model.graph.node[1].attribute.add(name="shape")
        for address in (first, second, first, "conv.weight"):
            shape.values.add().tensors.add(ref_key=address)
        canonicalise(model, "unet")
        models.append(model)
    assert models[0] == models[1]
    keys = [value.tensors[0].ref_key for value in models[0].graph.node[1].attribute[-1].values]
    assert keys == ["memory_0", "memory_1", "memory_0", "conv.weight"]


def test_parameters_with_a_colon_keep_it() -> None:
    model = traced("9_W", ["x"], "", [])
    model.graph.parameter.add(name="9_W:odd:name")
    canonicalise(model, "unet")
    assert model.graph.parameter[1].name == "unet:odd:name"


def test_names_stay_unique() -> None:
    model = traced("9_W", ["x"], "", [])
    for i in random.Random(3).sample(range(1000), 200):
        model.graph.node.add(op_type="REF::Load:2", name=f"9_W:CNode_{i}:5", output=[f"9_W:CNode_{i}:5"])
    canonicalise(model, "unet")
    names = [output for node in model.graph.node for output in node.output]
    assert len(set(names)) == len(names) == 202
