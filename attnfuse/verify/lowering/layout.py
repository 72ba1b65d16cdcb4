"""Operators that move values without computing: shapes, slices, joins, look-ups.

Argument orders: MindSpore 2.7.1's operator definitions.
"""

from __future__ import annotations

import numpy as np

from attnfuse.ir.types import Array
from attnfuse.verify.lowering.context import INT64_MAX, LoweringContext, Result, lowers


@lowers(
    "Reshape",
    "ExpandDims",
    "ExpandDimsView",
    "Squeeze",
    "SqueezeView",
    "FlattenExt",
    "Flatten",
    "ReshapeView",
    "View",
    "ViewAs",
    moves=True,
)
def _reshape(at: LoweringContext) -> Result:
    return at.writer.reshape(at.tensor(0), at.out.dims)


@lowers("Contiguous", "Clone", "TensorMove", "Identity", "StopGradient", moves=True)
def _same(at: LoweringContext) -> Result:
    return at.tensor(0)


@lowers("Transpose", "TransposeView", moves=True)
def _transpose(at: LoweringContext) -> Result:
    rank = len(at.dims(0))
    return at.emit("Transpose", at.tensor(0), perm=[p % rank for p in at.integers(1)])


@lowers("TransposeExtView", moves=True)
def _swap(at: LoweringContext) -> Result:
    rank = len(at.dims(0))
    perm = list(range(rank))
    a, b = at.integer(1) % rank, at.integer(2) % rank
    perm[a], perm[b] = b, a
    return at.emit("Transpose", at.tensor(0), perm=perm)


@lowers("TExt", moves=True)
def _turned_round(at: LoweringContext) -> Result:
    """All axes, the last first."""
    return at.emit("Transpose", at.tensor(0))


@lowers("Roll", moves=True)
def _roll(at: LoweringContext) -> Result:
    """(x, by how much, axes): what leaves an axis at its end comes back at its start; without axes all are one."""
    dims, x = at.dims(0), at.tensor(0)
    flat = at.is_absent(2) or not at.integers(2)
    if flat:
        x = at.writer.reshape(x, [at.tensor_type(0).size])
    axes, sizes = ((0,), (at.tensor_type(0).size,)) if flat else (at.integers(2), dims)
    for by, axis in zip(at.integers(1), axes, strict=True):
        places = np.roll(np.arange(sizes[axis], dtype=np.int64), by)
        x = at.emit("Gather", x, at.writer.constant(places), axis=axis % len(sizes))
    return at.writer.reshape(x, dims) if flat else x


@lowers("Concat", moves=True)
def _concat(at: LoweringContext) -> Result:
    return at.emit("Concat", *at.element_tensors(0, at.out.dtype), axis=at.integer(1) % len(at.out.dims))


@lowers("StackExt", "Stack", moves=True)
def _stack(at: LoweringContext) -> Result:
    where = at.attributes.get("axis", 0) if at.op == "Stack" and len(at.operands) < 2 else at.integer(1)
    assert isinstance(where, int)
    axis = where % len(at.out.dims)
    parts = [at.emit("Unsqueeze", e, at.writer.integers([axis])) for e in at.element_tensors(0, at.out.dtype)]
    return at.emit("Concat", *parts, axis=axis)


@lowers("SplitWithSize", "SplitWithSizeView", "Chunk", "ChunkView", moves=True)
def _split(at: LoweringContext) -> Result:
    return _parts(at, at.integer(2))


@lowers("Split", "SplitTensor", "SplitTensorView", moves=True)
def _split_evenly(at: LoweringContext) -> Result:
    return _parts(at, at.integer(1 if at.op == "Split" else 2))


def _parts(at: LoweringContext, axis: int) -> Result:
    """The sizes are those declared, which follow from the operator's own arguments."""
    axis %= len(at.dims(0))
    sizes = [tensor_type.dims[axis] for tensor_type in at.outs]
    return at.writer.emit_many("Split", at.tensor(0), at.writer.integers(sizes), outputs=len(sizes), axis=axis)


@lowers("UnstackExtView", "Unstack", moves=True)
def _unstack(at: LoweringContext) -> Result:
    where = at.attributes.get("axis", 0) if at.op == "Unstack" else at.integer(1)
    assert isinstance(where, int)
    axis, count = where % len(at.dims(0)), len(at.outs)
    parts = at.writer.emit_many("Split", at.tensor(0), at.writer.integers([1] * count), outputs=count, axis=axis)
    return [at.emit("Squeeze", part, at.writer.integers([axis])) for part in parts]


