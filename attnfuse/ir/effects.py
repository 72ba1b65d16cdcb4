"""What a graph does beside giving its outputs: which nodes change memory, in which order, and who sees it.

Which operators change memory, and which give another name to the same memory, the operator table says; a change
through one name is a change of all. A weight is read through Load; whatever takes it as it is (Assign, a cache's
operator, a call) may write to it. What a value in changed memory holds depends on when it is read, so nothing is
proved of its numbers.

MindSpore orders effects by values of no number (monads): a node that changes memory takes a state, `UpdateState` makes
the next state from it, `Depend` ties the last one to a result. A node is carried out because something needs it, and
after another because it needs that. So what counts as order here is need: A stands before B where B needs A.

`Effects.of` reads a graph, `lost` tells what one graph did and another no longer does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, Use, short_name
from attnfuse.ir.operators.columns import Effect
from attnfuse.ir.operators.table import operator
from attnfuse.ir.questions import (
    aliased,
    arguments,
    changed,
    makes_tuple,
    orders_effects,
    reads_memory,
    takes_element,
    writes_conditionally,
)


def _renamed_inputs(node: Node) -> list[str]:
    """The values whose memory the node may give back under another name."""
    memory = operator(node.op).memory
    return arguments(node, memory.argument) if memory.effect is Effect.WRITES else aliased(node)


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


@dataclass(frozen=True, slots=True)
class Writer:
    """A node that changes memory. `others` are the nodes that read the same memory but for its own result: those that
    need the writer, those that it needs, and those of which neither is so. `names` are those of the memory."""

    op: str
    names: frozenset[str]
    is_ours: bool
    """Whether the memory is the graph's own: no weight, input or constant, and none of a function's caller."""
    after: frozenset[str]
    before: frozenset[str]
    beside: frozenset[str]


@dataclass(frozen=True, slots=True)
class Effects:
    """What a graph writes to: the values that are changed in place, under any of their names, and who does it."""

    mutated: frozenset[str]
    written: frozenset[str]
    """Weights that the graph writes to, or hands to something that might: their numbers are those of no file."""
    writers: Mapping[str, Writer] = field(default_factory=dict)
    """The nodes that do, as far as they are carried out, by the value each gives."""

    @classmethod
    def of(cls, model: Model) -> Effects:
        """Read them. Costs little where nothing writes, as in most graphs."""
        nodes = [node for node in model.nodes if node.op not in (CONSTANT, CALL)]
        writing = [node for node in nodes if changed(model, node) or _acts_outside(model, node)]
        mutated = _mutated(model, writing)
        weights = [parameter.name for parameter in model.parameters()]
        written = {name for name in weights if any(not _only_reads(model, use) for use in effective_uses(model, name))}
        writers = dict(_Reader(model, writing).read()) if writing else {}
        return cls(frozenset(mutated), frozenset(written | _memory(model, mutated)), writers)

    def without(self, value: str) -> Effects:
        """The same, as if nothing changed `value`: what its only reader finds before the change."""
        return replace(self, mutated=self.mutated - {value})

    def is_never_mutated(self, model: Model, value: str) -> bool:
        """Whether the value is the same whenever it is read.

        So it is if nothing changes it; and so is the result of an in-place operator whose buffer nobody else reads, if
        it is itself only read after the change.
        """
        if value in self.mutated or value in self.written:
            return False
        node = model.producer(value)
        written = [] if node is None else changed(model, node)
        if not written:
            return True
        buffer = [use.node for name in written for use in effective_uses(model, name)]
        readers = [use.node for use in effective_uses(model, value)]
        return buffer == [node] and all(reader is not None and reads_memory(reader) for reader in readers)


def effective_uses(model: Model, value: str) -> list[Use]:
    """Uses that read the value's numbers: the ordering of effects (UpdateState) does not."""
    return [use for use in model.uses(value) if use.node is None or not only_orders(model, use.node)]


def only_orders(model: Model, node: Node) -> bool:
    """Whether the node reads values only to order effects: an UpdateState, or a tuple that only those read."""
    if orders_effects(node):
        return True
    onward = model.uses(node.name) if makes_tuple(node) else []
    return bool(onward) and all(use.node is not None and orders_effects(use.node) for use in onward)


def other_names(model: Model, value: str) -> list[Node]:
    """The nodes that may give the value's memory another name. A tuple holds it, beside others, and is none."""
    users = [use.node for use in model.uses(value) if use.node is not None]
    return [node for node in users if value in aliased(node) and not makes_tuple(node)]


def may_change(model: Model, value: str) -> bool:
    """Whether something may change the value's memory, under its name or one that is made from it."""
    seen, pending = set[str](), [value]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if any(use.node is not None and name in changed(model, use.node) for use in model.uses(name)):
            return True
        pending.extend(node.name for node in other_names(model, name))
    return False


