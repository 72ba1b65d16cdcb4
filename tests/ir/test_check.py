"""The verifier: what it finds in graphs that are wrong, and that no message makes it raise."""

from __future__ import annotations

from random import Random

import pytest

from attnfuse.errors import SourceError
from attnfuse.ir.check import Checker, Sort, check_graph
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir import codec, dtypes
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.mindir.schema import AttributeProto, ModelProto
from tests.support.graphs import PRIMITIVE, GraphBuilder, transformer
from tools.corpus import store


def found(g: GraphBuilder, *outputs: str) -> list[str]:
    g.output(*outputs)
    return [finding.sentence for finding in check_graph(g.model())]


def test_a_right_graph_has_no_findings() -> None:
    assert check_graph(transformer().model()) == []


def test_a_declared_type_is_held_to_the_inferred_one() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3), FLOAT16)
    y = g.node("Mul", [x, x], TensorType((2, 3), FLOAT32))
    z = g.node("Transpose", [y, g.constant((1, 0))], TensorType((2, 3), FLOAT32))
    (finding, other) = check_graph(finished(g, z))
    assert str(finding) == "Mul CNode_1:1 is declared float32[2, 3] and gives float16[2, 3]."
    assert finding.node == y
    assert other.sentence == "is declared float32[2, 3] and gives float32[3, 2]"


def finished(g: GraphBuilder, *outputs: str) -> Model:
    g.output(*outputs)
    return g.model()


def test_open_sizes_contradict_nothing() -> None:
    g = GraphBuilder()
    x = g.input("x", (-1, 3), FLOAT16)
    assert found(g, g.node("Mul", [x, x], TensorType((4, -1), FLOAT16))) == []


def test_a_node_that_an_edit_leaves_is_judged_again_where_it_reads_another_type() -> None:
    g = GraphBuilder()
    x, z = g.input("x", (2,)), g.input("z", (3,))
    first = g.op("Neg", x)
    last = g.op("Abs", g.op("Add", first, x))
    g.output(last)
    source, checker = g.model(), Checker()
    assert checker.check(source) == []
    model = source.copy()
    for value, becomes in ((first, z), (z, x)):
        edit = Edit(model)
        edit.rename[value] = becomes
        edit.apply()
        assert checker.check(model) == check_graph(model)
    assert checker.check(model) == []


def test_operands_must_go_together() -> None:
    g = GraphBuilder()
    x, y = g.input("x", (2, 3), FLOAT16), g.input("y", (2, 4), FLOAT16)
    tensor_type = TensorType((2, 3), FLOAT16)
    assert found(g, g.node("Add", [x, y], tensor_type)) == ["has operands of [2, 3] and [2, 4], which do not broadcast"]


def test_arguments_are_counted() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3), FLOAT16)
    tensor_type = TensorType((2, 3), FLOAT16)
    values = [g.node("Softmax", [x, *map(g.constant, more)], tensor_type) for more in ((), (-1, 2), (0.5,), (7,))]
    assert found(g, *values) == [
        "has 3 arguments; it takes 1 to 2",
        "has 0.5 as its axis; it takes whole numbers",
        "has 7 as its axis, and a tensor of 2 axes",
    ]


def test_a_node_without_a_type_is_found() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3), FLOAT16)
    model = finished(g, g.node("Unheard", [x], TensorType((2, 3), FLOAT16)))
    assert check_graph(model) == []
    del model.nodes[-1].proto.attribute[:]
    assert [finding.sentence for finding in check_graph(model)] == ["has no type"]


def test_inputs_are_defined_before_their_node() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3), FLOAT16)
    g.output(g.add(g.muls(x, 2.0), x))
    model = g.model()
    model.nodes.sort(key=lambda node: node.op != "Add")
    (finding,) = check_graph(model)
    assert finding.sentence == "uses CNode_1:1, which nothing before it defines"


# --- effects


def written(g: GraphBuilder, x: str, y: str) -> str:
    return g.node("InplaceAddExt", [x, y, g.constant(1), g.monad()], g.type_of(x))


def tied(g: GraphBuilder, value: str) -> str:
    """The value, its effect made part of the order."""
    state = g.node("UpdateState", [g.monad(), value], None, primitive=PRIMITIVE)
    return g.node("Depend", [value, state], g.type_of(value), primitive=PRIMITIVE)


def test_a_change_of_memory_is_tied_into_the_order() -> None:
    for is_tied, expected in ((True, []), (False, ["changes memory, and nothing orders what follows behind it"])):
        g = GraphBuilder()
        x, y = (g.add(g.input(name, (2, 3), FLOAT16), g.input(f"{name}1", (2, 3), FLOAT16)) for name in "xy")
        value = written(g, x, y)
        assert found(g, tied(g, value) if is_tied else value) == expected