@lowers("StridedSlice", moves=True)
def _strided_slice(at: LoweringContext) -> Result:
    """Masks are bit fields over the axes: begin or end left out, ellipsis, new axis, axis dropped."""
    begin, end, steps = (list(at.integers(i)) for i in (1, 2, 3))
    begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_mask = (at.integer(i) for i in range(4, 9))
    if new_axis_mask:
        raise at.unsupported("a slice that adds axes")
    index: list[slice | int | None] = []
    dims = at.dims(0)
    for i, (low, high, step) in enumerate(zip(begin, end, steps, strict=True)):
        if ellipsis_mask >> i & 1:
            index += [slice(None)] * (len(dims) - len(begin) + 1)
        elif shrink_mask >> i & 1:
            index.append(low)
        else:
            index.append(slice(None if begin_mask >> i & 1 else low, None if end_mask >> i & 1 else high, step))
    starts: list[int] = []
    ends: list[int] = []
    axes: list[int] = []
    strides: list[int] = []
    for axis, part in enumerate(index):
        size = dims[axis]
        if isinstance(part, slice):
            low, high, step = part.indices(size)
            if step < 0:
                raise at.unsupported("a slice that runs backwards")
        else:
            assert isinstance(part, int)
            low, high, step = part % size, part % size + 1, 1
        if (low, high, step) != (0, size, 1):
            for column, number in zip((starts, ends, axes, strides), (low, high, axis, step), strict=True):
                column.append(number)
    x = at.tensor(0)
    if axes:
        x = at.emit("Slice", x, *(at.writer.integers(v) for v in (starts, ends, axes, strides)))
    return at.writer.reshape(x, at.out.dims) if shrink_mask else x


@lowers("Slice", moves=True)
def _slice(at: LoweringContext) -> Result:
    """From `begin`, `size` elements; −1 is all the rest."""
    begin, size = at.integers(1), at.integers(2)
    ends = [INT64_MAX if s == -1 else b + s for b, s in zip(begin, size, strict=True)]
    axes = list(range(len(begin)))
    return at.emit("Slice", at.tensor(0), *(at.writer.integers(v) for v in (begin, ends, axes)))


@lowers("SliceExt", "SliceExtView", moves=True)
def _slice_axis(at: LoweringContext) -> Result:
    axis, low, high, step = (at.integer(i) for i in range(1, 5))
    return at.emit("Slice", at.tensor(0), *(at.writer.integers([v]) for v in (low, high, axis, step)))


@lowers("Narrow", "NarrowView", moves=True)
def _narrow(at: LoweringContext) -> Result:
    axis, low, length = (at.integer(i) for i in range(1, 4))
    low %= at.dims(0)[axis]
    return at.emit("Slice", at.tensor(0), *(at.writer.integers([v]) for v in (low, low + length, axis)))


@lowers("SelectExtView", moves=True)
def _select(at: LoweringContext) -> Result:
    """One element of an axis, which goes."""
    axis = at.integer(1) % len(at.dims(0))
    low = at.integer(2) % at.dims(0)[axis]
    part = at.emit("Slice", at.tensor(0), *(at.writer.integers([v]) for v in (low, low + 1, axis)))
    return at.writer.reshape(part, at.out.dims)


@lowers("Tile", "Repeat", moves=True)
def _tile(at: LoweringContext) -> Result:
    dims, times = list(at.dims(0)), list(at.integers(1))
    rank = max(len(dims), len(times))
    x = at.tensor(0)
    if len(dims) < rank:
        x = at.writer.reshape(x, [1] * (rank - len(dims)) + dims)
    return at.emit("Tile", x, at.writer.integers([1] * (rank - len(times)) + times))


@lowers("BroadcastTo", "BroadcastToView", "ExpandAs", moves=True)
def _broadcast(at: LoweringContext) -> Result:
    return at.emit("Expand", at.tensor(0), at.writer.integers(at.out.dims))


@lowers("RepeatInterleaveInt", moves=True)
def _repeat(at: LoweringContext) -> Result:
    """Every element `repeats` times in a row, along one axis (the flattened array's where none is given)."""
    repeats, dims = at.integer(1), at.dims(0)
    x = at.tensor(0)
    if at.is_absent(2):
        dims, axis = (at.tensor_type(0).size,), 0
        x = at.writer.reshape(x, dims)
    else:
        axis = at.integer(2) % len(dims)
    apart = at.emit("Unsqueeze", x, at.writer.integers([axis + 1]))
    wide = at.emit("Expand", apart, at.writer.integers([*dims[: axis + 1], repeats, *dims[axis + 1 :]]))
    return at.writer.reshape(wide, at.out.dims)


