"""Questions that raising several composites asks of a graph: sole readers, factors, halves of an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnfuse.api import Hands, Model, Node, TensorType, behind, effective_uses, takes_element

_PIECES = frozenset(
    (
        *("Chunk", "ChunkView", "Split", "SplitTensor"),
        *("SplitTensorView", "SplitWithSize", "SplitWithSizeView"),
    )
)
"""Operators that cut an axis, their operand first; their results tell into what."""


def only_reader(model: Model, value: str) -> Node | None:
    """The node that alone reads the value's numbers, at one of its inputs."""
    uses = effective_uses(model, value)
    return uses[0].node if len(uses) == 1 else None


def beside(node: Node | None, ops: Sequence[str], value: str) -> str | None:
    """The other operand of a node of two, where it is of those operators and one operand is the value."""
    if node is None or node.op not in ops or value not in node.inputs[:2]:
        return None
    return node.inputs[1 - node.inputs.index(value)]


def is_number(model: Model, value: str, number: float) -> bool:
    """Whether the value is that number, a scalar or a tensor of one element, as float32 holds it: the last bit may
    differ, for √(2/π) is often itself computed in float32.
    """
    literal = model.literal(value) if model.is_literal(value) else None
    if isinstance(literal, np.ndarray):
        literal = literal.item() if literal.size == 1 else None
    return isinstance(literal, int | float) and abs(literal - number) <= np.spacing(np.float32(number))


@dataclass(frozen=True, slots=True)
class Half:
    """One of the two halves of an axis of `x`: `index` 0 the first, 1 the second.

    `made_by` are the nodes that cut it off, a Load of them included.
    """

    x: str
    tensor_type: TensorType
    axis: int
    index: int
    made_by: tuple[str, ...]

    def is_beside(self, other: Half | None) -> bool:
        """Whether the other is what this one leaves."""
        mine = (self.x, self.axis, 1 - self.index)
        return other is not None and (other.x, other.axis, other.index) == mine


def half_of(model: Model, value: str) -> Half | None:
    """What half of what the value is; None where it is none. An axis is halved whose size is twice the value's."""
    cut, half = behind(model, value, frozenset({Hands.SAME})), model.type_of(value)
    node = model.producer(cut)
    if node is None or half is None:
        return None
    pieces = model.producer(node.inputs[0]) if takes_element(node) else None
    x = node.inputs[0] if pieces is None else pieces.inputs[0]
    tensor_type = model.type_of(x)
    if tensor_type is None or tensor_type.rank != half.rank:
        return None
    axes = [axis for axis, size in enumerate(tensor_type.dims) if size != half.dims[axis]]
    if len(axes) != 1 or tensor_type.dims[axes[0]] != 2 * half.dims[axes[0]]:
        return None
    start = _slice_start(model, node, axes[0]) if pieces is None else _piece_start(model, node, pieces, half)
    if start is None or start % half.dims[axes[0]]:
        return None
    made_by = tuple(dict.fromkeys((value, cut, *(() if pieces is None else (pieces.name,)))))
    return Half(x, tensor_type, axes[0], start // half.dims[axes[0]], made_by)


def _piece_start(model: Model, item: Node, pieces: Node, half: TensorType) -> int | None:
    """Where the element of a tuple of two halves begins."""
    if pieces.op not in _PIECES or model.types_of(pieces.name) != (half, half) or not model.is_literal(item.inputs[1]):
        return None
    index = model.literal(item.inputs[1])
    sizes = [size for size, whole in zip(half.dims, _dims(model, pieces.inputs[0]), strict=True) if size != whole]
    return index * sizes[0] if isinstance(index, int) and index in (0, 1) else None


def _dims(model: Model, value: str) -> tuple[int, ...]:
    tensor_type = model.type_of(value)
    return () if tensor_type is None else tensor_type.dims


def _slice_start(model: Model, node: Node, axis: int) -> int | None:
    """Where a StridedSlice by steps of 1, which keeps all axes, begins along one of them; None of any other node."""
    if node.op != "StridedSlice" or not all(map(model.is_literal, node.inputs[1:])):
        return None
    begin, _, steps, from_start, _, *other_masks = map(model.literal, node.inputs[1:])
    size, rank = _dims(model, node.inputs[0])[axis], len(_dims(model, node.inputs[0]))
    if not isinstance(begin, tuple) or len(begin) != rank or set(_numbers(steps)) != {1} or any(other_masks):
        return None
    start = 0 if isinstance(from_start, int) and from_start >> axis & 1 else begin[axis]
    return start % size if isinstance(start, int) and -size <= start < size else None


def _numbers(literal: object) -> tuple[object, ...]:
    return literal if isinstance(literal, tuple) else (literal,)