def test_a_change_of_memory_needs_a_monad() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3), FLOAT16)
    value = g.node("InplaceAddExt", [x, x, g.constant(1)], g.type_of(x))
    assert found(g, value) == ["changes memory, and no monad orders it"]


def test_an_order_leads_somewhere() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3), FLOAT16)
    y = g.add(x, x)
    value = written(g, y, x)
    g.node("UpdateState", [g.monad(), value], None, primitive=PRIMITIVE)
    assert found(g, value) == ["orders effects, and nothing needs the order"]


def test_two_who_touch_the_same_memory_are_ordered() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3), FLOAT16)
    y = g.add(x, x)
    first = tied(g, written(g, y, x))
    second = written(g, y, x)
    (one, other) = found(g, first, tied(g, second))
    assert one.startswith("changes memory, and nothing orders it before or behind CNode_")
    assert other.startswith("changes memory, and nothing orders it before or behind CNode_")


# --- functions


def test_values_of_other_graphs_and_wrong_arguments_are_found() -> None:
    """cogvideox calls its blocks. (A call with another number of arguments is none: see `Model`.)"""
    model = parsed("cogvideox-bfloat16")
    assert check_graph(model) == []
    proto = model.proto
    call = next(node for node in model.nodes if node.op == "<call>")
    inside = next(node for node in proto.functions[0].node if node.op_type != "Constant" and node.input)
    call.proto.input[0] = call.proto.input[-1]
    outer = next(node.name for node in model.nodes if node.op == "Dense" and node.graph.name == proto.graph.name)
    inside.input[0] = outer
    sentences = [finding.sentence for finding in check_graph(Model(proto))]
    assert any(sentence.endswith("which is of another graph") for sentence in sentences)
    assert any(sentence.startswith("gives ") for sentence in sentences)


def test_a_tensor_is_no_function() -> None:
    g = GraphBuilder()
    x = g.op("Neg", g.input("x", (2, 3), FLOAT16))
    g.graph.node.add(name="call", op_type=f"REF::{x}", output=["call"])
    g.output(x)
    assert [str(finding) for finding in check_graph(g.model()) if finding.sort is Sort.TYPES] == [
        "<call> call calls CNode_1:1, which is float16[2, 3]."
    ]


def test_an_output_is_held_to_what_is_made_also_where_its_node_has_no_type() -> None:
    g = GraphBuilder()
    g.output(g.op("Neg", g.input("x", (2, 3), FLOAT16)))
    proto = g.build()
    proto.graph.output[0].tensor[0].dims[1] = 4
    shape = proto.graph.node[-1].attribute[0]
    shape.tensors.add().CopyFrom(shape.tensors[0])  # two types are none
    assert [str(finding) for finding in check_graph(Model(proto))] == [
        "output CNode_1:1 is declared float16[2, 4] and made as float16[2, 3]."
    ]


def test_an_output_of_two_types_is_no_tensor() -> None:
    g = GraphBuilder()
    g.output(g.op("Neg", g.input("x", (2, 3), FLOAT16)))
    proto = g.build()
    output = proto.graph.output[0]
    output.tensor.add().CopyFrom(output.tensor[0])
    assert [str(finding) for finding in check_graph(Model(proto))] == [
        "output CNode_1:1 is declared (float16[2, 3], float16[2, 3]) and made as float16[2, 3]."
    ]


@pytest.mark.parametrize("number", [0, 8, 99])
def test_an_element_type_that_is_not_read_is_none_that_is(number: int) -> None:
    """A text's, say: where a tensor of numbers is made, it is a contradiction. Of what is not known it is none."""
    for op, expected in (("Neg", ["Neg", "output"]), ("Unheard", [])):
        g = GraphBuilder()
        tensor_type = TensorType((2, 3), FLOAT16)
        g.output(g.node(op, [g.input("x", (2, 3), FLOAT16)], tensor_type))
        proto = g.build()
        proto.graph.node[-1].attribute[0].tensors[0].data_type = number
        proto.graph.output[0].tensor[0].data_type = number
        found = check_graph(Model(proto))
        assert [finding.op for finding in found] == expected
        assert all(f"is declared a tensor of element type {number} and " in finding.sentence for finding in found)


# --- messages that nobody wrote


def parsed(name: str) -> Model:
    return Model(codec.parse(store.read(name), name))


NUMBERS = (0, -1, -2, 3, 7, 255, 2**31, 2**63 - 1, -(2**63))
_A = AttributeProto
KINDS = (
    *(_A.UNDEFINED, _A.NONE, _A.BOOL, _A.INT64, _A.INT32, _A.UINT8, _A.FLOAT, _A.DOUBLE, _A.STRING, _A.TENSORS),
    *(_A.TUPLE, _A.LIST, _A.DICT, _A.SCALAR, _A.UMONAD, _A.IOMONAD, _A.FUNCGRAPHCLOSURE, _A.TENSOR, _A.GRAPH),
)


