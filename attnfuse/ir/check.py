"""The verifier of graphs: what a file says of its values held against what the operator table infers.

It is asked about a source before anything is done to it, and after every pass. It looks at each node by itself: number
and kinds of arguments, the type inferred from theirs against the declared one, whether every input is in reach, and
whether changes of memory are ordered. It finds; it never raises, whatever the message holds, and reads no data of a
constant but that of a short vector of whole numbers. What it knows of a node stays known until the node changes or one
that it reads.

May import `attnfuse.ir.graph` and this room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, attribute, short_name
from attnfuse.ir.operators.arguments import COMPUTED, Argument, Arguments, TypeMismatch, Unordered
from attnfuse.ir.operators.columns import Effect, Hands
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.operators.table import operator
from attnfuse.ir.readable import unreadable_node
from attnfuse.ir.types import Kind, Special, agree, declared_kind, told
from attnfuse.ir.values import UNKNOWN, Values, input_kind, read_constant, result_of


class Sort(Enum):
    """Of what sort a finding is. Types that contradict each other are wrong in any graph; the others are what a pass
    must not bring about."""

    TYPES = "types"
    UNTYPED = "untyped"
    EFFECTS = "effects"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one node. `node` is its value's name; `sentence` goes on behind operator and name."""

    node: str
    op: str
    sentence: str
    sort: Sort

    def __str__(self) -> str:
        return f"{self.op} {short_name(self.node)} {self.sentence}."


def check_graph(model: Model) -> list[Finding]:
    """Everything wrong with the graph, in the order of its nodes."""
    return Checker().check(model)


@dataclass(slots=True)
class _Seen:
    """A node as it was looked at: its message, what it read, what it made of that, and what was found."""

    message: bytes
    inputs: list[Argument]
    made: Argument
    findings: list[Finding]
    effect: tuple[Operator, Arguments] | None = None


@dataclass(slots=True)
class _Constant:
    """A constant as it was read."""

    message: bytes
    value: Argument
    findings: list[Finding]


class Checker:
    """Looks at a graph again and again as it changes, and only at what did."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._leaves: dict[str, Argument] = {}
        self._constants: dict[str, _Constant] = {}
        self._primitives: dict[str, bytes] = {}

    def check(self, model: Model) -> list[Finding]:
        """Everything wrong with the graph, in the order of its nodes."""
        look = _Look(model, self._leaves)
        primitives = {name: entry.SerializeToString(deterministic=True) for name, entry in model.primitives.items()}
        changed = {name for name, entry in primitives.items() if self._primitives.get(name) != entry}
        # Of a graph with functions a node may be within reach or not, and a call depends on what the callee holds.
        kept = {} if model.proto.functions else self._seen
        constants: dict[str, _Constant] = {}
        seen: dict[str, _Seen] = {}
        for node in model.nodes:
            if node.op == CONSTANT:
                constants[node.name] = known = _constant(node, self._constants.get(node.name))
                look.values.put(node.name, known.value)
                continue
            message = node.proto.SerializeToString()
            before = kept.get(node.name)
            if (
                before is not None
                and before.message == message
                and node.proto.op_type not in changed
                and look.reads(node, before.inputs)
            ):
                look.values.put(node.name, before.made)
                seen[node.name] = before
            else:
                seen[node.name] = look.at(node, message, before)
        self._seen, self._constants, self._primitives = seen, constants, primitives
        found = [finding for constant in constants.values() for finding in constant.findings]
        return found + [finding for one in seen.values() for finding in one.findings] + look.order(seen)


_LONGEST = 1 << 16
"""Bytes of a constant's message that is kept: it is read again where it is longer."""


def _constant(node: Node, before: _Constant | None) -> _Constant:
    message = node.proto.SerializeToString() if node.proto.ByteSize() <= _LONGEST else b""
    if before is not None and message and before.message == message:
        return before
    value, told = read_constant(attribute(node.proto, "value")), unreadable_node(node)
    if before is not None and _is_same(before.value, value):
        value = before.value
    return _Constant(message, value, [] if told is None else [Finding(node.name, node.op, told, Sort.TYPES)])