def _mutated(model: Model, writing: Iterable[Node]) -> set[str]:
    """The targets of those nodes, and every other name of the same memory."""
    mutated: set[str] = set()
    pending = [value for node in writing for value in changed(model, node)]
    while pending:
        value = pending.pop()
        if value in mutated:
            continue
        mutated.add(value)
        made_by = model.producer(value)
        pending.extend(aliased(made_by) if made_by is not None else ())
        pending.extend(node.name for node in other_names(model, value))
    return mutated


def _only_reads(model: Model, use: Use) -> bool:
    """Whether a use of a weight does no more than read its numbers.

    MindSpore gives a weight itself, and not what Load reads of it, to whatever writes to it: Assign, a cache's
    operator, a function that may hold one. An embedding gets it so too, as its largest norm, if it has one, is imposed
    on the table.
    """
    node = use.node
    if node is None:
        return False
    return reads_memory(node) or (writes_conditionally(node) and not changed(model, node))


def _memory(model: Model, values: Iterable[str]) -> set[str]:
    """The values whose memory this is, through other names of it and through what reads a weight by reference."""
    seen, pending = set[str](), list(values)
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        node = model.producer(value)
        if node is not None:
            pending.extend(node.inputs[:1] if reads_memory(node) else aliased(node))
    return seen


def lost(before: Effects, after: Effects, model: Model, said: Mapping[str, str]) -> Iterator[str]:
    """What `before` did and `after`, the effects of `model`, no longer does: a sentence for each.

    A writer may go where its memory is the graph's own and nothing is left that would see the difference; or where
    whoever took it away says why nobody can (`said`, by value).
    """
    for name, writer in before.writers.items():
        now = after.writers.get(name)
        message = f"{writer.op} {short_name(name)}"
        if now is None:
            if name in said:
                continue
            seen = sorted(r for r in writer.after | writer.beside if _reads(model, r, writer.names))
            if not writer.is_ours:
                yield f"{message} is no longer carried out, and it changes what the graph does not own."
            elif seen:
                yield f"{message} is no longer carried out, and {short_name(seen[0])} reads what it changes."
            continue
        for other in sorted(writer.after - now.after):
            if other in now.before or other in now.beside:
                yield f"{short_name(other)} no longer comes after {message}."
        for other in sorted(writer.before - now.before):
            if other in now.after or other in now.beside:
                yield f"{short_name(other)} no longer comes before {message}."


def _reads(model: Model, name: str, memory: frozenset[str]) -> bool:
    node = model.producer(name)
    return node is not None and not memory.isdisjoint(node.inputs)