def damage(proto: ModelProto, random: Random) -> None:
    """Change one thing of the message: it stays a message, and mostly a graph."""
    graph = random.choice([proto.graph, *proto.functions])
    node = random.choice(graph.node)
    attributes = [*node.attribute, *(a for a in random.choice(proto.primitives).attribute)]
    what = random.randrange(9)
    if what == 0 and node.input:
        node.input[random.randrange(len(node.input))] = random.choice(list(random.choice(graph.node).output))
    elif what == 1 and node.input:
        del node.input[random.randrange(len(node.input))]
    elif what == 2:
        node.input.extend(random.choice(graph.node).output)
    elif what == 3:
        del node.attribute[:]
    elif what == 4:
        node.op_type = f"REF::{random.choice(proto.primitives).name}"
    elif what == 5:
        random.choice(proto.primitives).op_type = random.choice(proto.primitives).op_type
    elif what == 6 and attributes:
        _change(random.choice(attributes), random)
    elif what == 7 and attributes:
        tensors = [tensor for attribute in attributes for tensor in attribute.tensors]
        for tensor in tensors[:1]:
            tensor.data_type = random.choice(range(1, 18))
            if tensor.dims and random.random() < 0.5:
                tensor.dims[random.randrange(len(tensor.dims))] = random.choice(NUMBERS)
            else:
                tensor.dims.append(random.choice(NUMBERS))
    else:
        for primitive in random.sample(list(proto.primitives), k=min(3, len(proto.primitives))):
            for attribute in primitive.attribute:
                _change(attribute, random)


def _change(attribute: AttributeProto, random: Random) -> None:
    number = random.choice(NUMBERS)
    attribute.type = random.choice(KINDS)
    attribute.i = number
    attribute.f = random.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    attribute.d = 1e300
    for value in attribute.values:
        if random.random() < 0.5:
            value.type = random.choice(
                (AttributeProto.INT64, AttributeProto.FLOAT, AttributeProto.TUPLE, AttributeProto.UNDEFINED)
            )
            del value.ints[:]
            value.ints.append(number)
    if random.random() < 0.3:
        attribute.values.add(type=AttributeProto.INT64).ints.append(number)


def check_damaged(names: list[str], count: int, seed: int) -> int:
    """How many of `count` damaged graphs that still have an index were found to be wrong. None raises."""
    random, wrong = Random(seed), 0
    sources = [store.read(name) for name in names]
    for _ in range(count):
        proto = codec.parse(random.choice(sources), "a graph")
        for _ in range(random.choice((1, 1, 2, 5))):
            damage(proto, random)
        try:
            model = Model(codec.parse(codec.serialise(proto), "a damaged graph"))
        except SourceError:
            continue
        findings = check_graph(model)
        assert all(model.producer(finding.node) is not None and len(str(finding)) < 2000 for finding in findings)
        wrong += bool(findings)
    return wrong


def test_no_damage_makes_it_raise() -> None:
    assert check_damaged(["vae_tiny_decode-float32", "llama_flash-float16", "prior-float16"], 80, 1) > 20


@pytest.mark.slow
def test_no_damage_makes_it_raise_over_the_corpus() -> None:
    assert check_damaged(store.names(), 3_000, 2) > 800


def test_a_tuple_that_is_declared_longer_than_it_is() -> None:
    """Whoever reads an element that is declared and not there is told of nothing more: the tuple has been."""
    g = GraphBuilder()
    x = g.input("x", (2,), FLOAT32)
    tensor_type = g.type_of(x)
    pair = g.node("MakeTuple", [x, x], (tensor_type, tensor_type, tensor_type), primitive=PRIMITIVE)
    (sentence,) = found(g, g.tuple_get_item(pair, 2))
    assert sentence == "is declared (float32[2], float32[2], float32[2]) and gives (float32[2], float32[2])"


def test_tuples_that_hold_themselves_many_times_end() -> None:
    """Sixty pairs of pairs: as a tree they would have 2**60 leaves."""
    g = GraphBuilder()
    value = g.input("x", (2,), dtypes.INT64)
    message = g.graph
    for _ in range(60):
        value = g.node("MakeTuple", [value, value], None, primitive=PRIMITIVE)
        shape = message.node[-1].attribute[0]
        shape.Clear()
        shape.name = "shape"
    result = g.node("Reshape", [g.input("y", (2,), FLOAT32), value], TensorType((2,), FLOAT32))
    assert len(found(g, result)) == 1
