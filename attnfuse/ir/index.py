"""Which node makes a value, who reads it, and in which order: the index of a MindIR message, kept as nodes change.

The message stays the only store of truth: nothing here copies the graph, order and unknown fields survive. A node that
stays keeps its message and its `Node`, whatever is put around it: what a change costs depends on what it changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from attnfuse.errors import SourceError
from attnfuse.mindir.schema import GraphProto, ModelProto, NodeProto, PrimitiveProto, TensorProto, ValueInfoProto

CONSTANT = "Constant"
CALL = "<call>"
REFERENCE = "REF::"
"""What stands before the name of a primitive, a function or a value where a node refers to it."""
_BEHIND = 1 << 62
"""Stands behind every position."""


@dataclass(slots=True, eq=False)
class Node:
    """One application in one graph. `op` is the operator's real name, `Constant`, or `<call>`."""

    proto: NodeProto
    graph: GraphProto
    op: str
    index: int
    """Position in its graph's node list."""
    name: str
    """Name of the node's one output."""
    inputs: list[str]
    """Copied from the message, as is the name: reading them there at every use cost most of a pass's time."""
    reference: str
    """The message's `op_type`: the primitive's key in the table, or what is called."""

    @property
    def scope(self) -> str:
        """Module scope as MindSpore recorded it; unreliable on CPU traces, so never used for proofs."""
        return self.proto.domain

    @property
    def callee(self) -> str | None:
        """The function or value that the node calls; None where it applies an operator."""
        return self.reference.removeprefix(REFERENCE) if self.op == CALL else None

    def __repr__(self) -> str:
        return f"<{self.op} {short_name(self.name)}>"


class Use(NamedTuple):
    """One use of a value: input `position` of `node`, or a graph output (`node` is None)."""

    node: Node | None
    position: int


_use: Callable[[tuple[Node | None, int]], Use] = partial(tuple.__new__, Use)
"""A use, made without a call of Python code: an index has tens of thousands."""
_INDEX, _REFERENCE = attrgetter("index"), attrgetter("reference")


