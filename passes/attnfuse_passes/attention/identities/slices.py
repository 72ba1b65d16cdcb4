"""Pieces of a tensor that are cut along one axis, by whatever operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attnfuse.api import Model, Node, NotALiteralError, makes_tuple, takes_element
from attnfuse_passes.attention.identities.layout import axis_of, integers


@dataclass(frozen=True, slots=True)
class Slice:
    """Elements `start` up to `end` of the axis of `source`."""

    source: str
    start: int
    end: int
    nodes: tuple[Node, ...] = ()


def read_slice(model: Model, value: str, axis: int) -> Slice | None:
    """What a value is cut from along an axis (from the end: −1, −2), if it is whole along all others."""
    node = model.producer(value)
    if node is None:
        return None
    if takes_element(node):
        return _element(model, node, axis)
    before, after = model.type_of(node.inputs[0]) if node.inputs else None, model.type_of(value)
    if node.op not in _STARTS or before is None or after is None or not before.is_static:
        return None
    position = before.rank + axis
    if before.rank != after.rank or any(
        one != other for i, (one, other) in enumerate(zip(before.dims, after.dims, strict=True)) if i != position
    ):
        return None
    start = _STARTS[node.op](model, node, position, before.dims[position])
    return None if start is None else Slice(node.inputs[0], start, start + after.dims[position], (node,))


def _strided(model: Model, node: Node, position: int, length: int) -> int | None:
    """Where an axis is cut from by bounds of all axes, in steps of 1."""
    begin, strides = integers(model, node.inputs[1]), integers(model, node.inputs[3])
    masks = [integers(model, name) for name in node.inputs[4:9]]
    if begin is None or strides is None or any(stride != 1 for stride in strides):
        return None
    if len(masks) != 5 or any(mask is None or len(mask) != 1 for mask in masks) or any(m != (0,) for m in masks[2:]):
        return None
    is_free = masks[0] is not None and masks[0][0] >> position & 1
    return 0 if position >= len(begin) or is_free else _placed(begin[position], length)


def _placed(start: int, length: int) -> int:
    return max(start + length, 0) if start < 0 else min(start, length)


def _sliced(model: Model, node: Node, position: int, length: int) -> int | None:
    """Where it is cut from by the begin of each axis."""
    begin = integers(model, node.inputs[1])
    return None if begin is None or position >= len(begin) or begin[position] < 0 else begin[position]


def _of_axis(model: Model, node: Node, position: int, length: int) -> int | None:
    """Where it is cut from by the begin of one axis; another than this one is whole."""
    tensor_type = model.type_of(node.inputs[0])
    axis = None if tensor_type is None else axis_of(integers(model, node.inputs[1]), tensor_type.rank)
    start = integers(model, node.inputs[2])
    steps = (1,) if node.op == "Narrow" else integers(model, node.inputs[4])
    if axis is None or start is None or len(start) != 1 or steps != (1,):
        return None
    return _placed(start[0], length) if axis == position else 0


_STARTS: dict[str, Callable[[Model, Node, int, int], int | None]] = {
    "StridedSlice": _strided,
    "Slice": _sliced,
    "SliceExt": _of_axis,
    "Narrow": _of_axis,
}
"""Operators that cut one piece of a tensor, and where along an axis it begins."""


def _element(model: Model, node: Node, axis: int) -> Slice | None:
    """An element of what Split, SplitWithSize or Chunk gives."""
    cut = model.producer(node.inputs[0])
    if cut is None or cut.op not in ("Split", "SplitTensor", "SplitWithSize", "Chunk") or makes_tuple(cut):
        return None
    types, before = model.types_of(cut.name), model.type_of(cut.inputs[0])
    try:
        index = model.literal(node.inputs[1])
    except NotALiteralError:
        return None
    if before is None or not isinstance(types, tuple) or not isinstance(index, int) or not 0 <= index < len(types):
        return None
    along = axis_of(integers(model, cut.inputs[1 if cut.op == "Split" else 2]), before.rank)
    sizes = [0 if kind is None else kind.dims[axis] for kind in types]
    if along != before.rank + axis or min(sizes) < 1 or sum(sizes) != before.dims[axis]:
        return None
    return Slice(cut.inputs[0], sum(sizes[:index]), sum(sizes[: index + 1]), (node, cut))
