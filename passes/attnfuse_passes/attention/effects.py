"""Values that something changes in place: what they hold depends on when they are read, so nothing is proved of them.

MindSpore marks such operators by name (`InplaceAddExt`, `AssignAdd`, …) and orders reads after them with Load. The
operators named `…View` give another name to the same memory, so a change through one name is a change of all.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.api import Model, Node, Use

_WRITES = ("Inplace", "Assign", "Scatter")
_ORDER = "UpdateState"


def writes_in_place(node: Node) -> bool:
    """Whether the node changes its first input. (`ScatterNd`-like operators that make a new tensor do no harm here.)"""
    return node.op.startswith(_WRITES)


def _is_alias(node: Node | None) -> bool:
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
    """The values of a model that are changed in place, under any of their names."""

    mutated: frozenset[str]

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
            if made_by is not None and _is_alias(made_by):
                pending.append(made_by.inputs[0])
            pending.extend(use.node.name for use in model.uses(value) if use.node is not None and _is_alias(use.node))
        return cls(frozenset(mutated))

    def settled(self, model: Model, value: str) -> bool:
        """Whether the value is the same whenever it is read.

        So it is if nothing changes it; and so is the result of an in-place operator whose buffer nobody else reads, if
        it is itself only read after the change.
        """
        if value in self.mutated:
            return False
        node = model.producer(value)
        if node is None or not writes_in_place(node):
            return True
        buffer = [use.node for use in effective_uses(model, node.inputs[0])]
        readers = [use.node for use in effective_uses(model, value)]
        return buffer == [node] and all(reader is not None and reader.op == "Load" for reader in readers)
