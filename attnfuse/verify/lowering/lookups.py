"""Operators that take elements by their places, put some into places, or put them in order.

Argument orders: MindSpore 2.7.1's operator definitions; what they do: its CPU kernels, which were run, where it has
one.
"""

from __future__ import annotations

import numpy as np

from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.verify.lowering.context import LoweringContext, Result, lowers


@lowers("Gather", moves=True)
def _gather(at: LoweringContext) -> Result:
    if len(at.operands) > 3 and at.integer(3):
        raise at.unsupported("a look-up with batch axes")
    return at.emit("Gather", at.tensor(0), at.tensor(1), axis=at.integer(2))


@lowers("IndexSelect", moves=True)
def _index_select(at: LoweringContext) -> Result:
    """(x, axis, places)."""
    return at.emit("Gather", at.tensor(0), at.tensor(2), axis=at.integer(1))


@lowers("Embedding", moves=True)
def _embedding(at: LoweringContext) -> Result:
    """(places, table, padding, largest norm …)."""
    if not at.is_absent(3):
        raise at.unsupported("imposes a largest norm on its table")
    return at.emit("Gather", at.tensor(1), at.tensor(0), axis=0)


@lowers("EmbeddingLookup", moves=True)
def _embedding_lookup(at: LoweringContext) -> Result:
    """(table, places, how much they are off)."""
    if at.integer(2):
        raise at.unsupported(f"places that begin at {at.integer(2)}")
    return at.emit("Gather", at.tensor(0), at.tensor(1), axis=0)


@lowers("GatherD", moves=True)
def _gather_elements(at: LoweringContext) -> Result:
    return at.emit("GatherElements", at.tensor(0), at.tensor(2), axis=at.integer(1))


@lowers("GatherNd", moves=True)
def _gather_nd(at: LoweringContext) -> Result:
    return at.emit("GatherND", at.tensor(0), at.converted(1, dtypes.INT64))


_SCATTERS = {
    "TensorScatterAdd": "add", "TensorScatterMul": "mul", "TensorScatterMax": "max", "TensorScatterMin": "min",
}  # fmt: skip


@lowers("TensorScatterUpdate", moves=True)
def _scatter(at: LoweringContext) -> Result:
    """(x, places, values): each place is a coordinate of the first axes of x. Of equal places the last counts."""
    dtype = at.out.dtype
    return at.emit("ScatterND", at.converted(0, dtype), at.converted(1, dtypes.INT64), at.converted(2, dtype))


@lowers(*_SCATTERS)
def _scatter_reduced(at: LoweringContext) -> Result:
    """The same, joined with what is there."""
    dtype = at.out.dtype
    operands = at.converted(0, dtype), at.converted(1, dtypes.INT64), at.converted(2, dtype)
    return at.emit("ScatterND", *operands, reduction=_SCATTERS[at.op])


@lowers("TensorScatterSub")
def _scatter_less(at: LoweringContext) -> Result:
    dtype = at.out.dtype
    values = at.emit("Neg", at.converted(2, dtype))
    return at.emit("ScatterND", at.converted(0, dtype), at.converted(1, dtypes.INT64), values, reduction="add")


@lowers("ScatterNd")
def _scatter_into_zeros(at: LoweringContext) -> Result:
    """(places, values, shape): values of equal places are added."""
    dtype = at.out.dtype
    zeros = at.writer.carried(np.zeros(at.out.dims, dtype.numpy))
    return at.emit("ScatterND", zeros, at.converted(0, dtypes.INT64), at.converted(1, dtype), reduction="add")


@lowers("Scatter", "InplaceScatterSrc", moves=True)
def _scatter_elements(at: LoweringContext) -> Result:
    """(x, axis, places, values, how): a value of each place along the axis, and how is 0.

    With another number CANN adds or multiplies, and MindSpore's CPU kernel does neither.
    """
    if at.op == "Scatter" and at.literal(4) not in (0, "none"):
        raise at.unsupported(f"a reduction of kind {at.literal(4)!r}")
    return _into_places(at, at.integer(1), (2, 3), "none")


@lowers("ScatterAddExt", "InplaceScatterAdd")
def _scatter_added(at: LoweringContext) -> Result:
    """(x, axis, places, values)."""
    return _into_places(at, at.integer(1), (2, 3), "add")


@lowers("TensorScatterElements")
def _tensor_scatter_elements(at: LoweringContext) -> Result:
    """(x, places, values, axis, how): how is 0 or 1, to put there or to add."""
    how = at.literal(4)
    if how not in (0, 1, "none", "add"):
        raise at.unsupported(f"a reduction of kind {how!r}")
    return _into_places(at, at.integer(3), (1, 2), "add" if how in (1, "add") else "none")


