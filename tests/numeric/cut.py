"""Cuts one attention out of a graph and out of its rewritten twin, so that both can be run on the same operands.

What enters is query, key and value where the two graphs still agree on them, and for the mask everything down to
the graph's own inputs: what a mask can hold is decided by what makes it. Imports no matcher.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node
from attnfuse.ir.types import TensorType
from attnfuse.mindir import codec
from attnfuse.mindir.schema import GraphProto, ModelProto, NodeProto, PrimitiveProto
from attnfuse.verify.graph.fused_nodes import FUSED_OPS, read

_PASS_FIRST = ("Load", "Depend")


OPERANDS = ("query", "key", "value")


@dataclass(frozen=True, slots=True)
class Cut:
    """Two models of one output each, with the same inputs: `OPERANDS` (fewer where they coincide), and the mask's.

    Names depend on the two graphs' structure alone: sites that compute the same have the same `key`.
    """

    original: Model
    fused: Model

    @property
    def key(self) -> tuple[bytes, bytes]:
        """Equal for two cuts that are the same computation."""
        return codec.serialise(self.original.proto), codec.serialise(self.fused.proto)


def cut(original: Model, fused: Model, output: str) -> Cut:
    """The attention whose result is `output`, a value of both graphs. AssertionError where there is none in `fused`."""
    attention = read(fused, _fused_node(original, fused, output))
    entries = {_common(original, fused, getattr(attention, name)): name for name in reversed(OPERANDS)}
    inputs = {**_leaves(original, output, set(entries)), **_leaves(fused, output, set(entries))}
    names = {value: entries.get(value, f"{value.rpartition(':')[2]}_{i}") for i, value in enumerate(inputs)}
    return Cut(_part(original, output, inputs, names), _part(fused, output, inputs, names))


def _exists(model: Model, value: str) -> bool:
    return model.producer(value) is not None or model.is_input(value) or model.is_parameter(value)


def _fused_node(original: Model, fused: Model, output: str) -> Node:
    """The fused node behind `output`, through nodes that the rewrite put there."""
    stack = [output]
    while stack:
        value = stack.pop()
        node = fused.producer(value)
        if node is None or (value != output and _exists(original, value)):
            continue
        if node.op in FUSED_OPS:
            return node
        stack += reversed(node.inputs)
    raise AssertionError(f"no fused node behind {output}")


def _common(original: Model, fused: Model, value: str) -> str:
    """The value of the original that an operand of the fused node was made from."""
    while not _exists(original, value):
        node = fused.producer(value)
        assert node is not None
        # Padding, layouts and casts have one operand; a factor or a condition beside it is smaller.
        sizes = {name: tensor_type.size for name in node.inputs if (tensor_type := fused.type_of(name)) is not None}
        value = max(sizes, key=lambda name: sizes[name])
    return value


def _leaves(model: Model, output: str, stops: set[str]) -> dict[str, TensorType]:
    """Types of the stops and of the inputs and weights that `output` depends on without going through a stop."""
    found: dict[str, TensorType] = {}
    seen: set[str] = set()
    stack = [output]
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        node = model.producer(value)
        tensor_type = model.type_of(value)
        if value in stops or (node is None and tensor_type is not None):
            assert tensor_type is not None
            found[value] = tensor_type
        elif node is not None:
            assert node.op != CALL, "the region calls a function"
            stack += node.inputs[:1] if node.op in _PASS_FIRST else node.inputs
    return found


def _part(model: Model, output: str, inputs: dict[str, TensorType], names: dict[str, str]) -> Model:
    """A model of the nodes between `inputs` and `output`; `names` holds new names and gets those of the nodes."""
    wanted: list[Node] = []
    seen = set(inputs)
    stack = [output]
    while stack:
        value = stack.pop()
        node = model.producer(value)
        if value in seen or node is None:
            continue
        seen.add(value)
        wanted.append(node)
        stack += node.inputs[:1] if node.op in _PASS_FIRST else node.inputs
    position = {node.name: i for i, node in enumerate(model.nodes)}
    # Functions use constants of the top graph, which stands first among a model's nodes.
    wanted.sort(key=lambda node: (node.op != CONSTANT, position[node.name]))
    graph = GraphProto(name="cut")
    for value, tensor_type in inputs.items():
        tensor = graph.input.add(name=names[value]).tensor.add()
        tensor.dims.extend(tensor_type.dims)
        tensor.data_type = tensor_type.dtype.wire
    primitives: dict[str, PrimitiveProto] = {}
    for node in wanted:
        names.setdefault(node.name, f"value_{len(names)}")
        graph.node.append(_renamed(model, node, names, primitives))
    graph.output.add(name=names[output])
    return Model(ModelProto(graph=graph, primitives=primitives.values()))


def _renamed(model: Model, node: Node, names: dict[str, str], primitives: dict[str, PrimitiveProto]) -> NodeProto:
    """The node under its new name, without the order of effects, its scope, and numbers counted over the graph."""
    message = NodeProto(op_type=node.proto.op_type, output=[names[node.name]], name=names[node.name])
    values = node.inputs[:1] if node.op in _PASS_FIRST else node.inputs
    message.input.extend(names[value] for value in values)
    message.attribute.extend(node.proto.attribute)
    entry = model.primitives.get(message.op_type)
    if entry is not None:
        if message.op_type not in primitives:
            copy = PrimitiveProto()
            copy.CopyFrom(entry)
            copy.name = f"{entry.op_type}:{len(primitives)}"
            primitives[message.op_type] = copy
        message.op_type = f"REF::{primitives[message.op_type].name}"
    return message