class _Look:
    """One look at a graph: every value's argument so far, and what was found."""

    def __init__(self, model: Model, leaves: dict[str, Argument]) -> None:
        """`leaves` are those of the last look, and then of this."""
        self.model = model
        self.values = Values(model)
        self.owners: dict[str, str] = {}
        self.functions = {graph.name: graph for graph in model.proto.functions}
        self._findings: list[Finding] = []
        self._effect: tuple[Operator, Arguments] | None = None
        for name, argument in self.values.leaves():
            known = leaves.setdefault(name, argument)
            if known.kind == argument.kind:
                self.values.put(name, known)
            else:
                leaves[name] = argument
        if self.functions:
            self.owners.update((value.name, graph.name) for graph in model.graphs for value in graph.input)

    def reads(self, node: Node, inputs: list[Argument]) -> bool:
        """Whether what the node reads is just that."""
        known = self.values.known
        return all(known(name) is argument for name, argument in zip(node.inputs, inputs, strict=True))

    def at(self, node: Node, message: bytes, before: _Seen | None) -> _Seen:
        """Look at a node; `before` is what was seen of its value last."""
        self._findings, self._effect = [], None
        inputs = self._inputs(node)
        made = self._node(node, inputs)
        if before is not None and _is_same(before.made, made):
            made = before.made  # whoever reads it need not be looked at again
        self.values.put(node.name, made)
        if self.functions:
            self.owners[node.name] = node.graph.name
        return _Seen(message, inputs, made, self._findings, self._effect)

    def order(self, seen: dict[str, _Seen]) -> list[Finding]:
        """What is wrong with the order of effects, which depends on who reads a node."""
        self._findings = []
        for node in self.model.nodes:
            one = seen.get(node.name)
            if one is not None and one.effect is not None:
                self._check_order(node, *one.effect)
        return self._findings

    def _say(self, node: Node, sentence: str, sort: Sort = Sort.TYPES) -> None:
        self._findings.append(Finding(node.name, node.op, sentence, sort))

    # --- one node

    def _node(self, node: Node, inputs: list[Argument]) -> Argument:
        told_of = unreadable_node(node)
        if told_of is not None:
            self._say(node, told_of)
            return Argument(None)
        shape = attribute(node.proto, "shape")
        declared = declared_kind(shape)
        if node.op == CALL:
            made = Argument(self._call(node, inputs))
        else:
            made = self._apply(node, operator(node.op), inputs)
        if shape is None:
            self._say(node, "has no type", Sort.UNTYPED)
        elif not agree(made.kind, declared):
            self._say(node, f"is declared {told(declared)} and gives {told(made.kind)}")
            made = Argument(declared)  # its elements would be others than those declared
        if declared is not None:
            made.kind = declared
        return made

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
            self._effect = row, arguments
        try:
            return result_of(row, arguments, inputs)
        except TypeMismatch as error:
            self._say(node, str(error), Sort.EFFECTS if isinstance(error, Unordered) else Sort.TYPES)
            return Argument(None)

    def _call(self, node: Node, inputs: Sequence[Argument]) -> Kind:
        """The kind of what a function gives, its arguments held to what it takes. A value that is called tells none."""
        function = self.functions.get(node.proto.op_type.removeprefix("REF::"))
        if function is None:
            return None
        for given, taken in zip(inputs, function.input, strict=True):
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
                self._say(node, "orders effects, and nothing needs the order", Sort.EFFECTS)
            return
        if row.memory.unless_none and arguments.is_none(row.memory.unless_none):
            return
        state = next((name for name in reversed(node.inputs) if self._is_monad(name)), None)
        position = row.input(row.memory.argument)
        if state is None or position >= len(node.inputs):
            return
        if not any(use.node is not None and self._is_tied(use.node) for use in uses):
            self._say(node, "changes memory, and nothing orders what follows behind it", Sort.EFFECTS)
        changed = node.inputs[position]
        for use in self.model.uses(state):
            other = use.node
            if other is not None and other is not node and changed in other.inputs and not _orders(other):
                told_of = short_name(other.name)
                self._say(node, f"changes memory, and nothing orders it before or behind {told_of}", Sort.EFFECTS)
                return

    def _is_monad(self, name: str) -> bool:
        argument = self.values.known(name)
        return argument is not None and argument.kind is Special.MONAD

    def _is_tied(self, reader: Node) -> bool:
        """Whether the reader is part of the order of effects, or a tuple that is made for it."""
        if operator(reader.op).value.hands is Hands.JOINED:
            return any(use.node is not None and _orders(use.node) for use in self.model.uses(reader.name))
        return _orders(reader)


def _is_same(one: Argument, other: Argument) -> bool:
    """Whether the same is known of both."""
    if one.kind != other.kind or one.value is not COMPUTED or other.value is not COMPUTED:
        return False
    if one.elements is None or other.elements is None:
        return one.elements is other.elements
    return all(a is b for a, b in zip(one.elements, other.elements, strict=True))


_ORDERED = (Effect.WRITES, Effect.ORDERS)


def _orders(node: Node) -> bool:
    return operator(node.op).memory.effect is Effect.ORDERS