def short_name(value: str) -> str:
    """A value's name without the graph prefix, for people: `CNode_12:7` of `..._construct_144:CNode_12:7`."""
    return value.split(":", 1)[1] if value.count(":") >= 2 else value


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written otherwise, see `Edit`; `added` entries and weights are there before the nodes that name
    them."""

    before: Mapping[str, Sequence[NodeProto]]
    replace: Mapping[str, NodeProto]
    remove: frozenset[str] | set[str]
    rename: Mapping[str, str]
    arguments: Mapping[tuple[str, int], str] = field(default_factory=dict)
    added_primitives: Sequence[PrimitiveProto] = ()
    added_weights: Sequence[TensorProto] = ()
    drop_primitives: frozenset[str] | set[str] = frozenset()

    def renamed(self, name: str) -> str:
        """What the value is called now."""
        while name in self.rename:
            name = self.rename[name]
        return name


@dataclass(slots=True)
class _Moves:
    """What a change does to the index: nodes that are gone and new ones, and values whose readers are others now."""

    gone: list[Node] = field(default_factory=list)
    fresh: list[Node] = field(default_factory=list)
    values: set[str] = field(default_factory=set)
    added: dict[str, list[Use]] = field(default_factory=dict)
    dropped: set[tuple[int, int]] = field(default_factory=set)
    """Uses that are none any more, of nodes that stay: the node by identity, and the position."""
    rewired: set[str] = field(default_factory=set)
    """The values of nodes that stay and read other values."""

    def drops(self, use: Use) -> bool:
        """Whether the use is none any more, though its node stays."""
        return bool(self.dropped) and (id(use.node), use.position) in self.dropped

    def reads(self, node: Node) -> None:
        """Enter all that a node reads."""
        for position, name in enumerate(node.inputs):
            self.added.setdefault(name, []).append(_use((node, position)))
        if node.op == CALL:
            self.added.setdefault(_callee(node), []).append(_use((node, -1)))


_Place: TypeAlias = tuple[int, int, int]
"""Graph, node and input."""


def _callee(call: Node) -> str:
    return call.reference.removeprefix(REFERENCE)


def _twice(named: Iterable[GraphProto | PrimitiveProto]) -> str:
    """The name that most of them have."""
    return Counter(one.name for one in named).most_common(1)[0][0]


class IndexedMessage:
    """A message, and where everything in it is. Values are found by name, over all graphs of the file."""

    def __init__(self, proto: ModelProto) -> None:
        """Raises SourceError where the message is inconsistent (see `attnfuse.ir.graph.Model`)."""
        self.proto = proto
        self.history: list[set[str]] = []
        """What each change touched, from the reading of the message on: see `touched_since`."""
        self.index()

    def weights_among(self, names: Set[str]) -> list[TensorProto]:
        """The weights of these names, by name."""
        return [self._parameters[name] for name in sorted(self._parameters.keys() & names)]

    def without_node(self, names: Set[str]) -> Set[str]:
        """Those that no node of the graph makes."""
        return names - self._producers.keys()

    def touched_since(self, history: Sequence[set[str]]) -> set[str] | None:
        """What is otherwise than when `history` was this model's, or that of the one it is a copy of.

        These are values whose nodes are new, gone or read others, and new weights; None where the message was read
        anew, or is another one.
        """
        own = self.history
        if not history or [id(each) for each in own[: len(history)]] != [id(each) for each in history]:
            return None
        return set[str]().union(*own[len(history) :])

    def index(self) -> None:
        """Read the message again. Raises as `Model` does."""
        proto = self.proto
        self.history = [set()]
        self.graphs: tuple[GraphProto, ...] = (proto.graph, *proto.functions)
        self.primitives: dict[str, PrimitiveProto] = {REFERENCE + p.name: p for p in proto.primitives}
        if len(self.primitives) != len(proto.primitives):
            raise SourceError(f"the graph is damaged: primitive {_twice(proto.primitives)!r} is defined twice.")
        self._operators = {reference: primitive.op_type for reference, primitive in self.primitives.items()}
        self._functions = {g.name: len(g.input) for g in self.graphs}
        """How many arguments each graph takes."""
        if len(self._functions) != len(self.graphs):
            raise SourceError(f"the graph is damaged: function {_twice(self.graphs)!r} is defined twice.")
        self.nodes: list[Node] = []
        self._producers: dict[str, Node] = {}
        self.producer: Callable[[str], Node | None] = self._producers.get
        """The node that makes a value; None for an input, a parameter or a function."""
        self._parameters: dict[str, TensorProto] = {}
        self._inputs: dict[str, ValueInfoProto] = {}
        self._uses: dict[str, list[Use]] = {}
        nodes, uses, producers = self.nodes, self._uses, self._producers
        parameters, inputs, functions = self._parameters, self._inputs, self._functions
        for graph in self.graphs:
            for parameter in graph.parameter:
                self._check_leaf(graph, parameter.name, "a parameter")
                parameters[parameter.name] = parameter
            for value in graph.input:
                self._check_leaf(graph, value.name, "an input")
                inputs[value.name] = value
        for graph in self.graphs:
            for index, message in enumerate(graph.node):
                node = self._node(graph, message, index)
                nodes.append(node)
                for position, name in enumerate(node.inputs):
                    if name not in producers and not self._is_leaf(name) and name not in functions:
                        raise SourceError(
                            f"the graph is damaged: {short_name(node.name)} uses "
                            f"{short_name(name) or 'a value without a name'}, which nothing before it defines."
                        )
                    uses.setdefault(name, []).append(_use((node, position)))
                if node.op == CALL:
                    callee = node.reference.removeprefix(REFERENCE)
                    if callee not in producers and callee not in functions:
                        raise SourceError(
                            f"the graph is damaged: node {short_name(node.name)} refers to operator "
                            f"{callee!r}, which is not in the primitive table."
                        )
                    self._check_call(node, callee)
                    uses.setdefault(callee, []).append(Use(node, -1))
                self._define(node)
            for position, output in enumerate(graph.output):
                if output.name not in producers and not self._is_leaf(output.name):
                    place = f"output {output.name!r} of {graph.name!r}"
                    raise SourceError(f"the graph is damaged: {place} is not defined.")
                uses.setdefault(output.name, []).append(Use(None, position))
        if len(functions) > 1:
            self._check_calls_end()

    def _adopt(self, other: IndexedMessage) -> None:
        """Become an index of the same: `other` is one of a message that is equal to this one's, node by node."""
        self.history = list(other.history)
        proto = self.proto
        self.graphs = (proto.graph, *proto.functions)
        self.primitives = {REFERENCE + p.name: p for p in proto.primitives}
        self._operators, self._functions = other._operators.copy(), other._functions.copy()
        self._parameters = {parameter.name: parameter for graph in self.graphs for parameter in graph.parameter}
        self._inputs = {value.name: value for graph in self.graphs for value in graph.input}
        messages = ((message, graph) for graph in self.graphs for message in graph.node)
        self.nodes = [
            Node(message, graph, node.op, node.index, node.name, node.inputs.copy(), node.reference)
            for (message, graph), node in zip(messages, other.nodes, strict=True)
        ]
        self._producers = {node.name: node for node in self.nodes}
        self.producer = self._producers.get
        mine: dict[int | None, Node | None] = dict(zip(map(id, other.nodes), self.nodes, strict=True))
        mine[id(None)] = None
        self._uses = {
            name: [_use((mine[id(node)], position)) for node, position in uses] for name, uses in other._uses.items()
        }

    def _check_calls_end(self) -> None:
        """A loop hands its functions on as values, and one is called or not; a call by name is always made."""
        callers: dict[str, list[str]] = {graph.name: [] for graph in self.graphs}
        calls: dict[str, list[str]] = {graph.name: [] for graph in self.graphs}
        for graph in self.graphs:
            for use in self._uses.get(graph.name, ()):
                if use.position == -1 and use.node is not None:
                    callers[graph.name].append(use.node.graph.name)
                    calls[use.node.graph.name].append(graph.name)
        waiting = {name: len(called) for name, called in calls.items()}
        done = [name for name in calls if not waiting[name]]
        for name in done:  # it grows: each graph once all that it calls are there
            for caller in callers[name]:
                waiting[caller] -= 1
                if not waiting[caller]:
                    done.append(caller)
        endless = [name for name in calls if waiting[name]]
        if endless:
            seen, at = set[str](), endless[0]
            while at not in seen:
                seen.add(at)
                at = next(callee for callee in calls[at] if waiting[callee])
            raise SourceError(f"the graph is damaged: {at!r} calls itself, or what it calls does, without an end.")

    def _node(self, graph: GraphProto, message: NodeProto, index: int) -> Node:
        outputs = message.output
        if len(outputs) != 1:
            raise SourceError(f"the graph is damaged: node {message.name!r} has {len(outputs)} outputs.")
        name = outputs[0]
        if not name:
            place = f"node {index} of {graph.name!r}, {message.name!r},"
            raise SourceError(f"the graph is damaged: {place} gives a value without a name.")
        reference = message.op_type
        op = CONSTANT if reference == CONSTANT else self._operators.get(reference, CALL)
        return Node(message, graph, op, index, name, list(message.input), reference)

    def _check_call(self, node: Node, callee: str) -> None:
        takes = self._functions.get(callee, len(node.inputs))
        if len(node.inputs) != takes:
            raise SourceError(
                f"the graph is damaged: node {short_name(node.name)} calls {callee} with {len(node.inputs)} "
                f"arguments, which takes {takes}."
            )

    def _define(self, node: Node) -> None:
        name = node.name
        if name in self._producers or name in self._parameters or name in self._inputs or name in self._functions:
            raise SourceError(f"the graph is damaged: value {name!r} is defined twice.")
        self._producers[name] = node

    def _is_leaf(self, name: str) -> bool:
        return name in self._parameters or name in self._inputs

    def _check_leaf(self, graph: GraphProto, name: str, what: str) -> None:
        if not name:
            raise SourceError(f"the graph is damaged: {what} of {graph.name!r} has no name.")
        if self._is_leaf(name):
            raise SourceError(f"the graph is damaged: value {name!r} is defined twice.")

    # --- changes

    def change(self, change: Change) -> set[str]:
        """Write a change into the message and the index; the values whose nodes are new or gone.

        Raises SourceError where the graph is then inconsistent; neither is then fit for use.
        """
        self._add(change)
        moves = _Moves()
        self._move_nodes(change, moves)
        for node in moves.gone:
            if self._producers.get(node.name) is node:
                del self._producers[node.name]
        self._argue(change, moves)
        for node in moves.fresh:
            self._rename_inputs(node, change)
            self._define(node)
            if node.op == CALL:
                self._check_call(node, _callee(node))
            moves.reads(node)
        self._rename_uses(change, moves)
        for node in moves.gone:
            moves.values.update(node.inputs)
            if node.op == CALL:
                moves.values.add(_callee(node))
        nodes = {node.name for node in (*moves.gone, *moves.fresh)}
        self._update_uses(nodes, moves, change.rename)
        self._drop_primitives(change.drop_primitives)
        self.history.append(nodes | moves.rewired | {weight.name for weight in change.added_weights})
        return nodes

    def _add(self, change: Change) -> None:
        primitives, weights = self.proto.primitives, self.proto.graph.parameter
        before = len(primitives), len(weights)
        primitives.extend(change.added_primitives)
        weights.extend(change.added_weights)
        for primitive in primitives[before[0] :]:
            self.primitives[REFERENCE + primitive.name] = primitive
            self._operators[REFERENCE + primitive.name] = primitive.op_type
        for weight in weights[before[1] :]:
            self._check_leaf(self.proto.graph, weight.name, "a parameter")
            self._parameters[weight.name] = weight

    def _move_nodes(self, change: Change, moves: _Moves) -> None:
        """Put the nodes of every graph that has changes into their new order."""
        touched: dict[str, list[Node]] = {graph.name: [] for graph in self.graphs}
        for name in change.before.keys() | change.replace.keys() | change.remove:
            if (node := self._producers.get(name)) is not None:
                touched[node.graph.name].append(node)
        start = 0
        nodes: list[Node] = []
        for graph in self.graphs:
            own = self.nodes[start : start + len(graph.node)]
            start += len(own)
            changed = sorted(touched[graph.name], key=_INDEX)
            nodes += self._moved(graph, own, changed, change, moves) if changed else own
        self.nodes = nodes

    def _moved(
        self, graph: GraphProto, own: list[Node], changed: Sequence[Node], change: Change, moves: _Moves
    ) -> list[Node]:
        """The nodes of one graph in their new order, which the message has then too."""
        nodes: list[Node] = []
        written: list[NodeProto] = []
        fresh: list[int] = []
        """Where in `nodes` those stand that the messages are of."""
        start = 0
        for node in changed:
            nodes += own[start : node.index]
            start = node.index
            instead = change.replace.get(node.name)
            messages = [*change.before.get(node.name, ()), *(() if instead is None else (instead,))]
            written += messages
            fresh += range(len(nodes), len(nodes) + len(messages))
            nodes += [node] * len(messages)
            if instead is not None or node.name in change.remove:
                moves.gone.append(node)
                start += 1
        nodes += own[start:]
        count = len(graph.node)
        graph.node.extend(written)
        for index, message in zip(fresh, graph.node[count:], strict=True):
            nodes[index] = self._node(graph, message, index)
            moves.fresh.append(nodes[index])
        for node in moves.gone:
            node.index = _BEHIND
        for index, node in enumerate(nodes):
            node.index = index
        # Sorting moves messages about and copies none. It asks for their places in the order in which they stand, which
        # is that of the nodes before, and then of the new ones: each is the next of these, whatever the message.
        graph.node.sort(key=partial(next, iter([*map(_INDEX, own), *fresh])))
        del graph.node[len(nodes) :]
        return nodes

    def _argue(self, change: Change, moves: _Moves) -> None:
        """Let nodes that stay read other values at single positions."""
        for (name, position), value in change.arguments.items():
            node = self._producers.get(name)
            if node is None:  # it is written anew, or gone
                continue
            moves.values.add(node.inputs[position])
            moves.dropped.add((id(node), position))
            moves.rewired.add(name)
            new = change.renamed(value)
            self._rename_input(node, position, new)
            moves.values.add(new)
            moves.added.setdefault(new, []).append(Use(node, position))

    def _rename_inputs(self, node: Node, change: Change) -> None:
        """Let a new node read values by the names that they have now."""
        for position, name in enumerate(node.inputs):
            if name in change.rename:
                self._rename_input(node, position, change.renamed(name))
        if node.op == CALL and (callee := _callee(node)) in change.rename:
            self._rename_input(node, -1, change.renamed(callee))

    @staticmethod
    def _rename_input(node: Node, position: int, name: str) -> None:
        if position < 0:
            node.proto.op_type = node.reference = REFERENCE + name
        else:
            node.proto.input[position] = node.inputs[position] = name

    def _rename_uses(self, change: Change, moves: _Moves) -> None:
        """Let whoever reads a value that has another name now read that one."""
        gone = set(map(id, moves.gone))
        for old in change.rename:
            new = change.renamed(old)
            moves.values |= {old, new}
            for use in self._uses.get(old, ()):
                if use.node is not None and id(use.node) not in gone and not moves.drops(use):
                    self._rename_input(use.node, use.position, new)
                    moves.rewired.add(use.node.name)
                    moves.added.setdefault(new, []).append(use)
        for graph in self.graphs if change.rename else ():
            for output in graph.output:
                if output.name in change.rename:
                    output.name = change.renamed(output.name)

    def _update_uses(self, nodes: set[str], moves: _Moves, rename: Mapping[str, str]) -> None:
        """Read again who reads the values; of nodes that stay, the order among each other is what it was."""
        values = moves.values | moves.added.keys() | nodes
        ranks = {id(graph): rank for rank, graph in enumerate(self.graphs)}
        gone = set(map(id, moves.gone))

        def place(use: Use) -> _Place:
            assert use.node is not None
            return ranks[id(use.node.graph)], use.node.index, use.position if use.position >= 0 else _BEHIND

        outputs: dict[str, list[tuple[_Place, Use]]] = {}
        for rank, graph in enumerate(self.graphs):
            for position, output in enumerate(graph.output):
                if output.name in values:
                    outputs.setdefault(output.name, []).append(((rank, _BEHIND, position), Use(None, position)))
        for value in values:
            kept = [] if value in rename else self._uses.get(value, [])
            if kept:
                kept = [use for use in kept if use.node is not None and id(use.node) not in gone]
                kept = [use for use in kept if not moves.drops(use)] if moves.dropped else kept
            found = moves.added.get(value, [])
            if kept and not found and value not in outputs and value not in nodes:
                self._uses[value] = kept  # it lost readers, and nothing else
                continue
            if found and not kept and value not in outputs and value not in moves.values:
                kept = found  # of new nodes alone, which are entered in their order
            elif found or value in outputs:
                placed = [*((place(use), use) for use in (*kept, *found)), *outputs.get(value, ())]
                placed.sort(key=lambda each: each[0])
                kept = [use for _, use in placed]
            if kept:
                self._uses[value] = kept
                first = place(kept[0]) if kept[0].node is not None else outputs[value][0][0]
                self._check_defined(value, first, ranks, is_output=value in outputs)
            else:
                self._uses.pop(value, None)

    def _check_defined(self, value: str, first: _Place, ranks: Mapping[int, int], *, is_output: bool) -> None:
        """Raise SourceError where the value is read before a node makes it, or by nobody made at all."""
        node = self._producers.get(value)
        if node is None:
            is_defined = self._is_leaf(value) or (value in self._functions and not is_output)
        else:
            is_defined = (ranks[id(node.graph)], node.index) < first[:2]
        if not is_defined:
            self.index()  # which says what is wrong
            raise AssertionError(f"{value} is read before it is made")

    def _drop_primitives(self, names: frozenset[str] | set[str]) -> None:
        if not names:
            return
        primitives = self.proto.primitives
        for index in reversed(range(len(primitives))):
            if REFERENCE + primitives[index].name in names:
                del primitives[index]
        for name in names:
            self.primitives.pop(name, None)
            self._operators.pop(name, None)
        if not names.isdisjoint(map(_REFERENCE, self.nodes)):
            self.index()  # which says what is wrong