class _Reader:
    """One graph's writers: each is a bit, and every node has the bits of those it needs and of those that need it."""

    def __init__(self, model: Model, writers: list[Node]) -> None:
        self._model = model
        self._writers = writers
        self._bit = {node.name: 1 << i for i, node in enumerate(writers)}
        self._inside = self._of_functions()
        # Thousands may write to one memory in turn, each under every name that it had before.
        self._origins: dict[str, tuple[frozenset[str], bool]] = {}
        self._renamings = _Known(self._renaming)
        self._reading = _Known(self._readers_of)

    def read(self) -> Iterator[tuple[str, Writer]]:
        needs, needed = self._needs(), self._needed()
        carried_out = self._carried_out(needs)
        for node in self._writers:
            bit = self._bit[node.name]
            if not carried_out & bit:
                continue
            if changed(self._model, node):
                names, is_ours = self._memory(node)
                readers = self._readers(node, names)
            else:
                names, is_ours = frozenset[str](), False
                readers = frozenset(o.name for o in self._writers if o is not node and not changed(self._model, o))
            after, before, beside = list[str](), list[str](), list[str]()
            for reader in readers:
                if needs.get(reader, 0) & bit:
                    after.append(reader)
                else:
                    (before if needed.get(reader, 0) & bit else beside).append(reader)
            yield node.name, Writer(node.op, names, is_ours, frozenset(after), frozenset(before), frozenset(beside))

    def _of_functions(self) -> dict[str, int]:
        """The writers in each function, and in those it calls."""
        inside = {graph.name: 0 for graph in self._model.graphs}
        for node in self._writers:
            inside[node.graph.name] |= self._bit[node.name]
        calls = [(n.graph.name, n.proto.op_type.removeprefix("REF::")) for n in self._model.nodes if n.op == CALL]
        for _ in inside:
            for caller, callee in calls:
                inside[caller] |= inside.get(callee, 0)
        return inside

    def _own(self, node: Node) -> int:
        if node.op == CALL:
            return self._inside.get(node.proto.op_type.removeprefix("REF::"), 0)
        return self._bit.get(node.name, 0)

    def _needs(self) -> dict[str, int]:
        """By node, the writers it needs. Graphs stand in topological order."""
        through: dict[str, int] = {}
        needs: dict[str, int] = {}
        for node in self._model.nodes:
            mask = 0
            for name in node.inputs:
                mask |= through.get(name, 0)
            needs[node.name] = mask
            through[node.name] = mask | self._own(node)
        return needs

    def _needed(self) -> dict[str, int]:
        """By node, the writers that need it."""
        needed: dict[str, int] = {}
        for node in reversed(self._model.nodes):
            mask = needed.setdefault(node.name, 0) | self._own(node)
            for name in node.inputs:
                needed[name] = needed.get(name, 0) | mask
        return needed

    def _carried_out(self, needs: Mapping[str, int]) -> int:
        """The writers that an output of their graph needs."""
        mask = 0
        for graph in self._model.graphs:
            for output in graph.output:
                node = self._model.producer(output.name)
                mask |= needs.get(output.name, 0) | (0 if node is None else self._own(node))
        return mask

    def _memory(self, writer: Node) -> tuple[frozenset[str], bool]:
        """Every name of the memory that the writer changes, its own result's aside; whether the graph owns it."""
        names, is_ours = frozenset[str](), True
        for name in changed(self._model, writer):
            known, is_own = self._origin(name)
            names, is_ours = names | known, is_ours and is_own
        new = names
        while new := frozenset[str]().union(*map(self._renamings.__getitem__, new)) - names - {writer.name}:
            names |= new
        return names, is_ours

    def _origin(self, value: str) -> tuple[frozenset[str], bool]:
        """Every name that the value's memory has up to it; whether the graph owns that memory."""
        pending = [value]
        while value not in self._origins:
            name = pending[-1]
            onward, same, is_own = self._step(name)
            missing = [before for before in onward if before not in self._origins]
            if missing:
                pending += missing
                continue
            found = [self._origins[before] for before in onward]
            names = frozenset({name, *same}).union(*(names for names, _ in found))
            self._origins[pending.pop()] = names, is_own and all(is_own for _, is_own in found)
        return self._origins[value]

    def _step(self, name: str) -> tuple[list[str], list[str], bool]:
        """Where the value's memory may come from, and more names of it; False where the graph does not own it."""
        node = self._model.producer(name)
        element = None if node is None else _element(self._model, node)
        if element is not None:
            # No operator gives tensors that overlap: the other elements of its tuple are other memory.
            maker, same = element
            return [], same, _is_own(maker)
        onward = [] if node is None or node.op in (CONSTANT, CALL) else _renamed_inputs(node)
        return onward, [], bool(onward) or _is_own(node)

    def _readers(self, writer: Node, names: frozenset[str]) -> frozenset[str]:
        """The nodes that read the memory under one of those names; names and order read nothing."""
        return frozenset[str]().union(*map(self._reading.__getitem__, names)) - {writer.name}

    def _renaming(self, name: str) -> frozenset[str]:
        """The nodes that may give the value's memory another name."""
        nodes = (use.node for use in self._model.uses(name))
        return frozenset(n.name for n in nodes if n is not None and n.op != CALL and name in _renamed_inputs(n))

    def _readers_of(self, name: str) -> frozenset[str]:
        """The nodes that read the memory under that name, or change it."""
        nodes = (use.node for use in self._model.uses(name))
        found = [node for node in nodes if node is not None and not _orders(self._model, node)]
        renamed = self._renamings[name]
        return frozenset(node.name for node in found if node.name not in renamed or changed(self._model, node))


class _Known(dict[str, frozenset[str]]):
    """What a question about a value was answered, each asked once."""

    def __init__(self, ask: Callable[[str], frozenset[str]]) -> None:
        self._ask = ask

    def __missing__(self, value: str) -> frozenset[str]:
        self[value] = found = self._ask(value)
        return found


def _element(model: Model, node: Node) -> tuple[Node, list[str]] | None:
    """For one element, by a constant, of the results of an operator: the operator, and every name of the element."""
    if not _picks(node) or not model.is_literal(node.inputs[1]):
        return None
    maker = model.producer(node.inputs[0])
    if maker is None or maker.op in (CONSTANT, CALL) or _renamed_inputs(maker):
        return None
    index = model.literal(node.inputs[1])
    users = [use.node for use in model.uses(maker.name)]
    picks = [user for user in users if user is not None and _picks(user) and model.is_literal(user.inputs[1])]
    return maker, [pick.name for pick in picks if model.literal(pick.inputs[1]) == index]


def _picks(node: Node) -> bool:
    """Whether the node takes an element out of a tuple."""
    return len(node.inputs) > 1 and takes_element(node)


def _is_own(node: Node | None) -> bool:
    """Whether memory that the node gives is the graph's: no input or weight, no constant, and nothing of a callee's."""
    return node is not None and node.op not in (CONSTANT, CALL) and not reads_memory(node)
