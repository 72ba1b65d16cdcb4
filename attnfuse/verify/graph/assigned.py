"""Parameters that the graph itself writes to: a Load behind the write reads the value that was written.

Effects are ordered by state tokens: UpdateState(state, effect) is the state behind the effect, and Load(parameter,
state) reads the parameter as it is in that state. The executor follows values and no states, so both graphs are
rewritten before they are run, and what was written is then a value like any other, of inputs if it comes from those.
"""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import CALL, Model, Node, short_name
from attnfuse.ir.questions import changed, makes_tuple, orders_effects
from attnfuse.ir.types import TensorType
from attnfuse.mindir.schema import GraphProto, ModelProto, NodeProto, PrimitiveProto

_ADDS = {"AssignAdd": "Add", "AssignSub": "Sub", "InplaceAddExt": "AddExt", "InplaceSubExt": "SubExt"}
"""What writes old + x or old - x (the last two times a third operand), and the plain operator of the same numbers."""
_SCATTERS = {"ScatterNdUpdate": "TensorScatterUpdate", "ScatterNdAdd": "TensorScatterAdd"}
"""What writes to places of the parameter, each a coordinate of its first axes; and the plain operator."""
_ROWS, _COPY = "ScatterUpdate", "InplaceCopy"
_WRITERS = ("Assign", *_ADDS, *_SCATTERS, _ROWS, _COPY)
_PRIMITIVE = "attnfuse_written_"


def read_through(model: Model) -> Model:
    """The model with what is written to parameters as values, and every use of a Load behind a write given that value.

    Assign gives its value; AssignAdd, AssignSub, InplaceAddExt and InplaceSubExt the sum or difference with what the
    parameter held before; ScatterUpdate, ScatterNdUpdate and ScatterNdAdd that with other elements in some places;
    InplaceCopy its source in the parameter's type and shape. The model itself where no parameter is written to. Of a
    Load, states that a function is given by its caller are not followed.

    Raises VerificationError where a Load, or a sum, reads what another operator has written, where an Assign is of
    another type, and where another function may have written to what a sum adds to.
    """
    written = [node for node in model.nodes if any(map(model.is_parameter, changed(model, node)))]
    if not written:
        return model
    instead = {node.name: node.inputs[1] for node in written if node.op == "Assign"}
    for node in model.nodes:
        if node.op == "Load" and (writer := _writer(model, node.inputs[0], node.inputs[1])) is not None:
            instead[node.name] = writer.name
    for name, value in instead.items():
        if model.type_of(name) != model.type_of(value):
            raise VerificationError(
                f"{short_name(name)} is given {short_name(value)}, which is of another type; use --verify static."
            )
    plain = {node.name: _plain(model, node) for node in written if node.op in _WRITERS[1:]}
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for op in sorted({message.op_type for messages in plain.values() for message in messages}):
        entry = proto.primitives.add(name=op.removeprefix("REF::"), prim_type=PrimitiveProto.PRIMITIVE_FUNCTION)
        entry.op_type = entry.name.removeprefix(_PRIMITIVE)
    for graph in (proto.graph, *proto.functions):
        _replace(graph, plain)
        for message in graph.node:
            for position, value in enumerate(message.input):
                message.input[position] = _settled(instead, value)
        for output in graph.output:
            output.name = _settled(instead, output.name)
    return Model(proto)


def _replace(graph: GraphProto, plain: dict[str, list[NodeProto]]) -> None:
    if not any(message.output[0] in plain for message in graph.node):
        return
    nodes = [made for message in graph.node for made in plain.get(message.output[0], [message])]
    copies = GraphProto()
    copies.node.extend(nodes)
    del graph.node[:]
    graph.node.extend(copies.node)


def _plain(model: Model, node: Node) -> list[NodeProto]:
    """Nodes that make, under the node's name and of its type, what it leaves in its parameter."""
    if node.op == _COPY:
        return _copied(model, node)
    old, state = node.inputs[0], node.inputs[-1]
    if not _is_whole(model, state):
        what = "adds to" if node.op in _ADDS else "changes a part of"
        raise _refused(node, f"{what} a parameter that another function may have written to")
    before = _writer(model, old, state)
    held = old if before is None else before.name
    if node.op == _ROWS:
        return _put_in_rows(model, node, held)
    return [_node(node, (_ADDS | _SCATTERS)[node.op], [held, *node.inputs[1:-1]])]


def _put_in_rows(model: Model, node: Node, held: str) -> list[NodeProto]:
    """Places of the first axis: coordinates of one number each."""
    places = model.type_of(node.inputs[1])
    if places is None:
        raise _refused(node, "writes to places of unknown type")
    apart = _node(node, "Reshape", node.inputs[1:2])
    apart.name = apart.output[0] = f"{node.name}_{_PRIMITIVE}places"
    _declare(apart, TensorType((*places.dims, 1), places.dtype))
    return [apart, _node(node, _SCATTERS["ScatterNdUpdate"], [held, apart.name, node.inputs[2]])]


def _copied(model: Model, node: Node) -> list[NodeProto]:
    """The source, brought to the parameter's type, then to its shape."""
    tensor_type, source = model.type_of(node.inputs[0]), model.type_of(node.inputs[1])
    if tensor_type is None or source is None:
        raise _refused(node, "copies a value of unknown type into a parameter")
    cast = _node(node, "Cast", node.inputs[1:2])
    if source.dims == tensor_type.dims:
        return [cast]
    cast.name = cast.output[0] = f"{node.name}_{_PRIMITIVE}source"
    _declare(cast, TensorType(source.dims, tensor_type.dtype))
    return [cast, _node(node, "BroadcastTo", [cast.name])]


def _node(node: Node, op: str, inputs: Sequence[str]) -> NodeProto:
    message = NodeProto()
    message.CopyFrom(node.proto)
    message.op_type = f"REF::{_PRIMITIVE}{op}"
    del message.input[:]
    message.input.extend(inputs)
    return message


def _declare(message: NodeProto, tensor_type: TensorType) -> None:
    for attribute in message.attribute:
        for tensor in attribute.tensors:
            tensor.data_type = tensor_type.dtype.wire
            tensor.dims[:] = tensor_type.dims


def _refused(node: Node, why: str) -> VerificationError:
    return VerificationError(f"{node.op} {short_name(node.name)} {why}; use --verify static.")


def _settled(instead: dict[str, str], value: str) -> str:
    """What is assigned may itself be read of a parameter that was assigned to."""
    while value in instead:
        value = instead[value]
    return value


def _writer(model: Model, parameter: str, state: str) -> Node | None:
    """The node that last wrote to the parameter before that state."""
    node = model.producer(state)
    while node is not None and orders_effects(node):
        for effect in _effects(model, node):
            if parameter in changed(model, effect):
                if effect.op not in _WRITERS:
                    raise _refused(effect, "writes into a parameter, and no rule knows what")
                return effect
        node = model.producer(node.inputs[0])
    return None


def _is_whole(model: Model, state: str) -> bool:
    """Whether every effect before the state is known: none is the caller's or a called function's."""
    node = model.producer(state)
    while node is not None and orders_effects(node):
        if any(effect.op == CALL for effect in _effects(model, node)):
            return False
        node = model.producer(node.inputs[0])
    return node is not None


def _effects(model: Model, update: Node) -> list[Node]:
    found: list[Node] = []
    stack = list(reversed(update.inputs[1:]))
    while stack:
        node = model.producer(stack.pop())
        if node is None:
            continue
        if makes_tuple(node):
            stack += reversed(node.inputs)
        else:
            found.append(node)
    return found
