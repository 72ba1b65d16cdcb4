"""What nodes give that are being written, inferred one after the other on top of a graph's own values.

May import the other modules of this room and `attnfuse.mindir`.
"""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.ir.graph import Model
from attnfuse.ir.operators.arguments import COMPUTED, Argument, Arguments, TypeMismatch
from attnfuse.ir.operators.columns import Hands, Role
from attnfuse.ir.operators.table import operator
from attnfuse.ir.types import Kind, agree, told
from attnfuse.ir.values import Values, read_constant, tuple_of
from attnfuse.mindir.schema import AttributeProto


class Inference:
    """Holds new nodes to the operator table as they are made. A name given again stands for the later node."""

    def __init__(self, model: Model) -> None:
        self._values = Values(model)
        self._of_kind: dict[Kind, Argument] = {}
        self._judged: dict[tuple[object, ...], tuple[str | None, list[Argument]]] = {}
        """By operator, attributes, declared kind and what is known of each input (by identity, so it is kept): sites
        are alike."""

    def constant(self, name: str, value: AttributeProto) -> None:
        """A constant of that value."""
        self._values.put(name, read_constant(value))

    def contradiction(
        self, name: str, op: str, inputs: Sequence[str], attributes: Sequence[AttributeProto], declared: Kind
    ) -> str | None:
        """Why operator `op` does not give `declared` of these inputs: a sentence without its subject. None where it
        does, or where that is not known before run time."""
        given = [self._argument(value) for value in inputs]
        key = (op, declared, *(a.SerializeToString() for a in attributes), *map(id, given))
        if key not in self._judged:
            self._judged[key] = _judge(op, given, attributes, declared), given
        row = operator(op)
        is_tuple = row.role is Role.TUPLE and row.value.hands is Hands.JOINED
        self._values.put(name, tuple_of(tuple(given)) if is_tuple else Argument(declared))
        return self._judged[key][0]

    def _argument(self, value: str) -> Argument:
        """What is known of a value; the same object for all that are computed and of one kind."""
        found = self._values.argument(value)
        if found.elements is not None or found.value is not COMPUTED:
            return found
        same = self._of_kind.setdefault(found.kind, found)
        self._values.put(value, same)
        return same

    def stands_for(self, value: str, other: str) -> bool:
        """Whether what is known of `value` does not contradict what the graph declares `other` to be."""
        return agree(self._values.argument(value).kind, self._values.argument(other).kind)


def _judge(op: str, given: Sequence[Argument], attributes: Sequence[AttributeProto], declared: Kind) -> str | None:
    row, held = operator(op), {attribute.name: read_constant(attribute) for attribute in attributes}
    try:
        kind = row.result(Arguments(row.signature.with_attributes(frozenset(held)), given, held.get))
    except TypeMismatch as error:
        return str(error)
    return None if agree(kind, declared) else f"gives {told(kind)}, not {told(declared)}"
