"""Values that something changes in place: what they hold depends on when they are read, so nothing is proved of them.

MindSpore marks such operators by name (`InplaceAddExt`, `AssignAdd`, …) and orders reads after them with Load. The
operators named `…View` give another name to the same memory, so a change through one name is a change of all. A weight
is read through Load; whatever takes it as it is (Assign, a cache's operator, a call) may write to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from attnfuse.api import Model, Node, Use

_WRITES = ("Inplace", "Assign", "Scatter")
_ORDER = "UpdateState"
_READS = ("Load", "Depend")
_MAX_NORM = 3
"""Which argument of Embedding is the largest norm its table's rows may have."""


def writes_in_place(node: Node) -> bool:
    """Whether the node changes its first input. (`ScatterNd`-like operators that make a new tensor do no harm here.)"""
    return node.op.startswith(_WRITES)


def is_alias(node: Node | None) -> bool:
    """Whether the node gives another name to its first input's memory."""
    return node is not None and (node.op.endswith("View") or node.op == "TupleGetItem")


def effective_uses(model: Model, value: str) -> list[Use]:
    """Uses that read the value's numbers: the ordering of effects (UpdateState) does not."""
    return [use for use in model.uses(value) if use.node is None or not only_orders(model, use.node)]


def only_orders(model: Model, node: Node) -> bool:
    """Whether the node reads values only to order effects: an UpdateState, or a MakeTuple that only those read."""
    if node.op == _ORDER:
        return True
    onward = model.uses(node.name) if node.op == "MakeTuple" else []
    return bool(onward) and all(use.node is not None and use.node.op == _ORDER for use in onward)


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
        pending = [node.inputs[0] for node in model.nodes if writes_in_place(node) and node.inputs]
        while pending:
            value = pending.pop()
            if value in mutated:
                continue
            mutated.add(value)
            made_by = model.producer(value)
            if made_by is not None and is_alias(made_by):
                pending.append(made_by.inputs[0])
            pending.extend(use.node.name for use in model.uses(value) if use.node is not None and is_alias(use.node))
        weights = [parameter.name for parameter in model.parameters()]
        written = {name for name in weights if any(not _only_reads(model, use) for use in effective_uses(model, name))}
        return cls(frozenset(mutated), frozenset(written | {_memory(model, value) for value in mutated}))

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
        if node is None or not writes_in_place(node):
            return True
        buffer = [use.node for use in effective_uses(model, node.inputs[0])]
        readers = [use.node for use in effective_uses(model, value)]
        return buffer == [node] and all(reader is not None and reader.op == "Load" for reader in readers)


def _only_reads(model: Model, use: Use) -> bool:
    """Whether a use of a weight does no more than read its numbers.

    MindSpore gives a weight itself, and not what Load reads of it, to whatever writes to it: Assign, a cache's
    operator, a function that may hold one. An embedding gets it so too, as its largest norm, if it has one, is imposed
    on the table.
    """
    node = use.node
    if node is None or node.op != "Embedding":
        return node is not None and node.op == "Load"
    return len(node.inputs) <= _MAX_NORM or (
        model.is_literal(node.inputs[_MAX_NORM]) and model.literal(node.inputs[_MAX_NORM]) is None
    )


def _memory(model: Model, value: str) -> str:
    """The value whose memory this is, through other names of it and through what reads a weight by reference."""
    node = model.producer(value)
    while node is not None and (node.op in _READS or is_alias(node)):
        value = node.inputs[0]
        node = model.producer(value)
    return value
