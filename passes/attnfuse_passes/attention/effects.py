"""Values that something changes in place: what they hold depends on when they are read, so nothing is proved of them.

Which operators change memory, and which give another name to the same memory, the operator table says; a change
through one name is a change of all. A weight is read through Load; whatever takes it as it is (Assign, a cache's
operator, a call) may write to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from attnfuse.api import (
    Model,
    Node,
    Use,
    aliased,
    changed,
    makes_tuple,
    orders_effects,
    reads_memory,
    writes_conditionally,
)


def effective_uses(model: Model, value: str) -> list[Use]:
    """Uses that read the value's numbers: the ordering of effects (UpdateState) does not."""
    return [use for use in model.uses(value) if use.node is None or not only_orders(model, use.node)]


def only_orders(model: Model, node: Node) -> bool:
    """Whether the node reads values only to order effects: an UpdateState, or a tuple that only those read."""
    if orders_effects(node):
        return True
    onward = model.uses(node.name) if makes_tuple(node) else []
    return bool(onward) and all(use.node is not None and orders_effects(use.node) for use in onward)


@dataclass(frozen=True, slots=True)
class Effects:
    """The values of a model that are changed in place, under any of their names, and the weights that may be."""

    mutated: frozenset[str]
    written: frozenset[str] = field(default_factory=frozenset)
    """Weights that the graph writes to, or hands to something that might: their numbers are those of no file."""

    @classmethod
    def of(cls, model: Model) -> Effects:
        """Collect them: the targets of in-place operators, and every other name of the same memory."""
        mutated: set[str] = set()
        pending = [value for node in model.nodes for value in changed(model, node)]
        while pending:
            value = pending.pop()
            if value in mutated:
                continue
            mutated.add(value)
            made_by = model.producer(value)
            pending.extend(aliased(made_by) if made_by is not None else ())
            pending.extend(node.name for node in other_names(model, value))
        weights = [parameter.name for parameter in model.parameters()]
        written = {name for name in weights if any(not _only_reads(model, use) for use in effective_uses(model, name))}
        return cls(frozenset(mutated), frozenset(written | _memory(model, mutated)))

    def without(self, value: str) -> Effects:
        """The same, as if nothing changed `value`: what its only reader finds before the change."""
        return replace(self, mutated=self.mutated - {value})

    def settled(self, model: Model, value: str) -> bool:
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