@lowers("ConstantPadND", "PadV3", moves=True)
def _pad(at: LoweringContext) -> Result:
    """Pairs of (before, after), the last axis first; only a constant filling. PadV3 keeps its mode in attributes."""
    if at.attributes.get("mode", "constant") != "constant" or not at.attributes.get("paddings_contiguous", True):
        raise at.unsupported("padding that is not by pairs of a constant")
    pairs, rank = at.integers(1), len(at.out.dims)
    before, after = [0] * rank, [0] * rank
    for i in range(len(pairs) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = pairs[2 * i], pairs[2 * i + 1]
    number = 0.0 if at.is_absent(2) else at.number(2)
    filling = at.writer.carried(np.array(number).astype(at.out.dtype.numpy))  # an element is a number of its type
    return at.emit("Pad", at.tensor(0), at.writer.integers(before + after), filling, mode="constant")


@lowers(
    "ReflectionPad1D",
    "ReflectionPad2D",
    "ReflectionPad3D",
    "ReplicationPad1D",
    "ReplicationPad2D",
    "ReplicationPad3D",
    moves=True,
)
def _extend(at: LoweringContext) -> Result:
    """Pairs of (before, after), the last axis first: what lies there, mirrored at the edge, or the edge itself."""
    pairs, rank = at.integers(1), len(at.out.dims)
    before, after = [0] * rank, [0] * rank
    for i in range(len(pairs) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = pairs[2 * i], pairs[2 * i + 1]
    mode = "reflect" if at.op.startswith("Reflection") else "edge"
    return at.emit("Pad", at.tensor(0), at.writer.integers(before + after), mode=mode)


@lowers("ReverseV2", moves=True)
def _reverse(at: LoweringContext) -> Result:
    """Operand and the axes that are turned round."""
    dims, x = at.dims(0), at.tensor(0)
    for axis in at.integers(1):
        x = at.emit("Gather", x, at.writer.integers(range(dims[axis] - 1, -1, -1)), axis=axis % len(dims))
    return x


@lowers("Triu", "Tril", "TrilExt", moves=True)
def _triangle(at: LoweringContext) -> Result:
    """(x, diagonal), which Tril keeps as an attribute."""
    diagonal = at.attributes.get("diagonal", 0) if at.is_absent(1) else at.integer(1)
    return at.emit("Trilu", at.tensor(0), at.writer.constant(np.array(diagonal, np.int64)), upper=int(at.op == "Triu"))


@lowers(
    "UpsampleNearest1D",
    "UpsampleNearest2D",
    "UpsampleNearest3D",
    "ResizeNearestNeighbor",
    "ResizeNearestNeighborV2",
    moves=True,
)
def _upsample(at: LoweringContext) -> Result:
    """Output pixel i takes input pixel ⌊i · in / out⌋, on the axes of space; ⌊(i + ½) · in / out⌋ with half pixels.

    Those only V2 is read with: (x, size, align_corners, half_pixel_centers).
    """
    half = at.op == "ResizeNearestNeighborV2" and bool(at.literal(3))
    resize = at.op.startswith("Resize")
    if resize and any(at.literal(i) for i in range(2, len(at.operands) - half)):
        raise at.unsupported("a resize with aligned corners or half pixels")
    if resize and at.integers(1) != at.out.dims[2:]:
        raise at.unsupported(f"its size is {at.integers(1)}, its result {at.out}")
    x = at.tensor(0)
    for axis in range(2, len(at.out.dims)):
        small, large = at.dims(0)[axis], at.out.dims[axis]
        index: Array = (2 * np.arange(large, dtype=np.int64) + half) * small // (2 * large)
        x = at.emit("Gather", x, at.writer.constant(index), axis=axis)
    return x


@lowers("Meshgrid", moves=True)
def _meshgrid(at: LoweringContext) -> Result:
    """indexing: 0 "ij", 1 "xy" (the first two axes change places); MindSpore's own inference tells which is which."""
    outs = at.outs
    rank = len(outs)
    swapped = at.literal(1) in (1, "xy") and rank >= 2
    grids = []
    for i, name in enumerate(at.element_tensors(0, outs[0].dtype)):
        axis = {0: 1, 1: 0}.get(i, i) if swapped else i
        dims = [1] * rank
        dims[axis] = outs[i].dims[axis]
        grids.append(at.emit("Expand", at.writer.reshape(name, dims), at.writer.integers(outs[i].dims)))
    return grids
