"""Who changes memory in a graph, beside whom, and in which order.

MindSpore orders effects by values of no number (monads): a node that changes memory takes a state, `UpdateState` makes
the next state from it, `Depend` ties the last one to a result. A node is carried out because something needs it, and
after another because it needs that. So what counts as order here is need: A stands before B where B needs A.

`writers_of` reads a graph, `lost` tells what one graph did and another no longer does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, live_values, short_name
from attnfuse.ir.numbering import Closure, Gathered, Numbering
from attnfuse.ir.operators.columns import Effect
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.operators.table import operator
from attnfuse.ir.questions import (
    aliased,
    arguments,
    changed,
    makes_tuple,
    nodes_of,
    orders_effects,
    reads_memory,
    takes_element,
)


@dataclass(frozen=True, slots=True)
class Writer:
    """A node that changes memory. `names` are those of the memory, and the others nodes that read the same memory but
    for its own result: those that need the writer, those that it needs, and those of which neither is so. All of them
    are bits of a `Numbering`."""

    op: str
    names: int
    is_ours: bool
    """Whether the memory is the graph's own: no weight, input or constant, and none of a function's caller."""
    after: int
    before: int
    beside: int


def writers_of(model: Model, numbering: Numbering) -> Mapping[str, Writer]:
    """The nodes that change memory, as far as they are carried out, by the value each gives."""
    found = nodes_of(model, _may_act)
    writers = [node for node in found if changed(model, node) or _acts_outside(model, node)]
    return dict(_Reader(model, writers, numbering).read()) if writers else {}


def lost(
    before: Mapping[str, Writer],
    after: Mapping[str, Writer],
    model: Model,
    said: Mapping[str, str],
    numbering: Numbering,
) -> Iterator[str]:
    """What the writers `before` did and those `after`, the ones of `model`, no longer do: a sentence for each.

    A writer may go where its memory is the graph's own and nothing is left that would see the difference; or where
    whoever took it away says why nobody can (`said`, by value). Both were read with that numbering.
    """

    def users(name: str) -> int:
        return numbering.mask(use.node.name for use in model.uses(name) if use.node is not None and use.position >= 0)

    reading = Gathered(users, numbering)
    for name, writer in before.items():
        now = after.get(name)
        message = f"{writer.op} {short_name(name)}"
        if now is None:
            if name in said:
                continue
            if not writer.is_ours:
                yield f"{message} is no longer carried out, and it changes what the graph does not own."
            elif seen := reading.of(writer.names) & (writer.after | writer.beside):
                first = min(numbering.names(seen))
                yield f"{message} is no longer carried out, and {short_name(first)} reads what it changes."
            continue
        for other in sorted(numbering.names(writer.after & ~now.after & (now.before | now.beside))):
            yield f"{short_name(other)} no longer comes after {message}."
        for other in sorted(numbering.names(writer.before & ~now.before & (now.after | now.beside))):
            yield f"{short_name(other)} no longer comes before {message}."


def _renamed_inputs(model: Model, node: Node) -> list[str]:
    """The values whose memory the node may give back under another name, by reading what was changed in place too."""
    memory = operator(node.op).memory
    if reads_memory(node):
        return [name for name in arguments(node, memory.argument) if _is_changed(model, model.producer(name))]
    return arguments(node, memory.argument) if memory.effect is Effect.WRITES else aliased(node)


def _is_changed(model: Model, node: Node | None) -> bool:
    """Whether the node gives memory that it changed, of a graph's own values."""
    return node is not None and node.op != CALL and bool(changed(model, node))


def _may_act(row: Operator) -> bool:
    return row.memory.effect is Effect.WRITES or row.is_opaque


def _acts_outside(model: Model, node: Node) -> bool:
    """Whether the node is one that nobody here knows, and the order of effects holds its place: it may print."""
    row = operator(node.op)
    return (
        row.is_opaque
        and row.memory.effect is Effect.FRESH
        and any(_orders(model, u.node) for u in model.uses(node.name))
    )


