"""The canonical hash says whether two graphs compute the same in the same words, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attnfuse.ir.canonical import canonical_hash
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.mindir.schema import ModelProto, NodeProto
from tests.support.graphs import GraphBuilder
from tools.corpus import store

GRAPH = store.read("t5_encoder-float16")


def graph() -> ModelProto:
    return codec.parse(GRAPH, "t5")


def nodes(message: ModelProto, op: str) -> list[NodeProto]:
    return [node.proto for node in Model(message).nodes if node.op == op]


def rename(message: ModelProto) -> None:
    """Everything that is a name and no weight's."""
    new = {node.output[0]: f"other:v{i}:{i}" for i, node in enumerate(message.graph.node)}
    references = {f"REF::{p.name}": f"REF::p{i}" for i, p in enumerate(message.primitives)}
    for i, primitive in enumerate(message.primitives):
        primitive.name = f"p{i}"
    for given in message.graph.input:
        new[given.name] = given.name = f"other:in_{given.name}"
    for node in message.graph.node:
        node.domain = "Default/elsewhere"
        node.op_type = references.get(node.op_type, node.op_type)
        node.name = node.output[0] = new[node.output[0]]
        node.input[:] = [new.get(name, name) for name in node.input]
    message.graph.output[0].name = new[message.graph.output[0].name]
    message.graph.name = "other"


def reorder(message: ModelProto) -> None:
    """Constants first, and primitives, parameters and attributes the other way round."""
    message.graph.node.sort(key=lambda node: node.op_type != "Constant")
    message.primitives.sort(key=lambda primitive: primitive.name, reverse=True)
    message.graph.parameter.sort(key=lambda parameter: parameter.name)
    for primitive in message.primitives:
        primitive.attribute.sort(key=lambda one: one.name, reverse=True)


def own_constants(message: ModelProto) -> None:
    """A constant for each use."""
    constants = {node.output[0]: node for node in message.graph.node if node.op_type == "Constant"}
    before: list[NodeProto] = []
    for i, node in enumerate(message.graph.node):
        for position, name in enumerate(node.input):
            if name in constants:
                copy = NodeProto.FromString(constants[name].SerializeToString())
                copy.name = copy.output[0] = node.input[position] = f"t5:c_{i}_{position}:0"
                before.append(copy)
        before.append(NodeProto.FromString(node.SerializeToString()))
    del message.graph.node[:]
    message.graph.node.extend(before)


def more_weights(message: ModelProto) -> None:
    message.graph.parameter.add(name="t5:nobody.reads.it", data_type=FLOAT16.wire).dims.append(3)


def read_later(message: ModelProto) -> None:
    """A state between two reads of weights, where nothing writes."""
    first, *_, last = nodes(message, "Load")
    state = nodes(message, "UpdateState")[-1]
    made = NodeProto.FromString(state.SerializeToString())
    made.name = made.output[0] = "t5:later:0"
    made.input[:] = [first.input[1], first.output[0]]
    place = [node.output[0] for node in message.graph.node].index(last.output[0])
    last.input[1] = made.output[0]
    kept = [NodeProto.FromString(node.SerializeToString()) for node in message.graph.node]
    kept.insert(place, made)
    del message.graph.node[:]
    message.graph.node.extend(kept)


def read_copied(message: ModelProto) -> None:
    """A copy of what is read, as where a weight is read twice: PAG's value projection is one."""
    last = nodes(message, "Load")[-1].output[0]
    message.primitives.add(name="t5:move", op_type="TensorMove")
    kept = [NodeProto.FromString(node.SerializeToString()) for node in message.graph.node]
    for node in kept:
        node.input[:] = ["t5:copy:0" if name == last else name for name in node.input]
    read = next(node for node in kept if node.output[0] == last)
    copy = NodeProto.FromString(read.SerializeToString())
    copy.name = copy.output[0] = "t5:copy:0"
    copy.op_type, copy.input[:] = "REF::t5:move", [last]
    kept.insert(kept.index(read) + 1, copy)
    del message.graph.node[:]
    message.graph.node.extend(kept)


@pytest.mark.parametrize("change", [rename, reorder, own_constants, more_weights, read_later, read_copied])
def test_what_says_nothing_of_what_is_computed(change: Callable[[ModelProto], None]) -> None:
    message = graph()
    change(message)
    assert message.SerializeToString() != graph().SerializeToString()
    assert canonical_hash(message) == canonical_hash(graph())


