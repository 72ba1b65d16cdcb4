"""Masks and biases put at the scores of a `Site`, as tests write them."""

from __future__ import annotations

import numpy as np

from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT16, DType
from tests.support.graphs import GraphBuilder
from tests.support.oracle import Array
from tests.support.sites import Change

RUNTIMES = ("mindspore", "lite")
LOWEST = {"float16": -65504.0, "float32": -3.4028234663852886e38, "bfloat16": -3.3895313892515355e38}


FULLY_MASKED = np.zeros((2, 1, 1, 5), bool)
"""A mask of keys: the first batch lacks one, the second has none left."""
FULLY_MASKED[1] = True
FULLY_MASKED[0, ..., 2] = True


def guarded(g: GraphBuilder, p: str) -> str:
    """0 where the value is NaN."""
    tensor_type = g.type_of(p)
    test = g.node("IsNan", [p], TensorType(tensor_type.dims, dtypes.BOOL))
    return g.select(test, scalar(0.0, tensor_type.dtype), p)


def scalar(number: float, dtype: DType) -> Array:
    return np.array(number).astype(dtype.numpy)


def added(dims: tuple[int, ...], dtype: DType = FLOAT16, name: str = "bias") -> Change:
    """A run-time bias of that shape and type."""
    return lambda g, s: g.add(s, g.input(name, dims, dtype))


def added_constant(numbers: Array, dtype: DType = FLOAT16) -> Change:
    return lambda g, s: g.add(s, numbers.astype(dtype.numpy))


def filled(number: float, dims: tuple[int, ...] = (2, 1, 1, 5), dtype: DType = FLOAT16, name: str = "mask") -> Change:
    """`number` where a run-time mask is True."""
    return lambda g, s: g.masked_fill(s, g.input(name, dims, dtypes.BOOL), scalar(number, dtype))


def selected(number: float, dims: tuple[int, ...], dtype: DType) -> Change:
    """0 or `number` added, chosen by a run-time mask."""

    def change(g: GraphBuilder, s: str) -> str:
        keep = g.input("mask", dims, dtypes.BOOL)
        values = [keep, g.constant(scalar(0.0, dtype)), g.constant(scalar(number, dtype))]
        return g.add(s, g.node("Select", values, TensorType(dims, dtype)))

    return change


def both(*changes: Change) -> Change:
    def change(g: GraphBuilder, s: str) -> str:
        for each in changes:
            s = each(g, s)
        return s

    return change


def causal(rows: int, columns: int, offset: int = 1) -> Array:
    return np.triu(np.ones((rows, columns), bool), offset)
