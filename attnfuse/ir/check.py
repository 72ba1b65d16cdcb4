"""The verifier of graphs: what a file says of its values compared with what the operator table infers.

It is asked about a source before anything is done to it, and after every pass. It looks at each node by itself: number
and types of arguments, the type inferred from theirs against the declared one, whether every input is in reach, and
whether changes of memory are ordered. It finds; it never raises, whatever the message holds, and reads no data of a
constant but that of a short vector of whole numbers. An application that it has judged it knows again, in this graph
and as a pass leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from operator import is_

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, attribute, short_name
from attnfuse.ir.operators.arguments import COMPUTED, Argument, Arguments, TypeMismatch, Unordered
from attnfuse.ir.operators.columns import Effect, Hands
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.operators.table import operator
from attnfuse.ir.readable import unreadable_node
from attnfuse.ir.types import ScalarType, Special, TensorType, ValueType, agree, declared_type, describe, element_type
from attnfuse.ir.values import UNKNOWN, Values, input_type, read_constant, result_of
from attnfuse.mindir.schema import AttributeProto, TensorProto, ValueInfoProto


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
class _Judged:
    """What there is to say of an application, wherever it stands. `inputs` are kept: they are known by identity."""

    inputs: list[Argument]
    made: Argument
    problems: list[tuple[str, Sort]]
    order: tuple[Operator, Arguments] | None


class Checker:
    """Looks at graphs one after the other, and judges an application once: the blocks of a model are alike, and most of
    a graph is what it was before a pass."""

    def __init__(self) -> None:
        self.judged: dict[tuple[object, ...], _Judged] = {}
        """By operator, declared type, and what is known of each input (by identity)."""
        self._constants: dict[bytes, tuple[Argument, str | None]] = {}
        self._known: dict[ValueType, Argument] = {}
        self.seen_constants: dict[Node, tuple[Argument, str | None]] = {}
        self.seen: dict[Node, _Judged] = {}
        """What was said of the nodes of the graph that was looked at last: a node that an edit leaves stays the same
        `Node`, of the same operator and declared type."""

    def check(self, model: Model) -> list[Finding]:
        """Everything wrong with the graph."""
        look = _Look(model, self)
        found = look.run()
        self.seen_constants, self.seen = look.seen_constants, look.seen
        return found

    def constant(self, node: Node) -> tuple[Argument, str | None]:
        """A constant as an argument, and what is wrong with it."""
        value = attribute(node.proto, "value")
        if value is None or (len(value.tensors) and value.ByteSize() > _LONGEST):
            return self.same(read_constant(value)), unreadable_node(node)
        message = value.SerializeToString()
        known = self._constants.get(message)
        if known is None:
            self._constants[message] = known = self.same(read_constant(value)), unreadable_node(node)
        return known

    def same(self, argument: Argument) -> Argument:
        """The argument, or one of which just as much is known: of all that are computed, the type says it all."""
        if argument.elements is not None or argument.value is not COMPUTED:
            return argument
        return self._known.setdefault(argument.value_type, argument)


_LONGEST = 1 << 16
"""Bytes of a constant that is known again: a longer one is read again."""


class _Look:
    """One look at a graph: every value's argument so far, and what was found."""

    def __init__(self, model: Model, checker: Checker) -> None:
        self.model = model
        self.checker = checker
        self.values = Values(model)
        self.owners: dict[str, str] = {}
        self.functions = {graph.name: graph for graph in model.proto.functions}
        self._entries = {name: entry.SerializeToString(deterministic=True) for name, entry in model.primitives.items()}
        self._findings: list[Finding] = []
        self._ordered: list[tuple[Node, Operator, Arguments]] = []
        self.seen_constants: dict[Node, tuple[Argument, str | None]] = {}
        self.seen: dict[Node, _Judged] = {}
        for name, argument in self.values.leaves():
            self.values.put(name, checker.same(argument))
        if self.functions:
            self.owners.update((value.name, graph.name) for graph in model.graphs for value in graph.input)

    def run(self) -> list[Finding]:
        for node in self.model.nodes:
            if node.op == CONSTANT:
                told = self.checker.seen_constants.get(node)
                told = self.seen_constants[node] = self.checker.constant(node) if told is None else told
                made, problem = told
                if problem is not None:
                    self._say(node, problem)
            else:
                made = self._made(node)
                if self.functions:
                    self.owners[node.name] = node.graph.name
            self.values.put(node.name, made)
        for node, row, arguments in self._ordered:
            self._check_order(node, row, arguments)
        for graph in self.model.graphs:
            for output in graph.output:
                self._check_output(output)
        return self._findings

    def _say(self, node: Node, sentence: str, sort: Sort = Sort.TYPES) -> None:
        self._findings.append(Finding(node.name, node.op, sentence, sort))

    # --- one node

    def _made(self, node: Node) -> Argument:
        inputs = self._inputs(node)
        judged = self.checker.seen.get(node)
        if judged is None or node.op == CALL or not all(map(is_, inputs, judged.inputs)):
            judged = self._judged(node, inputs)
        self.seen[node] = judged
        for sentence, sort in judged.problems:
            self._say(node, sentence, sort)
        if judged.order is not None:
            self._ordered.append((node, *judged.order))
        return judged.made

    def _judged(self, node: Node, inputs: list[Argument]) -> _Judged:
        shape, reference = attribute(node.proto, "shape"), node.reference
        called = self._call(node, inputs) if node.op == CALL else None
        entry, declared = self._entries.get(reference), None if shape is None else shape.SerializeToString()
        key = (reference, entry, declared, called, *map(id, inputs))
        judged = self.checker.judged.get(key)
        if judged is None:
            judged = _Judging(node, inputs, self.values).judge(shape, called)
            judged.made = self.checker.same(judged.made)
            self.checker.judged[key] = judged
        return judged

    def _inputs(self, node: Node) -> list[Argument]:
        known = self.values.known
        found = [known(name) for name in node.inputs]
        if None not in found and not self.functions:
            return found  # type: ignore[return-value]  # as in most graphs: none is None
        return self._questioned(node, found)

    def _questioned(self, node: Node, arguments: Sequence[Argument | None]) -> list[Argument]:
        """The inputs of a node, each looked at: whether something before it, in its own graph, defines it."""
        found = []
        for name, argument in zip(node.inputs, arguments, strict=True):
            if argument is None:
                self._say(node, f"uses {short_name(name)}, which nothing before it defines")
                argument = UNKNOWN
            elif self.functions and self.owners.get(name, node.graph.name) != node.graph.name:
                self._say(node, f"uses {short_name(name)}, which is of another graph")
            found.append(argument)
        return found

    def _call(self, node: Node, inputs: Sequence[Argument]) -> ValueType:
        """The type of what a function gives, its arguments checked. A value that is called has none."""
        callee = node.proto.op_type.removeprefix("REF::")
        function = self.functions.get(callee)
        if function is None:
            called = self.values.known(callee)
            if called is not None and isinstance(called.value_type, TensorType | ScalarType):
                self._say(node, f"calls {short_name(callee)}, which is {describe(called.value_type)}")
            return None
        for given, taken in zip(inputs, function.input, strict=True):
            wanted = input_type(taken)
            if not agree(given.value_type, wanted):
                self._say(
                    node,
                    f"gives {describe(given.value_type)} for {short_name(taken.name)}, which is {describe(wanted)}",
                )
        if len(function.output) != 1:
            return None
        maker = self.model.producer(function.output[0].name)
        return None if maker is None or maker.op == CONSTANT else declared_type(attribute(maker.proto, "shape"))

    def _check_output(self, output: ValueInfoProto) -> None:
        """What the graph says it gives is what is made, also where the node that makes it says nothing."""
        made, declared = self.values.known(output.name), input_type(output)
        if made is None:
            return
        unread = _unread(made.value_type, output.tensor)
        if unread is not None or not agree(made.value_type, declared):
            sentence = f"is declared {unread or describe(declared)} and made as {describe(made.value_type)}"
            self._findings.append(Finding(output.name, "output", sentence, Sort.TYPES))

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
        for use in min(self.model.uses(state), self.model.uses(changed), key=len):
            other = use.node
            if other is None or other is node or _orders(other):
                continue
            if state in other.inputs and changed in other.inputs:
                unordered = short_name(other.name)
                self._say(node, f"changes memory, and nothing orders it before or behind {unordered}", Sort.EFFECTS)
                return

    def _is_monad(self, name: str) -> bool:
        argument = self.values.known(name)
        return argument is not None and argument.value_type is Special.MONAD

    def _is_tied(self, reader: Node) -> bool:
        """Whether the reader is part of the order of effects, or a tuple that is made for it."""
        if operator(reader.op).value.hands is Hands.JOINED:
            return any(use.node is not None and _orders(use.node) for use in self.model.uses(reader.name))
        return _orders(reader)


