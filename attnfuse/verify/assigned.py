"""Parameters that the graph itself assigns to: a Load behind an Assign reads the value that was assigned.

Effects are ordered by state tokens: UpdateState(state, effect) is the state behind the effect, and Load(parameter,
state) reads the parameter as it is in that state. The executor follows values and no states, so both graphs are
rewritten before they are run, and what was assigned is then a value like any other, of inputs if it comes from those.

May import `attnfuse.ir.graph` and `attnfuse.mindir`.
"""

from __future__ import annotations

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model, Node, short_name
from attnfuse.ir.questions import makes_tuple, orders_effects
from attnfuse.mindir.schema import ModelProto

_WRITERS = ("Assign", "Scatter", "Inplace")
"""How the names begin of operators that write into their first operand."""


def read_through(model: Model) -> Model:
    """The model with every use of such a Load, and of an Assign's result, given the assigned value instead.

    The model itself where there is none. States that a function is given by its caller are not followed. Raises
    VerificationError where a Load reads what another operator than Assign, or an Assign of another type, has written.
    """
    if not any(node.op.startswith(_WRITERS) and model.is_parameter(node.inputs[0]) for node in model.nodes):
        return model
    instead = {node.name: node.inputs[1] for node in model.nodes if node.op == "Assign"}
    for node in model.nodes:
        if node.op == "Load" and (value := _assigned(model, node.inputs[0], node.inputs[1])) is not None:
            instead[node.name] = value
    for name, value in instead.items():
        if model.type_of(name) != model.type_of(value):
            raise VerificationError(f"{short_name(name)} is given {short_name(value)}, which is of another type.")
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for graph in (proto.graph, *proto.functions):
        for message in graph.node:
            for position, value in enumerate(message.input):
                message.input[position] = _settled(instead, value)
        for output in graph.output:
            output.name = _settled(instead, output.name)
    return Model(proto)


def _settled(instead: dict[str, str], value: str) -> str:
    """What is assigned may itself be read of a parameter that was assigned to."""
    while value in instead:
        value = instead[value]
    return value


def _assigned(model: Model, parameter: str, state: str) -> str | None:
    """The value that was last assigned to the parameter before that state."""
    node = model.producer(state)
    while node is not None and orders_effects(node):
        for effect in _effects(model, node):
            if effect.inputs and effect.inputs[0] == parameter and effect.op.startswith(_WRITERS):
                if effect.op != "Assign":
                    raise VerificationError(f"{effect.op} {short_name(effect.name)} writes into a parameter.")
                return effect.inputs[1]
        node = model.producer(node.inputs[0])
    return None


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
