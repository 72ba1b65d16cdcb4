"""Bringing a value into the axes a fused node wants, from whatever layout the graph has it in."""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.api import Builder, MatchFailure
from attnfuse_passes.attention.axes import UNKNOWN, Axis, Space, keys, product
from attnfuse_passes.attention.normal_form import AttentionExpr, Operand, flat


def operand(b: Builder, expr: AttentionExpr, source: Operand, axes: Sequence[Axis]) -> str:
    """Query, key or value with one axis per group of atoms; existing values are used where one already fits.

    Raises MatchFailure where more than one dimension would have to be worked out at run time.
    """
    wanted = [keys(axis) for axis in axes]
    order = [key for group in wanted for key in group]
    for value, name in reversed(source.layouts):
        view = expr.space[name]
        if [keys(axis) for axis in view.axes] == wanted:
            return value
    for value, name in reversed(source.layouts):
        if list(keys(flat(expr.space[name].axes))) == order:
            return b.reshape(value, _dims(value, [product(axis) for axis in axes]))
    return arrange(b, expr.space, source.value, expr.space[source.view].source, axes, full=[True] * len(axes))


def arrange(b: Builder, space: Space, value: str, source: Axis, axes: Sequence[Axis], *, full: Sequence[bool]) -> str:
    """`value`, whose row-major atoms are `source`, with one axis per group of atoms.

    A group of which the value has no atom becomes an axis of one element, unless `full` says it must have its
    length; of a group it has some atoms of, the others are repeated.
    """
    own = set(keys(source))
    present = [atom for axis in axes for atom in axis if atom.key in own]
    position = {atom.key: i for i, atom in enumerate(source)}
    order = [position[atom.key] for atom in present]
    if order != list(range(len(source))):
        value = b.reshape(value, _dims(value, [atom.size for atom in source]))
        value = b.transpose(value, order)
    repeat = [
        [atom.key not in own and (full[i] or any(a.key in own for a in axis)) for atom in axis]
        for i, axis in enumerate(axes)
    ]
    if any(any(group) for group in repeat):
        ones = [1 if atom.key not in own else atom.size for axis in axes for atom in axis]
        value = b.reshape(value, _dims(value, ones))
        lengths = [
            atom.size if atom.key in own or again else 1
            for axis, group in zip(axes, repeat, strict=True)
            for atom, again in zip(axis, group, strict=True)
        ]
        value = b.broadcast(value, lengths)
    dims = [
        product([atom for atom, again in zip(axis, group, strict=True) if atom.key in own or again])
        for axis, group in zip(axes, repeat, strict=True)
    ]
    return b.reshape(value, _dims(value, dims))


def restore(b: Builder, value: str, axes: Sequence[Axis], output: Sequence[Axis]) -> str:
    """The fused node's result, with axes `axes`, as the replaced node had it, with axes `output`."""
    if [keys(axis) for axis in axes] == [keys(axis) for axis in output]:
        return value
    order = list(keys(flat(tuple(axes))))
    target = list(keys(flat(tuple(output))))
    if order != target:
        atoms = {atom.key: atom for axis in axes for atom in axis}
        value = b.reshape(value, _dims(value, [atoms[key].size for key in order]))
        value = b.transpose(value, [order.index(key) for key in target])
    return b.reshape(value, _dims(value, [product(axis) for axis in output]))


def _dims(value: str, dims: Sequence[int]) -> Sequence[int]:
    if list(dims).count(UNKNOWN) > 1:
        raise MatchFailure("facts.dynamic_layout", value, "at most one unknown size", "more")
    return dims
