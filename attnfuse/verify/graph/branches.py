"""An if or a while taken apart: the graph as it runs along one path, each choice made, loops unrolled, calls inlined.

MindSpore writes an if as `call(Switch(condition, Partial(f, …), Partial(g, …)))`, and a while as a function, the
header, that ends in such a call of its body or of what comes after; the body ends in a call of the header. Two graphs
compute the same if their conditions do and, whatever is chosen, what runs then does. So both are run along each path of
a set that takes every branch, the conditions among their outputs: what is chosen is told and not computed, so inputs
may be drawn that would lead elsewhere.

The nodes of a function that runs once keep their names; those of its run n are called `g:name_runn:7`. Two graphs whose
nodes are called alike are called alike here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, short_name
from attnfuse.ir.questions import keeps_order, orders_effects
from attnfuse.mindir.schema import GraphProto, ModelProto

MOST_NODES = 2**17
MOST_CHOICES = 1000
"""Nodes and choices along a path beyond which a loop is taken for one that does not end."""
TWICE = 2
"""How often the body of a loop runs where nothing is computed: the second time it is given what the first one made."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a Switch hands on, each time it is met: its first function where the condition holds."""

    switch: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Path:
    """A graph along one path, without calls; the choices in their order, and what its values are called in the file."""

    model: Model
    choices: tuple[Choice, ...]
    origins: Mapping[str, str]

    @property
    def label(self) -> str:
        """The choices in words."""
        found: dict[str, list[str]] = {}
        for choice in self.choices:
            found.setdefault(choice.switch, []).append(str(choice.holds).lower())
        return "; ".join(f"{short_name(switch)} {', '.join(held)}" for switch, held in found.items())


def has_branches(model: Model) -> bool:
    """Whether something is called that is only known at run time."""
    return any(node.op == "Switch" for node in model.nodes)


Decide = Callable[[str, str, "Callable[[], Model]"], bool]
"""Of a Switch and its condition, by the name it has along the path, and what makes the graph of that condition."""


def along(model: Model, decide: Decide) -> Path:
    """The graph along the path that is decided for.

    Raises VerificationError where something else than a function is called, a function is handed to an operator, or
    the path has more than MOST_NODES or MOST_CHOICES.
    """
    return _Runner(model, decide).run()


def following(choices: tuple[Choice, ...]) -> Decide:
    """Makes the choices of another graph's path. Raises VerificationError where a graph asks for others."""
    rest = iter(choices)

    def decide(switch: str, condition: str, graph: Callable[[], Model]) -> bool:
        choice = next(rest, None)
        if choice is None or choice.switch != switch:
            raise VerificationError(f"the fused graph decides something else at {short_name(switch)}")
        return choice.holds

    return decide


def paths(model: Model) -> Iterator[Path]:
    """Paths that together take every branch: first that along which each condition holds, a loop's twice, then that
    along which none does, where that takes others."""
    preferences: list[tuple[dict[str, bool], bool]] = [({}, True), ({}, False)]
    covered: set[Choice] | None = None
    met: dict[str, tuple[dict[str, bool], bool]] = {}
    while preferences:
        preferred, usual = preferences.pop(0)
        path = along(model, _preferring(preferred, usual))
        if covered is None or not covered >= set(path.choices):
            yield path
        covered = (covered or set()) | set(path.choices)
        for choice in path.choices:
            met.setdefault(choice.switch, (preferred, usual))
        if not preferences:
            # What led to a Switch leads there again, and it is then told to choose otherwise.
            missing = (Choice(switch, holds) for switch in met for holds in (True, False))
            wanted = next((choice for choice in missing if choice not in covered), None)
            if wanted is not None:
                before, usual = met[wanted.switch]
                preferences.append(({**before, wanted.switch: wanted.holds}, usual))


def branches(model: Model) -> set[Choice]:
    """Every choice that some path makes."""
    return {choice for path in paths(model) for choice in path.choices}


def _preferring(preferred: Mapping[str, bool], usual: bool) -> Decide:
    """The usual way where no other is preferred; and the other way from the third time on, for loops to end."""
    times: Counter[str] = Counter()

    def decide(switch: str, condition: str, graph: Callable[[], Model]) -> bool:
        times[switch] += 1
        holds = preferred.get(switch, usual)
        return holds if times[switch] <= TWICE else not holds

    return decide


@dataclass(frozen=True, slots=True)
class _Closure:
    """A function, with its first arguments."""

    function: str
    arguments: tuple[_Value, ...] = ()


_Value = str | _Closure
"""A value of the path by its name there, or a function."""


@dataclass(slots=True)
class _Frame:
    """One run of a graph: where it is, and what its values are along the path."""

    graph: GraphProto
    known: dict[str, _Value]
    call: str | None = None
    at: int = 0


