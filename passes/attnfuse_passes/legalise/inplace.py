"""Operators that change their first input in place, where nothing else sees the change: the plain operators.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`). What an in-place operator gives
back is another name for the memory it changed. Whatever reads that result reads the same numbers from a new tensor;
only other readers of that memory, before or after, could tell the two apart. So there must be none.
"""

from __future__ import annotations

from attnfuse.api import (
    CALL,
    CONSTANT,
    DType,
    Model,
    Node,
    Result,
    aliased,
    cannot,
    changed,
    dtypes,
    makes_tuple,
    only_orders,
    reads_memory,
    takes_element,
)
from attnfuse_passes.legalise.rules import RuleContext, legalises


@legalises("InplaceAddExt")
def add(at: RuleContext) -> Result:
    """(x, y, alpha, state): x + alpha · y, in x's type."""
    other = _other(at)
    alpha = at.number(2)
    if not at.out.dtype.is_float and not isinstance(alpha, int):
        raise cannot(f"it adds {alpha} times whole numbers to whole numbers")
    return at.build.op("Add", at.input(0), at.build.scaled(other, alpha))


@legalises("InplaceMul")
def multiply(at: RuleContext) -> Result:
    """(x, y, state): x · y, in x's type."""
    return at.build.op("Mul", at.input(0), _other(at))


def _other(at: RuleContext) -> str:
    """The second operand in the first's type, which the result has: whole numbers become floating, not the reverse."""
    _check_alone(at)
    mine, other = at.out.dtype, at.type(1).dtype
    if other != mine and _rank(other) >= _rank(mine):
        raise cannot(f"it brings {other} into {mine}")
    return at.build.cast(at.input(1), mine)


def _rank(dtype: DType) -> int:
    return 0 if dtype is dtypes.BOOL else 2 if dtype.is_float else 1


def _check_alone(at: RuleContext) -> None:
    """Raise MatchFailure where anything but this node may read the memory it changes, under any of its names."""
    known = at.model.remembered(_known)
    value, reader, names = at.input(0), at.node, list[tuple[str, str]]()
    while (found := known.get((value, reader.name))) is None:
        names.append((value, reader.name))
        found = _seen_by_others(at.model, value, reader)
        made_by = at.model.producer(value)
        same = [] if found or made_by is None else changed(at.model, made_by) or aliased(made_by)
        if made_by is None or not same:
            break
        value, reader = same[0], made_by
    known.update(dict.fromkeys(names, found))
    if found:
        raise cannot(found)


def _known(model: Model) -> dict[tuple[str, str], str]:
    """Of the names that a reader has memory by, why the memory is not its alone, or nothing: chains of changes have
    most of their names in common."""
    return {}


def _seen_by_others(model: Model, value: str, reader: Node) -> str:
    """Why the memory of a value is not for one reader of it to change, or nothing."""
    made_by = model.producer(value)
    if made_by is None or not _gives_own_memory(made_by):
        return "it changes a weight, an input, a constant or what a function gives"
    for use in model.uses(value):
        if use.node is reader or (use.node is not None and only_orders(model, use.node)):
            continue
        if not _another_element(model, reader, use.node):
            return "something else reads what it changes"
    return ""


def _gives_own_memory(node: Node) -> bool:
    """Whether the memory that the node gives is the graph's own to change, and one value's."""
    return node.op not in (CONSTANT, CALL) and not reads_memory(node) and not makes_tuple(node)


def _another_element(model: Model, reader: Node, other: Node | None) -> bool:
    """Whether both read elements of a tuple, and different ones: no operator gives tensors that overlap."""
    if other is None or not (takes_element(reader) and takes_element(other)):
        return False
    indices = reader.inputs[1], other.inputs[1]
    return all(map(model.is_literal, indices)) and model.literal(indices[0]) != model.literal(indices[1])
