"""Sums of numbers of rows, whose exponentials multiply what chunks of keys give."""

from __future__ import annotations

from typing import TypeAlias

from attnfuse.api import Model, Node
from attnfuse_passes.attention.identities.layout import integers
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.steps import Convert, Same

DEPTH = 64

Rows: TypeAlias = tuple[tuple[str, int], ...]
"""A sum of values of one number a row, each so many times, in order of their names."""


def exponent(model: Model, value: str) -> str | None:
    """What a value is the exponential of, through casts and a last axis of one element."""
    for _ in range(DEPTH):
        node = model.producer(value)
        if node is None:
            return None
        if node.op == "Exp":
            return node.inputs[0]
        behind = held_in(model, node)
        if behind is None:
            return None
        value = behind
    return None


def held_in(model: Model, node: Node) -> str | None:
    """The value whose numbers a node hands on as they are, cast, or with a last axis of one element; None where it
    gives others."""
    step = read_back(model, node.name, SitePart.VALUE)
    if step is not None and isinstance(step.effect, Same | Convert):
        return step.input
    return node.inputs[0] if is_expanded(model, node) else None


def sum_of_rows(model: Model, value: str, depth: int = DEPTH) -> Rows | None:
    """A value of one number a row, over a last axis of one element, as a sum of such values; None where it is of
    more."""
    tensor_type, node = model.type_of(value), model.producer(value)
    if tensor_type is None or tensor_type.dims[-1:] != (1,):
        return None
    if node is not None and depth and is_difference(model, node) and same_types(model, node):
        one, other = (sum_of_rows(model, name, depth - 1) for name in node.inputs[:2])
        return None if one is None or other is None else plus(one, times(other, -1))
    return ((row(model, value), 1),)


def row(model: Model, value: str) -> str:
    """The value that holds the numbers of a row, with or without a last axis of one element."""
    node = model.producer(value)
    while node is not None and (is_expanded(model, node) or _is_squeezed(model, node)):
        value = node.inputs[0]
        node = model.producer(value)
    return value


def is_expanded(model: Model, node: Node) -> bool:
    """Whether an axis of one element is put behind the others."""
    dims = _dims(model, node)
    return node.op in ("ExpandDims", "Reshape") and dims is not None and dims[1] == (*dims[0], 1)


def _is_squeezed(model: Model, node: Node) -> bool:
    dims = _dims(model, node)
    return node.op in ("Squeeze", "Reshape") and dims is not None and dims[0] == (*dims[1], 1)


def _dims(model: Model, node: Node) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    before, after = model.type_of(node.inputs[0]) if node.inputs else None, model.type_of(node.name)
    if before is None or after is None or not before.is_static:
        return None
    return before.dims, after.dims


def is_difference(model: Model, node: Node) -> bool:
    """Whether it is one value less another."""
    return node.op == "Sub" or (node.op == "SubExt" and integers(model, node.inputs[2]) == (1,))


def same_types(model: Model, node: Node) -> bool:
    """Whether nothing is repeated by an addition of one type."""
    types = {model.type_of(name) for name in (node.name, *node.inputs[:2])}
    return len(types) == 1 and None not in types


def plus(one: Rows, other: Rows) -> Rows:
    """The sum of both."""
    total = dict(one)
    for name, count in other:
        total[name] = total.get(name, 0) + count
    return tuple(sorted((name, count) for name, count in total.items() if count))


def times(rows: Rows, factor: int) -> Rows:
    """So many times the sum."""
    return tuple((name, factor * count) for name, count in rows)