@dataclass(slots=True)
class _Runner:
    model: Model
    decide: Decide
    made: GraphProto = field(default_factory=GraphProto)
    times: Counter[str] = field(default_factory=Counter)
    constants: set[str] = field(default_factory=set)
    choices: list[Choice] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)

    def run(self) -> Path:
        top = self.model.proto.graph
        functions = {function.name: function for function in self.model.proto.functions}
        bottom = _Frame(top, {})
        stack = [bottom]
        while stack:
            frame = stack[-1]
            if frame.at == len(frame.graph.node):
                stack.pop()
                if frame.call is not None:
                    stack[-1].known[frame.call] = self._value(frame, frame.graph.output[0].name)
                continue
            node = self.model.producer(frame.graph.node[frame.at].output[0])
            assert node is not None  # the index holds every node
            frame.at += 1
            if node.op != CALL:
                self._node(frame, node)
                continue
            called = self._called(frame, node)
            function = functions.get(called.function)
            if function is None or len(function.output) != 1 or len(function.input) != len(called.arguments):
                raise _refused(node, "calls what is no function of as many arguments")
            known = {value.name: given for value, given in zip(function.input, called.arguments, strict=True)}
            stack.append(_Frame(function, known, node.name))
        outputs = [self._tensor(bottom, output.name, "the graph gives") for output in top.output]
        return Path(self._graph([*outputs, *dict.fromkeys(self.conditions)]), tuple(self.choices), self.origins)

    def _graph(self, outputs: list[str]) -> Model:
        proto = ModelProto()
        proto.CopyFrom(self.model.proto)
        parameters = [parameter for graph in self.model.graphs for parameter in graph.parameter]
        flat = GraphProto()
        flat.CopyFrom(self.made)
        del proto.functions[:], proto.graph.node[:], proto.graph.output[:]
        held = GraphProto()
        held.parameter.extend(parameters)
        del proto.graph.parameter[:]
        proto.graph.parameter.extend(held.parameter)
        proto.graph.node.extend(flat.node)
        for name in outputs:
            proto.graph.output.add(name=name)
        return Model(proto)

    def _called(self, frame: _Frame, node: Node) -> _Closure:
        callee = node.callee or ""
        found = self._value(frame, callee)
        closure = found if isinstance(found, _Closure) else _Closure(callee)
        return _Closure(closure.function, (*closure.arguments, *(self._value(frame, v) for v in node.inputs)))

    def _node(self, frame: _Frame, node: Node) -> None:
        if node.op == CONSTANT:
            return  # written where it is read first
        if node.op == "Partial":
            function, *arguments = (self._value(frame, value) for value in node.inputs)
            if not isinstance(function, _Closure):
                raise _refused(node, "hands on something that is no function")
            frame.known[node.name] = _Closure(function.function, (*function.arguments, *arguments))
        elif node.op == "Switch":
            frame.known[node.name] = self._chosen(frame, node)
        elif keeps_order(node) and isinstance(closure := self._value(frame, node.inputs[0]), _Closure):
            frame.known[node.name] = closure
        else:
            self._write(frame, node)

    def _chosen(self, frame: _Frame, node: Node) -> _Value:
        condition = self._tensor(frame, node.inputs[0], "a condition is")
        if self.model.is_literal(condition):
            return self._value(frame, node.inputs[1 if bool(self.model.literal(condition)) else 2])
        if len(self.choices) >= MOST_CHOICES:
            raise _refused(node, f"is met after {MOST_CHOICES} choices, in a loop that may not end")
        holds = self.decide(node.name, condition, lambda: self._graph([condition]))
        self.choices.append(Choice(node.name, holds))
        self.conditions.append(condition)
        return self._value(frame, node.inputs[1 if holds else 2])

    def _write(self, frame: _Frame, node: Node) -> None:
        inputs = [self._value(frame, value) for value in node.inputs]
        if orders_effects(node):  # what a function did stands before the state already
            inputs = [value for value in inputs if isinstance(value, str)]
        if any(isinstance(value, _Closure) for value in inputs):
            raise _refused(node, "is given a function")
        if len(self.made.node) >= MOST_NODES:
            raise _refused(node, f"is reached after {MOST_NODES} nodes, in a loop that may not end")
        self.times[node.name] += 1
        made = self.made.node.add()
        made.CopyFrom(node.proto)
        made.input[:] = [str(value) for value in inputs]
        name = self._name(node.name, self.times[node.name])
        made.output[0] = name
        if node.proto.name:
            made.name = self._name(node.proto.name, self.times[node.name])
        frame.known[node.name] = name
        self.origins[name] = node.name

    def _value(self, frame: _Frame, value: str) -> _Value:
        """What the value is along the path."""
        if value in frame.known:
            return frame.known[value]
        if self.model.is_function(value):
            return _Closure(value)
        node = self.model.producer(value)
        if node is not None and node.op == CONSTANT and value not in self.constants:
            self.constants.add(value)
            self.made.node.add().CopyFrom(node.proto)
        return value

    def _tensor(self, frame: _Frame, value: str, what: str) -> str:
        found = self._value(frame, value)
        if isinstance(found, _Closure):
            raise VerificationError(f"{what} a function, {short_name(value)}, which cannot be run.")
        return found

    def _name(self, name: str, times: int) -> str:
        if times == 1:
            return name
        head, _, rest = name.partition(":")
        middle, _, tail = rest.rpartition(":")
        made = f"{head}:{middle}_run{times}:{tail}" if middle else f"{name}_run{times}"
        while self.model.producer(made) is not None:
            made += "_"
        return made


def _refused(node: Node, why: str) -> VerificationError:
    called = f"the call of {short_name(node.callee or '')}" if node.op == CALL else f"{node.op} {short_name(node.name)}"
    return VerificationError(f"{called} {why}; use --verify static.")


def in_all_runs(path: Path, values: Mapping[str, str]) -> dict[str, str]:
    """The same of each run of the values, by their names along the path."""
    return {name: values[origin] for name, origin in path.origins.items() if origin in values}
