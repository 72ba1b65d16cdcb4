"""The verifier of graphs: what a file says of its values compared with what the operator table infers.

It is asked about a source before anything is done to it, and after every pass. It looks at each node by itself: number
and types of arguments, the type inferred from theirs against the declared one, whether every input is in reach, and
whether changes of memory are ordered. It finds; it never raises, whatever the message holds, and reads no data of a
constant but that of a short vector of whole numbers. An application that it has judged it knows again; of a graph that
it has looked at before, it looks at what changes touched, and at what reads a value of which something else is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from enum import Enum

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, attribute, short_name
from attnfuse.ir.operators.arguments import COMPUTED, Argument, Arguments, TypeMismatch, Unordered
from attnfuse.ir.operators.columns import Effect, Hands
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.operators.table import operator
from attnfuse.ir.readable import unreadable_node
from attnfuse.ir.types import (
    ScalarType,
    Special,
    TensorType,
    ValueType,
    agree,
    declared_type,
    describe,
    element_type,
    stored_tensor_type,
)
from attnfuse.ir.values import UNKNOWN, Values, input_type, read_constant, result_of, weight_argument
from attnfuse.mindir.schema import AttributeProto, PrimitiveProto, TensorProto, ValueInfoProto


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
    """Looks at graphs one after the other, and judges an application once: the blocks of a model are alike. Of a graph
    that was looked at before, most is what it was before a pass."""

    def __init__(self) -> None:
        self.judged: dict[tuple[object, ...], _Judged] = {}
        """By operator, declared type, and what is known of each input (by identity)."""
        self._constants: dict[bytes, tuple[Argument, str | None]] = {}
        self._known: dict[ValueType, Argument] = {}
        self._last: _Look | None = None
        self._history: list[set[str]] = []
        """Of the graph that was looked at last."""

    def check(self, model: Model) -> list[Finding]:
        """Everything wrong with the graph."""
        touched = model.touched_since(self._history)
        if self._last is None or touched is None or model.proto.functions:
            self._last = _Look(model, self)
            self._last.at_all()
        else:
            self._last.again(model, touched)
        self._history = list(model.history)
        return self._last.findings()

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
    """A look at a graph, which may be renewed: every value's argument so far, and what was found."""

    def __init__(self, model: Model, checker: Checker) -> None:
        self.model = model
        self.checker = checker
        self.values = Values(model)
        self.owners: dict[str, str] = {}
        self.functions = {graph.name: graph for graph in model.proto.functions}
        self._entries: dict[str, tuple[PrimitiveProto, bytes]] = {}
        self._findings: dict[str, list[Finding]] = {}
        """By the node's value."""
        self._ordered: dict[str, tuple[Operator, Arguments]] = {}
        """What changes memory or orders that, by its value."""

    def at_all(self) -> None:
        """Look at every node."""
        for name, argument in self.values.leaves():
            self.values.put(name, self.checker.same(argument))
        if self.functions:
            self.owners.update((value.name, graph.name) for graph in self.model.graphs for value in graph.input)
        for node in self.model.nodes:
            self._look_at(node)

    def again(self, model: Model, touched: Set[str]) -> None:
        """Look at the touched nodes of a graph without functions, and at those that read what is known otherwise now.

        Each value is made before it is read, as the index of the model holds.
        """
        self.model = model
        self.values = self.values.of(model, model.without_node(touched))
        for weight in model.weights_among(touched):
            self.values.put(weight.name, self.checker.same(weight_argument(weight)))
        self._forget(touched)
        known, others = self.values.known, set[str]()
        for node in model.nodes:
            name = node.name
            if name in touched or (others and not others.isdisjoint(node.inputs)):
                before = known(name)
                if name not in touched:
                    self._forget({name})
                self._look_at(node)
                if known(name) is not before:
                    others.add(name)

    def findings(self) -> list[Finding]:
        """Everything wrong, in the order of the nodes: what is wrong with their types, with the order of effects, and
        with outputs."""
        found: list[Finding] = []
        if self._findings:
            found += (each for node in self.model.nodes for each in self._findings.get(node.name, ()))
        if self._ordered:
            for node in self.model.nodes:
                if node.name in self._ordered:
                    found += self._check_order(node, *self._ordered[node.name])
        for graph in self.model.graphs:
            found += filter(None, map(self._check_output, graph.output))
        return found

    def _say(self, node: Node, sentence: str, sort: Sort = Sort.TYPES) -> None:
        self._findings.setdefault(node.name, []).append(Finding(node.name, node.op, sentence, sort))

    def _forget(self, names: Set[str]) -> None:
        for name in self._findings.keys() & names:
            del self._findings[name]
        for name in self._ordered.keys() & names:
            del self._ordered[name]

    # --- one node

    def _look_at(self, node: Node) -> None:
        if node.op == CONSTANT:
            made, problem = self.checker.constant(node)
            if problem is not None:
                self._say(node, problem)
        else:
            judged = self._judged(node, self._inputs(node))
            made = judged.made
            for sentence, sort in judged.problems:
                self._say(node, sentence, sort)
            if judged.order is not None:
                self._ordered[node.name] = judged.order
            if self.functions:
                self.owners[node.name] = node.graph.name
        self.values.put(node.name, made)

    def _entry(self, reference: str) -> bytes | None:
        """What the table of primitives says of an operator."""
        entry = self.model.primitives.get(reference)
        if entry is None:
            return None
        known = self._entries.get(reference)
        if known is None or known[0] is not entry:
            self._entries[reference] = known = entry, entry.SerializeToString(deterministic=True)
        return known[1]

    def _judged(self, node: Node, inputs: list[Argument]) -> _Judged:
        shape, reference = attribute(node.proto, "shape"), node.reference
        called = self._call(node, inputs) if node.op == CALL else None
        entry, declared = self._entry(reference), None if shape is None else shape.SerializeToString()
        key = (reference, entry, declared, called, *map(id, inputs))
        judged = self.checker.judged.get(key)
        if judged is None:
            judged = _Judging(node, inputs, self.values).judge(shape, called)
            judged.made = self.checker.same(judged.made)
            self.checker.judged[key] = judged
        return judged

    def _inputs(self, node: Node) -> list[Argument]:
        found = list(map(self.values.known, node.inputs))
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

    def _check_output(self, output: ValueInfoProto) -> Finding | None:
        """What the graph says it gives is what is made, also where the node that makes it says nothing."""
        made, declared = self.values.known(output.name), input_type(output)
        if len(output.tensor) > 1:
            declared = tuple(map(stored_tensor_type, output.tensor))
        unread = None if made is None else _unread(made.value_type, output.tensor)
        if made is None or (unread is None and agree(made.value_type, declared)):
            return None
        sentence = f"is declared {unread or describe(declared)} and made as {describe(made.value_type)}"
        return Finding(output.name, "output", sentence, Sort.TYPES)

    # --- effects

    def _check_order(self, node: Node, row: Operator, arguments: Arguments) -> Iterator[Finding]:
        """A change of memory has a place of its own in the order of effects, and the order leads somewhere."""
        uses = self.model.uses(node.name)
        if row.memory.effect is Effect.ORDERS:
            if not uses:
                yield Finding(node.name, node.op, "orders effects, and nothing needs the order", Sort.EFFECTS)
            return
        if row.memory.unless_none and arguments.is_none(row.memory.unless_none):
            return
        state = next((name for name in reversed(node.inputs) if self._is_monad(name)), None)
        position = row.input(row.memory.argument)
        if state is None or position >= len(node.inputs):
            return
        if not any(use.node is not None and self._is_tied(use.node) for use in uses):
            sentence = "changes memory, and nothing orders what follows behind it"
            yield Finding(node.name, node.op, sentence, Sort.EFFECTS)
        changed = node.inputs[position]
        for use in min(self.model.uses(state), self.model.uses(changed), key=len):
            other = use.node
            if other is None or other is node or _orders(other):
                continue
            if state in other.inputs and changed in other.inputs:
                sentence = f"changes memory, and nothing orders it before or behind {short_name(other.name)}"
                yield Finding(node.name, node.op, sentence, Sort.EFFECTS)
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