def constant(message: ModelProto) -> None:
    node = next(n for n in nodes(message, "Constant") if n.attribute[0].HasField("f"))
    node.attribute[0].f += 1e-6


def constant_type(message: ModelProto) -> None:
    node = next(n for n in nodes(message, "Constant") if n.attribute[0].type == n.attribute[0].INT64)
    node.attribute[0].type = node.attribute[0].INT32


def operator(message: ModelProto) -> None:
    next(p for p in message.primitives if p.op_type == "Add").op_type = "Sub"


def operator_attribute(message: ModelProto) -> None:
    message.primitives[0].attribute.add(name="more", i=1)


def node_type(message: ModelProto) -> None:
    nodes(message, "Softmax")[0].attribute[0].tensors[0].dims[0] += 1


def operands(message: ModelProto) -> None:
    node = next(n for n in nodes(message, "Add") if n.input[0] != n.input[1])
    node.input[:] = reversed(node.input)


def weight(message: ModelProto) -> None:
    message.graph.parameter[1].dims[0] += 1


def weights_change_places(message: ModelProto) -> None:
    first, second = nodes(message, "Load")[1:3]
    first.input[0], second.input[0] = second.input[0], first.input[0]


def input_type(message: ModelProto) -> None:
    message.graph.input[0].tensor[0].data_type = FLOAT32.wire


def output(message: ModelProto) -> None:
    node = nodes(message, "Depend")[-1]
    node.input[0] = nodes(message, "Add")[0].output[0]


def computed_twice(message: ModelProto) -> None:
    """One of two readers of a value gets another node that computes the same."""
    model = Model(message)
    computing = [n for n in model.nodes if n.op not in ("Constant", "Load", "UpdateState")]
    node = next(n for n in computing if len(model.uses(n.name)) > 1)
    reader = model.uses(node.name)[-1]
    assert reader.node is not None
    copy = NodeProto.FromString(node.proto.SerializeToString())
    copy.name = copy.output[0] = "t5:again:0"
    kept = [NodeProto.FromString(one.SerializeToString()) for one in message.graph.node]
    kept[reader.node.index].input[reader.position] = copy.output[0]
    kept.insert(node.index + 1, copy)
    del message.graph.node[:]
    message.graph.node.extend(kept)


@pytest.mark.parametrize(
    "change",
    [
        constant,
        constant_type,
        operator,
        operator_attribute,
        node_type,
        operands,
        weight,
        weights_change_places,
        input_type,
        output,
        computed_twice,
    ],
)
def test_a_small_change_of_what_is_computed(change: Callable[[ModelProto], None]) -> None:
    message = graph()
    change(message)
    assert canonical_hash(message) != canonical_hash(graph())


def writes(order: tuple[str, str]) -> ModelProto:
    """Two writes to a weight, one after the other, and a read behind them."""
    g = GraphBuilder("writer")
    kind = TensorType((2,), FLOAT32)
    given = {name: g.input(name, (2,)) for name in ("a", "b")}
    g.weight("w", (2,))
    state = g.monad()
    for name in order:
        done = g.node("Assign", [f"{g.prefix}:w", given[name], state], kind)
        state = g.node("UpdateState", [state, done], None)
    g.output(g.node("Load", [f"{g.prefix}:w", state], kind))
    return g.build()


def test_where_something_writes_its_order_counts() -> None:
    assert canonical_hash(writes(("a", "b"))) == canonical_hash(writes(("a", "b")))
    assert canonical_hash(writes(("a", "b"))) != canonical_hash(writes(("b", "a")))


def test_functions_are_hashed_by_what_they_do() -> None:
    data = store.read("lumina2-float16")
    message = codec.parse(data, "lumina2")
    assert len(message.functions) == 4
    found = canonical_hash(message)
    names = {function.name: f"f{i}" for i, function in enumerate(message.functions)}
    for graph_ in (message.graph, *message.functions):
        graph_.name = names.get(graph_.name, graph_.name)
        for node in graph_.node:
            node.input[:] = [names.get(name, name) for name in node.input]
    assert canonical_hash(message) == found
    body = message.functions[0]
    node = next(n for n in body.node if len(n.input) == 2 and "Add" in n.op_type and n.input[0] != n.input[1])
    node.input[:] = reversed(node.input)
    assert canonical_hash(message) != found
