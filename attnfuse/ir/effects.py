"""What a graph does beside giving its outputs: what it changes in memory. Who does, and in which order: `writers`.

Which operators change memory, and which give another name to the same memory, the operator table says; a change
through one name is a change of all. A weight is read through Load; whatever takes it as it is (Assign, a cache's
operator, a call) may write to it. What a value in changed memory holds depends on when it is read, so nothing is
proved of its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from attnfuse.ir.graph import CALL, Model, Node, Use
from attnfuse.ir.numbering import Closure
from attnfuse.ir.operators.columns import Effect
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.questions import (
    aliased,
    changed,
    makes_tuple,
    nodes_of,
    orders_effects,
    reads_memory,
    writes_conditionally,
)


@dataclass(frozen=True, slots=True)
class Effects:
    """What a graph writes to: the values that are changed in place, under any of their names."""

    mutated: frozenset[str]
    written: frozenset[str]
    """Weights that the graph writes to, or hands to something that might: their numbers are those of no file."""

    @classmethod
    def of(cls, model: Model) -> Effects:
        """Read them. Costs little where nothing writes, as in most graphs."""
        mutated = _mutated(model)
        reading = {node.op for node in nodes_of(model, _reads)}
        # As far as plain reading goes, which is all there is of nearly every weight, the operator says so.
        others = {output.name for graph in model.graphs for output in graph.output}
        others.update(*[node.inputs for node in model.nodes if node.op not in reading])
        others.update([node.callee for node in model.nodes if node.op == CALL and node.callee is not None])
        odd = [weight.name for weight in model.weights_among(others)]
        written = {name for name in odd if any(not _only_reads(model, use) for use in _effective_uses(model, name))}
        return cls(frozenset(mutated), frozenset(written | _memory(model, mutated)))

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
        buffer = [use.node for name in written for use in islice(_effective_uses(model, name), 2)]
        readers = (use.node for use in _effective_uses(model, value))
        return buffer == [node] and all(reader is not None and reads_memory(reader) for reader in readers)


def effective_uses(model: Model, value: str) -> list[Use]:
    """Uses that read the value's numbers: the ordering of effects (UpdateState) does not."""
    return list(_effective_uses(model, value))


def _effective_uses(model: Model, value: str) -> Iterator[Use]:
    return (use for use in model.uses(value) if use.node is None or not only_orders(model, use.node))


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
    return bool(model.remembered(_changing)[value])


def _changing(model: Model) -> Closure:
    """1 for each value whose memory something may change."""

    def step(name: str) -> tuple[int, list[str]]:
        is_changed = any(use.node is not None and name in changed(model, use.node) for use in model.uses(name))
        return int(is_changed), [] if is_changed else [node.name for node in other_names(model, name)]

    return Closure(step)


def _mutated(model: Model) -> set[str]:
    """What nodes change, and every other name of the same memory."""
    mutated: set[str] = set()
    pending = [value for node in nodes_of(model, _may_write) for value in changed(model, node)]
    while pending:
        value = pending.pop()
        if value in mutated:
            continue
        mutated.add(value)
        made_by = model.producer(value)
        pending.extend(aliased(made_by) if made_by is not None else ())
        pending.extend(node.name for node in other_names(model, value))
    return mutated


def _reads(row: Operator) -> bool:
    return row.memory.effect is Effect.READS


def _may_write(row: Operator) -> bool:
    return row.memory.effect is Effect.WRITES


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
