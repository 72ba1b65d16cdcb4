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
    Node,
    Result,
    aliased,
    cannot,
    changed,
    dtypes,
    effective_uses,
    makes_tuple,
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
    value, reader = at.input(0), at.node
    while True:
        made_by = at.model.producer(value)
        if made_by is None or not _gives_own_memory(made_by):
            raise cannot("it changes a weight, an input, a constant or what a function gives")
        for use in effective_uses(at.model, value):
            if use.node is not reader and not _another_element(at, reader, use.node):
                raise cannot("something else reads what it changes")
        same = changed(at.model, made_by) or aliased(made_by)
        if not same:
            return
        value, reader = same[0], made_by


def _gives_own_memory(node: Node) -> bool:
    """Whether the memory that the node gives is the graph's own to change, and one value's."""
    return node.op not in (CONSTANT, CALL) and not reads_memory(node) and not makes_tuple(node)


def _another_element(at: RuleContext, reader: Node, other: Node | None) -> bool:
    """Whether both read elements of a tuple, and different ones: no operator gives tensors that overlap."""
    if other is None or not (takes_element(reader) and takes_element(other)):
        return False
    return at.model.literal(reader.inputs[1]) != at.model.literal(other.inputs[1])