def _orders(model: Model, node: Node | None) -> bool:
    """Whether the node is part of the order of effects, or a tuple made for it."""
    if node is None or node.op == CALL:
        return False
    if makes_tuple(node):
        return any(use.node is not None and orders_effects(use.node) for use in model.uses(node.name))
    return orders_effects(node)


class _Reader:
    """One graph's writers."""

    def __init__(self, model: Model, writers: list[Node], numbering: Numbering) -> None:
        self._model = model
        self._writers = writers
        self._numbering = numbering
        self._renamings = cache(self._renaming)
        self._elements = cache(self._elements_of)
        self._under = Closure(lambda name: (numbering.bit(name), self._renamings(name)))
        """Every name that the value's memory has from it on."""
        self._names = Closure(self._named)
        """Every name of the value's memory."""
        self._foreign = Closure(self._origin)
        """1 where the graph does not own that memory."""
        self._renaming_bits = Gathered(lambda name: numbering.mask(self._renamings(name)), numbering)
        self._reading_bits = Gathered(self._readers_of, numbering)

    def read(self) -> Iterator[tuple[str, Writer]]:
        carried_out = self._carried_out()
        of_others = [node for node in self._writers if not changed(self._model, node)]
        outside = self._numbering.mask(node.name for node in of_others)
        read: dict[str, tuple[int, bool, int]] = {}
        for node in carried_out:
            own = self._numbering.bit(node.name)
            if changed(self._model, node):
                names, is_ours = self._memory(node)
                read[node.name] = names, is_ours, self._reading_bits.of(names) & ~own
            else:
                read[node.name] = 0, False, outside & ~own
        looked_at = 0
        for *_, readers in read.values():
            looked_at |= readers
        needing, needed = self._around(looked_at)
        for node in carried_out:
            names, is_ours, readers = read[node.name]
            after = readers & needing[node.name]
            before = readers & needed[node.name] & ~after
            yield node.name, Writer(node.op, names, is_ours, after, before, readers & ~after & ~before)

    def _calls(self) -> Iterator[tuple[Node, str]]:
        return ((n, n.proto.op_type.removeprefix("REF::")) for n in self._model.nodes if n.op == CALL)

    def _carried_out(self) -> list[Node]:
        """The writers that an output of their graph needs, or a call that one needs."""
        needed = live_values(self._model, [output.name for graph in self._model.graphs for output in graph.output])
        within: dict[str, set[str]] = {}
        for node, callee in self._calls():
            within.setdefault(node.graph.name, set()).add(callee)
        pending, called = [callee for node, callee in self._calls() if node.name in needed], set[str]()
        while pending:
            callee = pending.pop()
            if callee not in called:
                called.add(callee)
                pending += within.get(callee, ())
        return [node for node in self._writers if node.name in needed or node.graph.name in called]

    def _callers(self) -> dict[str, list[str]]:
        """By graph with writers, the calls in which its nodes are carried out, through other functions too."""
        calls: dict[str, list[Node]] = {}
        for node, callee in self._calls():
            calls.setdefault(callee, []).append(node)
        callers: dict[str, list[str]] = {}
        for graph in {node.graph.name for node in self._writers}:
            pending, seen, callers[graph] = [graph], {graph}, []
            while pending:
                for node in calls.get(pending.pop(), ()):
                    callers[graph].append(node.name)
                    if node.graph.name not in seen:
                        seen.add(node.graph.name)
                        pending.append(node.graph.name)
        return callers

    def _around(self, looked_at: int) -> tuple[dict[str, int], dict[str, int]]:
        """By writer, which of those nodes need it and which it needs; in a function, what is said of its calls too."""
        bits = {name: self._numbering.bit(name) for name in self._numbering.names(looked_at)}
        behind: dict[str, int] = {}
        # Graphs stand in topological order.
        for node in reversed(self._model.nodes):
            mask = behind.setdefault(node.name, 0) | bits.get(node.name, 0)
            if mask:
                for name in node.inputs:
                    behind[name] = behind.get(name, 0) | mask
        ahead: dict[str, int] = {}
        for node in self._model.nodes:
            mask = 0
            for name in node.inputs:
                mask |= ahead.get(name, 0) | bits.get(name, 0)
            ahead[node.name] = mask
        of_calls: dict[str, tuple[int, int]] = {}
        for graph, callers in self._callers().items():
            around = 0, 0
            for name in callers:
                around = around[0] | behind[name], around[1] | ahead[name]
            of_calls[graph] = around
        needing, needed = dict[str, int](), dict[str, int]()
        for node in self._writers:
            needing[node.name] = behind[node.name] | of_calls[node.graph.name][0]
            needed[node.name] = ahead[node.name] | of_calls[node.graph.name][1]
        return needing, needed

    def _memory(self, writer: Node) -> tuple[int, bool]:
        """Every name of the memory that the writer changes, its own result's aside; whether the graph owns it."""
        names, is_foreign = 0, 0
        for name in changed(self._model, writer):
            names |= self._names[name]
            is_foreign |= self._foreign[name]
        own = self._numbering.bit(writer.name)
        names &= ~self._under[writer.name]
        # What is under the result may have the memory from elsewhere, too.
        while new := self._renaming_bits.of(names) & ~names & ~own:
            names |= new
        return names, not is_foreign

    def _origin(self, name: str) -> tuple[int, list[str]]:
        onward, _, is_own = self._step(name)
        return int(not is_own), onward

    def _named(self, name: str) -> tuple[int, list[str]]:
        """Every name that memory of the value has from there on, and where the value has it from."""
        onward, same, _ = self._step(name)
        mask = self._under[name]
        for other in same:
            mask |= self._under[other]
        return mask, onward

    def _step(self, name: str) -> tuple[list[str], list[str], bool]:
        """Where the value's memory may come from, and more names of it; False where the graph does not own it."""
        node = self._model.producer(name)
        index = None if node is None else _index(self._model, node)
        if node is not None and index is not None:
            maker = self._model.producer(node.inputs[0])
            if maker is not None and maker.op not in (CONSTANT, CALL) and not _renamed_inputs(self._model, maker):
                # No operator gives tensors that overlap: the other elements of its tuple are other memory.
                return [], self._elements(maker.name)[index], _is_own(maker)
        onward = [] if node is None or node.op in (CONSTANT, CALL) else _renamed_inputs(self._model, node)
        return onward, [], bool(onward) or _is_own(node)

    def _elements_of(self, several: str) -> dict[int, list[str]]:
        """The names of each element of a tuple that is taken by a constant."""
        found: dict[int, list[str]] = {}
        for use in self._model.uses(several):
            index = None if use.node is None else _index(self._model, use.node)
            if use.node is not None and index is not None and use.position == 0:
                found.setdefault(index, []).append(use.node.name)
        return found

    def _renaming(self, name: str) -> list[str]:
        """The nodes that may give the value's memory another name."""
        nodes = (use.node for use in self._model.uses(name))
        found = (n.name for n in nodes if n is not None and n.op != CALL and name in _renamed_inputs(self._model, n))
        return list(dict.fromkeys(found))

    def _readers_of(self, name: str) -> int:
        """The nodes that read the memory under that name, or change it; names and order read nothing."""
        nodes = (use.node for use in self._model.uses(name))
        found = [node for node in nodes if node is not None and not _orders(self._model, node)]
        renamed = self._renamings(name)
        return self._numbering.mask(n.name for n in found if n.name not in renamed or changed(self._model, n))


def _index(model: Model, node: Node) -> int | None:
    """Which element of a tuple the node takes; None where it takes none, or no constant tells."""
    if len(node.inputs) < 2 or not takes_element(node) or not model.is_literal(node.inputs[1]):
        return None
    index = model.literal(node.inputs[1])
    return index if isinstance(index, int) else None


def _is_own(node: Node | None) -> bool:
    """Whether memory that the node gives is the graph's: no input or weight, no constant, and nothing of a callee's."""
    return node is not None and node.op not in (CONSTANT, CALL) and not reads_memory(node)
