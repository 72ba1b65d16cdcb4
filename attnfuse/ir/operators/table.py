"""All rows by name, those that plugins add, and what is assumed of an operator that has none."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import chain
from types import MappingProxyType

from attnfuse.ir.operators import (
    attention,
    convolutions,
    creation,
    elementwise,
    functions,
    in_place,
    layout,
    linear,
    logic,
    lookups,
    norms,
    parts,
    reductions,
    scalars,
    slices,
    state,
)
from attnfuse.ir.operators.arguments import Arguments, NotKnown
from attnfuse.ir.operators.columns import COMPUTED, FRESH, Kernel, Memory, alias, writes
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.types import ValueType

FAMILIES = (
    *(layout, parts, slices, elementwise, functions, in_place, logic, linear, reductions, norms, lookups),
    *(attention, state, creation, scalars, convolutions),
)
"""The modules that hold rows."""


def _by_name() -> dict[str, Operator]:
    rows: dict[str, Operator] = {}
    for operator in chain.from_iterable(family.ROWS for family in FAMILIES):
        assert operator.name not in rows, f"two rows for {operator.name}"
        rows[operator.name] = operator
    return rows


OPERATORS = MappingProxyType(_by_name())
"""attnfuse's own rows."""
_ADDED: dict[str, Operator] = {}


def extend(rows: Iterable[Operator]) -> None:
    """Let the table have these rows beside its own, and no others that were added before."""
    added = {row.name: row for row in rows}
    assert not added.keys() & OPERATORS.keys(), f"two rows for {min(added.keys() & OPERATORS.keys())}"
    _ADDED.clear()
    _ADDED.update(added)


def operator(name: str) -> Operator:
    """The operator's row, or what is assumed of one without a row."""
    found = OPERATORS.get(name) or _ADDED.get(name)
    return opaque(name) if found is None else found


@cache
def opaque(name: str) -> Operator:
    """An operator nobody here knows: it computes, nothing is read through it, and its name tells what it may do.

    MindSpore marks by name what changes its first argument (`InplaceAddExt`, `AssignAdd`, `ScatterUpdate`), and what
    gives another name of its memory (`TransposeView`).
    """
    memory: Memory = FRESH
    if name.startswith(("Inplace", "Assign", "Scatter")):
        memory = writes("arguments")
    elif name.endswith("View"):
        memory = alias("arguments")
    return Operator(
        name, "arguments: any...", _not_known, COMPUTED, memory, Kernel.ELEMENTWISE, None, (), "", is_opaque=True
    )


def _not_known(a: Arguments) -> ValueType:
    raise NotKnown("arguments")