class _Judging:
    """One application, judged by its operator, its declared type and what is known of its inputs."""

    def __init__(self, node: Node, inputs: list[Argument], values: Values) -> None:
        self._node = node
        self._inputs = inputs
        self._values = values
        self._problems: list[tuple[str, Sort]] = []
        self._order: tuple[Operator, Arguments] | None = None

    def judge(self, shape: AttributeProto | None, called: ValueType) -> _Judged:
        """`called` is what a call gives, as far as it is known."""
        return _Judged(self._inputs, self._made(shape, called), self._problems, self._order)

    def _say(self, sentence: str, sort: Sort = Sort.TYPES) -> None:
        self._problems.append((sentence, sort))

    def _made(self, shape: AttributeProto | None, called: ValueType) -> Argument:
        problem = unreadable_node(self._node)
        if problem is not None:
            self._say(problem)
            return Argument(None)
        declared = declared_type(shape)
        made = Argument(called) if self._node.op == CALL else self._apply(operator(self._node.op))
        if shape is None:
            self._say("has no type", Sort.UNTYPED)
        elif not agree(made.value_type, declared):
            self._say(f"is declared {describe(declared)} and gives {describe(made.value_type)}")
            made = Argument(declared)  # its elements would be others than those declared
        elif (unread := _unread(made.value_type, shape.tensors)) is not None:
            self._say(f"is declared {unread} and gives {describe(made.value_type)}")
        if declared is not None:
            made.value_type = declared
        return made

    def _apply(self, row: Operator) -> Argument:
        """What is inferred of the result; of a tuple, its elements too."""
        arguments = self._values.bind(self._node, self._inputs)
        if row.memory.effect in _ORDERED:
            self._order = row, arguments
        try:
            return result_of(row, arguments, self._inputs)
        except TypeMismatch as error:
            self._say(str(error), Sort.EFFECTS if isinstance(error, Unordered) else Sort.TYPES)
            return Argument(None)


_ORDERED = (Effect.WRITES, Effect.ORDERS)


def _unread(made: ValueType, declared: Sequence[TensorProto]) -> str | None:
    """What is declared in place of a tensor of a known type, if its element type is one that is not read here."""
    if not isinstance(made, TensorType) or len(declared) != 1 or element_type(declared[0].data_type) is not None:
        return None
    return f"a tensor of element type {declared[0].data_type}"


def _orders(node: Node) -> bool:
    return operator(node.op).memory.effect is Effect.ORDERS
