"""Tensors made from nothing but numbers and shapes.

Argument orders: MindSpore 2.7.1's operator definitions.
"""

from __future__ import annotations

import numpy as np

from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.verify.lowering.context import LoweringContext, Result, lowers


@lowers("OnesLikeExt", "OnesLike", "Ones", "NewOnes", moves=True)
def _ones(at: LoweringContext) -> Result:
    return at.writer.carried(np.ones(at.out.dims, at.out.dtype.numpy))


@lowers("ZerosLikeExt", "ZerosLike", "Zeros", "NewZeros", moves=True)
def _zeros(at: LoweringContext) -> Result:
    return at.writer.carried(np.zeros(at.out.dims, at.out.dtype.numpy))


@lowers("EmptyLike", moves=True)
def _empty(at: LoweringContext) -> Result:
    """Not a number: whoever reads an element before it is written has no result that could agree."""
    if not at.out.dtype.is_float:
        raise at.unsupported("whole numbers that are not set")
    return at.writer.carried(np.full(at.out.dims, np.nan).astype(at.out.dtype.numpy))


@lowers("FillV2", "FillTensor", moves=True)
def _fill_with_tensor(at: LoweringContext) -> Result:
    """Shape, number as a tensor."""
    number = at.writer.reshape(at.converted(1, at.out.dtype), [])
    return at.emit("Expand", number, at.writer.integers(at.out.dims))


@lowers("FillScalar", "FullLike", "NewFull")
def _fill(at: LoweringContext) -> Result:
    """(shape, number …); FullLike has a tensor of that shape instead, NewFull one in front.

    The element is a number of the result's type: of whole numbers what is behind the point is cut.
    """
    number = at.number(2 if at.op == "NewFull" else 1)
    with np.errstate(over="ignore"):
        return at.writer.carried(np.full(at.out.dims, number).astype(at.out.dtype.numpy))


@lowers("Eye", moves=True)
def _identity_matrix(at: LoweringContext) -> Result:
    """(rows, columns, type): 1 on the diagonal."""
    return at.writer.carried(np.eye(at.integer(0), at.integer(1)).astype(at.out.dtype.numpy))


@lowers("OneHot", moves=True)
def _one_hot(at: LoweringContext) -> Result:
    """(places, depth, on, off, axis): a place that is negative or beyond the depth has no 1, unlike in ONNX."""
    dtype, rank = at.out.dtype, len(at.out.dims)
    axis = at.integer(4) % rank
    places = at.emit("Unsqueeze", at.converted(0, dtypes.INT64), at.writer.integers([axis]))
    dims = [at.out.dims[axis] if i == axis else 1 for i in range(rank)]
    numbers = at.writer.constant(np.arange(at.out.dims[axis], dtype=np.int64).reshape(dims))
    return at.emit("Where", at.emit("Equal", places, numbers), at.converted(2, dtype), at.converted(3, dtype))


@lowers("LinSpaceExt")
def _lin_space(at: LoweringContext) -> Result:
    """(start, end, steps, type)."""
    values: Array = np.linspace(at.number(0), at.number(1), at.integer(2))
    return at.writer.constant(values.astype(at.writer.arithmetic.carry(at.out.dtype).numpy))


@lowers("Arange", moves=True)
def _arange(at: LoweringContext) -> Result:
    values = np.arange(at.number(0), at.number(1), at.number(2))
    return at.writer.carried(values.astype(at.out.dtype.numpy))
