"""A graph while it is put together: nodes that point at each other, and no names yet. Imports no protobuf.

The messages that nodes are copied from are those of MindIR, whoever parsed them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias


class NotPutTogetherError(Exception):
    """The pieces cannot be put together; the message says why."""


@dataclass(slots=True, eq=False, repr=False)
class Draft:
    """A node, copied from `template`, a NodeProto.

    `operator` is its place in the table of primitives, None for a constant. `scope` is where it stands in the model.
    `occurrence` is a number for each occurrence of a block, as what shares memory within one shares none with another.
    `declared` is the attribute that says the type, where the template's does not.
    """

    template: Any
    operator: int | None
    op: str
    inputs: list[Draft | str] = field(default_factory=list)
    scope: str = "Default"
    occurrence: int = 0
    declared: Any = None

    def type_attribute(self) -> Any:
        """The AttributeProto that says the type; None where none does."""
        if self.declared is not None:
            return self.declared
        return next((one for one in self.template.attribute if one.name == "shape"), None)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Several:
    """Values that no node holds together yet: a tuple of the graph, or what a block gives."""

    parts: tuple[Value, ...]
    maker: Draft | None = None
    """What makes a tuple of them, without inputs, where the graph says so itself."""


class State:
    """What a graph's effects are ordered by. There is one: nothing that is put together writes."""


STATE = State()

Value: TypeAlias = Draft | str | Several | State
"""A node, the name of an input or a parameter, several values, or the state."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A graph that is to be written: its output, its primitives, and the parameters that are declared, in order.

    Each parameter is a name and the TensorProto that it is copied from.
    """

    output: Draft | str
    primitives: tuple[Any, ...]
    parameters: tuple[tuple[str, Any], ...]


def in_order(output: Draft | str) -> Iterator[Draft]:
    """The nodes that the output depends on, as MindSpore writes them: each behind its inputs, the first input first.

    A constant comes before the first node that takes it.
    """
    done: set[int] = set()
    opened: set[int] = set()
    pending = [output] if isinstance(output, Draft) else []
    while pending:
        node = pending[-1]
        if id(node) in done:
            pending.pop()
        elif id(node) in opened:
            pending.pop()
            for taken in node.inputs:
                if isinstance(taken, Draft) and taken.operator is None and id(taken) not in done:
                    done.add(id(taken))
                    yield taken
            done.add(id(node))
            yield node
        else:
            opened.add(id(node))
            before = (taken for taken in reversed(node.inputs) if isinstance(taken, Draft))
            pending += [taken for taken in before if taken.operator is not None and id(taken) not in opened]