def _into_places(at: LoweringContext, axis: int, operands: tuple[int, int], reduction: str) -> str:
    """ONNX takes as many places as values; MindSpore, like torch, more values, of which the first count."""
    dtype, (places, values) = at.out.dtype, operands
    given = at.converted(values, dtype)
    if at.dims(values) != at.dims(places):
        axes = range(len(at.dims(places)))
        ends = at.writer.integers(at.dims(places))
        given = at.emit("Slice", given, at.writer.integers([0 for _ in axes]), ends, at.writer.integers(axes))
    index = at.converted(places, dtypes.INT64)
    return at.emit("ScatterElements", at.converted(0, dtype), index, given, axis=axis, reduction=reduction)


@lowers("TensorCopySlices", moves=True)
def _copy_slices(at: LoweringContext) -> Result:
    """(x, value, begin, end, step) of the first axes: x with the value, of as many elements, in that part of it."""
    begin, end, step = (at.integers(i) for i in (2, 3, 4))
    dims, size = at.dims(0), at.tensor_type(0).size
    slices = tuple(slice(*bounds) for bounds in zip(begin, end, step, strict=True))
    places = np.arange(size, dtype=np.int64).reshape(dims)[slices].reshape(-1, 1)
    if at.tensor_type(1).size != len(places):
        raise at.unsupported(f"a value of {list(at.dims(1))} in a part of {len(places)} elements")
    values = at.writer.reshape(at.placed(1, at.out.dtype), [len(places)])
    flat = at.writer.reshape(at.converted(0, at.out.dtype), [size])
    return at.writer.reshape(at.emit("ScatterND", flat, at.writer.constant(places), values), dims)


@lowers("Index", moves=True)
def _index(at: LoweringContext) -> Result:
    """(x, places): x[i, j, …], the places of the first axes, which broadcast to each other."""
    places = at.element_tensors(1, dtypes.INT64)
    count = len(places)
    dims = at.out.dims[: len(at.out.dims) - (len(at.dims(0)) - count)]
    wide = [at.emit("Expand", place, at.writer.integers(dims)) for place in places]
    apart = [at.emit("Unsqueeze", place, at.writer.integers([len(dims)])) for place in wide]
    return at.emit("GatherND", at.tensor(0), at.emit("Concat", *apart, axis=len(dims)))


@lowers("ArgSort", moves=True)
def _places_in_order(at: LoweringContext) -> Result:
    """(x, axis, descending, stable): see `_ordered`."""
    return _ordered(at, at.dims(0)[at.integer(1)], at.integer(1), bool(at.literal(2)), at.out.dtype)[1]


@lowers("SortExt", "Sort", moves=True)
def _sorted(at: LoweringContext) -> Result:
    """(x, axis, descending …), or both attributes: what is in order, and where it was."""
    held = at.op == "Sort" and "axis" in at.attributes
    axis, descending = (at.attributes.get(n) if held else at.literal(i) for i, n in ((1, "axis"), (2, "descending")))
    if not isinstance(axis, int):
        raise at.unsupported(f"the axis {axis!r}")
    return list(_ordered(at, at.dims(0)[axis], axis, bool(descending), at.outs[1].dtype))


@lowers("TopkExt", "TopK", moves=True)
def _largest(at: LoweringContext) -> Result:
    """(x, how many, axis, largest or smallest …), or of the last axis the largest: they in order, and their places."""
    last = at.op == "TopK"
    axis, largest = (-1, True) if last else (at.integer(2), bool(at.literal(3)))
    return list(_ordered(at, at.integer(1), axis, largest, at.outs[1].dtype))


def _ordered(at: LoweringContext, count: int, axis: int, descending: bool, places: DType) -> tuple[str, str]:
    """The first elements in that order and their places; of equal ones the first comes first, as a stable sort has it.

    Where nothing asks for a stable one, a kernel may have them in another order. onnxruntime sorts in few types.
    """
    own = at.tensor_type(0).dtype
    held = own if own.is_float or own.itemsize == dtypes.INT64.itemsize else dtypes.INT64
    names = at.writer.emit_many(
        "TopK", at.converted(0, held), at.writer.integers([count]), outputs=2, axis=axis, largest=int(descending)
    )
    return at.writer.convert(names[0], held, own), at.writer.convert(names[1], dtypes.INT64, places)
