"""The verifier of graphs: what a file says of its values held against what the operator table infers.

It is asked about a source before anything is done to it, and after every pass. It looks at each node by itself: number
and kinds of arguments, the type inferred from theirs against the declared one, whether every input is defined before
it and in reach, and whether changes of memory are ordered. It finds; it never raises, whatever the message holds, and
reads no data of a constant but that of a short vector of whole numbers.

May import `attnfuse.graph` and this room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnfuse.graph import CALL, CONSTANT, Model, Node, attribute, short_name
from attnfuse.ir.operators.arguments import COMPUTED, Argument, Arguments, TypeMismatch
from attnfuse.ir.operators.columns import Effect, Hands, Role
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.operators.table import operator
from attnfuse.ir.types import Kind, Special, TensorType, agree, declared_kind, told
from attnfuse.ir.values import UNKNOWN, Values, input_kind, read_constant, tuple_of


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one node. `node` is its value's name; `sentence` goes on behind operator and name."""

    node: str
    op: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.op} {short_name(self.node)} {self.sentence}."


def check_graph(model: Model) -> list[Finding]:
    """Everything wrong with the graph, in the order of its nodes."""
    return _Check(model).run()


class _Check:
    """One look at a graph: every value's argument so far, and what was found."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.findings: list[Finding] = []
        self.values = Values(model)
        self.owners: dict[str, str] = {}
        self.functions = {graph.name: graph for graph in model.proto.functions}
        self.effects: list[tuple[Node, Operator, Arguments]] = []

    def run(self) -> list[Finding]:
        if self.functions:
            self.owners.update((value.name, graph.name) for graph in self.model.graphs for value in graph.input)
        for node in self.model.nodes:
            if node.op == CONSTANT:
                self.values.put(node.name, read_constant(attribute(node.proto, "value")))
            else:
                self._node(node)
        for node, row, arguments in self.effects:
            self._check_order(node, row, arguments)
        return self.findings

    def _say(self, node: Node, sentence: str) -> None:
        self.findings.append(Finding(node.name, node.op, sentence))

    # --- one node

    def _node(self, node: Node) -> None:
        shape = attribute(node.proto, "shape")
        declared = declared_kind(shape)
        inputs = self._inputs(node)
        if node.op == CALL:
            made = Argument(self._call(node, inputs))
        else:
            made = self._apply(node, operator(node.op), inputs)
        if shape is None:
            self._say(node, "has no type")
        elif not agree(made.kind, declared):
            self._say(node, f"is declared {told(declared)} and gives {told(made.kind)}")
            made = Argument(declared)  # its elements would be others than those declared
        if declared is not None:
            made.kind = declared
        self.values.put(node.name, made)
        if self.functions:
            self.owners[node.name] = node.graph.name

    def _inputs(self, node: Node) -> list[Argument]:
        known = self.values.known
        found = []
        for name in node.inputs:
            argument = known(name)
            if argument is None:
                self._say(node, f"uses {short_name(name)}, which nothing before it defines")
                argument = UNKNOWN
            elif self.functions and self.owners.get(name, node.graph.name) != node.graph.name:
                self._say(node, f"uses {short_name(name)}, which is of another graph")
            found.append(argument)
        return found

    def _apply(self, node: Node, row: Operator, inputs: list[Argument]) -> Argument:
        """What is inferred of the result; of a tuple, its elements too."""
        arguments = self.values.bind(node, inputs)
        if row.memory.effect in _ORDERED:
            self.effects.append((node, row, arguments))
        try:
            kind = row.result(arguments)
        except TypeMismatch as error:
            self._say(node, str(error))
            return Argument(None)
        if row.role is Role.TUPLE:
            if row.value.hands is Hands.JOINED:
                return tuple_of(tuple(inputs))
            elements = inputs[0].elements
            if elements is not None and kind is not None:
                element = elements[arguments.integer("index")]
                return Argument(kind, element.value if _is_plain(element) else COMPUTED, elements=element.elements)
        return Argument(kind)

    def _call(self, node: Node, inputs: Sequence[Argument]) -> Kind:
        """The kind of what a function gives, its arguments held to what it takes. A value that is called tells none."""
        function = self.functions.get(node.proto.op_type.removeprefix("REF::"))
        if function is None:
            return None
        if len(inputs) != len(function.input):
            self._say(node, f"has {len(inputs)} arguments; the function takes {len(function.input)}")
        for given, taken in zip(inputs, function.input, strict=False):
            wanted = input_kind(taken)
            if not agree(given.kind, wanted):
                self._say(node, f"gives {told(given.kind)} for {short_name(taken.name)}, which is {told(wanted)}")
        if len(function.output) != 1:
            return None
        maker = self.model.producer(function.output[0].name)
        return None if maker is None or maker.op == CONSTANT else declared_kind(attribute(maker.proto, "shape"))

    # --- effects

    def _check_order(self, node: Node, row: Operator, arguments: Arguments) -> None:
        """A change of memory has a place of its own in the order of effects, and the order leads somewhere."""
        uses = self.model.uses(node.name)
        if row.memory.effect is Effect.ORDERS:
            if not uses:
                self._say(node, "orders effects, and nothing needs the order")
            return
        if row.memory.unless_none and arguments.is_none(row.memory.unless_none):
            return
        state = next((name for name in reversed(node.inputs) if self._is_monad(name)), None)
        position = row.input(row.memory.argument)
        if state is None or position >= len(node.inputs):
            return
        if not any(use.node is not None and self._is_tied(use.node) for use in uses):
            self._say(node, "changes memory, and nothing orders what follows behind it")
        changed = node.inputs[position]
        for use in self.model.uses(state):
            other = use.node
            if other is not None and other is not node and changed in other.inputs and not _orders(other):
                self._say(node, f"changes memory, and nothing orders it before or behind {short_name(other.name)}")
                return

    def _is_monad(self, name: str) -> bool:
        argument = self.values.known(name)
        return argument is not None and argument.kind is Special.MONAD

    def _is_tied(self, reader: Node) -> bool:
        """Whether the reader is part of the order of effects, or a tuple that is made for it."""
        if operator(reader.op).value.hands is Hands.JOINED:
            return any(use.node is not None and _orders(use.node) for use in self.model.uses(reader.name))
        return _orders(reader)


_ORDERED = (Effect.WRITES, Effect.ORDERS)


def _orders(node: Node) -> bool:
    return operator(node.op).memory.effect is Effect.ORDERS


def _is_plain(argument: Argument) -> bool:
    return not isinstance(argument.kind, TensorType)
