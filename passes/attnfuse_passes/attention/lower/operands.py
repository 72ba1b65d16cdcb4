"""Bringing a value into the axes a fused node wants, from whatever layout the graph has it in, and back.

An `Arrangement` is the list of what is done to a value, known before a node is written: so is whether it can be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from attnfuse.api import Builder
from attnfuse_passes.attention.axes import UNKNOWN, Axis, keys, product
from attnfuse_passes.attention.normal_form import AttentionAxes, Layout, Operand, flat


class Step(Protocol):
    """One node that moves, regroups or repeats axes."""

    def write(self, b: Builder, value: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Reshape:
    """The elements in another shape; none where it is that shape already."""

    dims: tuple[int, ...]

    def write(self, b: Builder, value: str) -> str:
        return b.reshape(value, self.dims)


@dataclass(frozen=True, slots=True)
class Transpose:
    """Axis i of the result is axis `order[i]`."""

    order: tuple[int, ...]

    def write(self, b: Builder, value: str) -> str:
        return b.transpose(value, self.order)


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Axes of one element repeated."""

    dims: tuple[int, ...]

    def write(self, b: Builder, value: str) -> str:
        return b.broadcast(value, self.dims)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The steps that bring a value into a shape."""

    steps: tuple[Step, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether more than one size of a shape would have to be worked out at run time: no Reshape says that."""
        return any(isinstance(step, Reshape) and step.dims.count(UNKNOWN) > 1 for step in self.steps)

    def write(self, b: Builder, value: str) -> str:
        """The value after all steps."""
        for step in self.steps:
            value = step.write(b, value)
        return value


def in_layout(axes: AttentionAxes, layout: Layout, heads: Axis, length: Axis, last: Axis) -> tuple[Axis, ...]:
    """Query, key, value or result of those heads in a layout. Where no heads are known, BSH has none in its last axis.

    A BSH whose heads are to be told apart is BSND. Of BNSD_BSND it is what the node is given.
    """
    if layout in ("BNSD", "BNSD_BSND"):
        return axes.batch, heads, length, last
    if layout == "BSND":
        return axes.batch, length, heads, last
    if layout == "SBH":
        return length, axes.batch, (*heads, *last)
    return axes.batch, length, (*heads, *last)


def dims_of(axes: Sequence[Axis]) -> tuple[int, ...]:
    """The shape of a tensor with those axes."""
    return tuple(map(product, axes))


def existing(operand: Operand, axes: Sequence[Axis]) -> str | None:
    """A value of the graph that is the operand with exactly those axes."""
    wanted = [keys(axis) for axis in axes]
    for value, layout in reversed(operand.layouts):
        if [keys(axis) for axis in layout] == wanted:
            return value
    return None


def bring(operand: Operand, axes: Sequence[Axis]) -> tuple[str, Arrangement]:
    """Where query, key or value is taken from, and what is done to it to have one axis per group of atoms."""
    value = existing(operand, axes)
    if value is not None:
        return value, Arrangement()
    order = [key for axis in axes for key in keys(axis)]
    for value, layout in reversed(operand.layouts):
        if list(keys(flat(layout))) == order:
            return value, Arrangement((Reshape(dims_of(axes)),))
    return operand.value, arrange(operand.source, axes, full=True)


def arrange(source: Axis, axes: Sequence[Axis], *, full: bool) -> Arrangement:
    """From a value whose row-major atoms are `source` to one axis per group of atoms.

    A group of which the value has no atom becomes an axis of one element, unless `full` says it must have its
    length; of a group it has some atoms of, the others are repeated.
    """
    own = set(keys(source))
    steps: list[Step] = []
    position = {atom.key: i for i, atom in enumerate(source)}
    order = tuple(position[atom.key] for axis in axes for atom in axis if atom.key in own)
    if order != tuple(range(len(source))):
        steps += [Reshape(tuple(atom.size for atom in source)), Transpose(order)]
    repeat = [[atom.key not in own and (full or any(a.key in own for a in axis)) for atom in axis] for axis in axes]
    if any(any(group) for group in repeat):
        steps.append(Reshape(tuple(1 if atom.key not in own else atom.size for axis in axes for atom in axis)))
        lengths = (
            atom.size if atom.key in own or again else 1
            for axis, group in zip(axes, repeat, strict=True)
            for atom, again in zip(axis, group, strict=True)
        )
        steps.append(Broadcast(tuple(lengths)))
    present = (
        [atom for atom, again in zip(axis, group, strict=True) if atom.key in own or again]
        for axis, group in zip(axes, repeat, strict=True)
    )
    steps.append(Reshape(tuple(product(atoms) for atoms in present)))
    return Arrangement(tuple(steps))


def repeat_heads(b: Builder, value: str, heads: int, kv_heads: int) -> str:
    """[B, kv_heads, S, D] → [B, heads, S, D]: key or value head n / (heads / kv_heads) for each query head n."""
    if heads == kv_heads:
        return value
    batch, _, length, width = b.type_of(value).dims
    row = length * width
    repeated = b.broadcast(b.reshape(value, (batch, kv_heads, 1, row)), (batch, kv_heads, heads // kv_heads, row))
    return b.reshape(repeated, (batch, heads, length, width))


def rearrange(axes: Sequence[Axis], wanted: Sequence[Axis]) -> Arrangement:
    """From a value with axes `axes` to one with axes `wanted`, of the same atoms."""
    if [keys(axis) for axis in axes] == [keys(axis) for axis in wanted]:
        return Arrangement()
    steps: list[Step] = []
    order, target = list(keys(flat(tuple(axes)))), list(keys(flat(tuple(wanted))))
    if order != target:
        atoms = {atom.key: atom for axis in axes for atom in axis}
        steps.append(Reshape(tuple(atoms[key].size for key in order)))
        steps.append(Transpose(tuple(order.index(key) for key in target)))
    return Arrangement((*steps, Reshape(dims_of(wanted))))
