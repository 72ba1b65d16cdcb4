"""A canonical hash of a graph: equal where two graphs compute the same with the same operators, whatever the names.

Names and order are out: those of values, functions, primitives and scopes, and the order of nodes, of primitives and of
attributes. Everything else is in: operators with their attributes, types, constants by their content, inputs by their
place, weights by their own names and types, the output. Left out besides, as it says nothing of what is computed: how
many nodes hold equal constants, weights that nothing reads, and, where nothing in the graph writes to memory, the order
in which memory is read, how often, and whether what was read is copied (TensorMove: MindSpore sees to it that a weight
which is read twice cannot change in between).

A value's hash is that of its node and of its inputs' hashes; the graph's is that of its output and of all its nodes',
so that a value computed twice is not one that is used twice. Functions, which may call themselves, are hashed in
rounds: in each, a call has what the last round found of the function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, attribute
from attnfuse.ir.numbering import Numbering
from attnfuse.ir.questions import keeps_order, orders_effects, reads_memory
from attnfuse.ir.writers import writers_of
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import AttributeProto, GraphProto, ModelProto, PrimitiveProto, TensorProto

_MONADS = (AttributeProto.UMONAD, AttributeProto.IOMONAD)
_STATE = b"state"


def canonical_hash(message: ModelProto) -> str:
    """The hash of a graph, as hexadecimal digits. Raises SourceError for a message that is damaged, as `Model` does."""
    return _Hashes(Model(message)).whole()


class _Hashes:
    """Hashes of the values of one model, by name."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._pure = not writers_of(model, Numbering())
        self._operators = {reference: _primitive(primitive) for reference, primitive in model.primitives.items()}
        self._values: dict[str, bytes] = {}
        for parameter in model.parameters():
            self._values[parameter.name] = _join(b"weight", parameter_name(parameter).encode(), _tensor(parameter))
        for node in model.nodes:
            if node.op == CONSTANT:
                self._values[node.name] = self._constant(node)
        for function in model.graphs[1:]:
            self._values[function.name] = _join(b"function", str(len(function.input)).encode())

    def whole(self) -> str:
        """The hash of the whole model."""
        functions = self._model.graphs[1:]
        for _ in functions:
            self._values.update({function.name: self._graph(function) for function in functions})
        return self._graph(self._model.graphs[0]).hex()

    def _graph(self, graph: GraphProto) -> bytes:
        for position, given in enumerate(graph.input):
            kinds = (_tensor(tensor) for tensor in given.tensor)
            self._values[given.name] = _join(b"input", str(position).encode(), *kinds)
        nodes = [node for node in self._model.nodes if node.graph is graph and node.op != CONSTANT]
        for node in nodes:
            self._values[node.name] = self._node(node)
        outputs = [self._values[output.name] for output in graph.output]
        inputs = [self._values[given.name] for given in graph.input]
        counted = sorted(self._values[node.name] for node in self._counted(graph, nodes))
        return _join(b"graph", _join(*inputs), _join(*outputs), *counted)

    def _node(self, node: Node) -> bytes:
        if self._pure:
            if orders_effects(node):
                return _STATE
            if keeps_order(node) or self._copies_read(node):
                return self._values[node.inputs[0]]
        operator = (
            self._values[node.proto.op_type.removeprefix("REF::")]
            if node.op == CALL
            else self._operators[node.proto.op_type]
        )
        inputs = (self._values[name] for name in self._read(node))
        told = (*node.proto.attribute, *node.proto.node_attr, *node.proto.primal_attr)
        return _join(operator, *sorted(map(_attribute, told)), _join(*inputs))

    def _copies_read(self, node: Node) -> bool:
        made = self._model.producer(node.inputs[0]) if node.op == "TensorMove" else None
        return made is not None and reads_memory(made)

    def _read(self, node: Node) -> list[str]:
        """The inputs that say what the node gives: of what is read from memory nothing writes to, not when."""
        return node.inputs[:1] if self._pure and reads_memory(node) else node.inputs

    def _counted(self, graph: GraphProto, nodes: Iterable[Node]) -> list[Node]:
        """The nodes of a graph that are carried out; what only reads a weight, or orders effects, is none of them."""
        if not self._pure:
            return list(nodes)
        needed = {output.name for output in graph.output}
        counted = []
        for node in reversed(list(nodes)):
            if node.name not in needed:
                continue
            if keeps_order(node):
                needed.add(node.inputs[0])
                continue
            needed.update(name for name in self._read(node) if self._values[name] != _STATE)
            needed.add(node.proto.op_type.removeprefix("REF::"))
            if not reads_memory(node) and not orders_effects(node) and not self._copies_read(node):
                counted.append(node)
        return counted

    def _constant(self, node: Node) -> bytes:
        value = attribute(node.proto, "value")
        if self._pure and value is not None and value.type in _MONADS:
            return _STATE
        return _join(b"constant", *sorted(map(_attribute, node.proto.attribute)))


def _join(*parts: bytes) -> bytes:
    """A digest of parts in order, each behind its length, so that no two lists run together to the same."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _primitive(primitive: PrimitiveProto) -> bytes:
    kept = PrimitiveProto()
    kept.CopyFrom(primitive)
    for name in ("name", "instance_name", "attribute"):
        kept.ClearField(name)
    return _join(kept.SerializeToString(deterministic=True), *sorted(map(_attribute, primitive.attribute)))


def _attribute(proto: AttributeProto) -> bytes:
    kept = AttributeProto()
    kept.CopyFrom(proto)
    _without_names(kept)
    return kept.SerializeToString(deterministic=True)


def _without_names(proto: AttributeProto) -> None:
    """Take out what tensors are called, and the memory they are said to share."""
    for tensor in proto.tensors:
        tensor.ClearField("name")
        tensor.ClearField("ref_key")
    for value in proto.values:
        _without_names(value)


def _tensor(proto: TensorProto) -> bytes:
    kept = TensorProto()
    kept.CopyFrom(proto)
    for name in ("name", "ref_key"):
        kept.ClearField(name)
    return kept.SerializeToString(deterministic=True)
