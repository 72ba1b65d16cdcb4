"""Nodes that rules of several families make, each with the encoding of MindSpore 2.7.1's own exports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from attnfuse.api import (
    ELEMENTS,
    AttributeProto,
    Builder,
    DType,
    Model,
    NotWritableError,
    TensorType,
    behind,
    dtypes,
)

WRITTEN = 1 << 24
"""Elements up to which a row of numbers is written into the graph: longer than any sequence."""
INLINE = 1 << 20
"""Elements up to which a filled tensor is written into the graph."""
TOGETHER = 1 << 28
"""Bytes of constants after which none is any more: a graph is one message, which may not have 2 GiB."""


def whole(name: str, value: int) -> AttributeProto:
    """A whole number as an attribute of a primitive."""
    return AttributeProto(name=name, type=AttributeProto.INT64, i=value)


def wholes(name: str, values: Sequence[int]) -> AttributeProto:
    """Several whole numbers as an attribute of a primitive."""
    a = AttributeProto(name=name, type=AttributeProto.TUPLE)
    for value in values:
        a.values.add(type=AttributeProto.INT64).ints.append(value)
    return a


def flag(name: str, *, value: bool) -> AttributeProto:
    """A truth value as an attribute of a primitive."""
    return AttributeProto(name=name, type=AttributeProto.BOOL, i=int(value))


def text(name: str, value: str) -> AttributeProto:
    """A word as an attribute of a primitive."""
    return AttributeProto(name=name, type=AttributeProto.STRING, s=value.encode())


def texts(name: str, values: Sequence[str]) -> AttributeProto:
    """Several words as an attribute of a primitive."""
    a = AttributeProto(name=name, type=AttributeProto.LIST)
    for value in values:
        a.values.add(type=AttributeProto.STRING).strings.append(value.encode())
    return a


def is_written(build: Builder, count: int) -> bool:
    """Whether so many numbers go into the graph as a constant, beside the constants that it was given already."""
    return 0 <= count <= WRITTEN and build.constant_bytes <= TOGETHER


def places(build: Builder, value: str, count: int) -> npt.NDArray[np.int64]:
    """0, 1, … count − 1, to look elements of a value up by. Raises NotWritableError for more than a constant holds."""
    if not is_written(build, count):
        raise NotWritableError(value, f"{build.type_of(value)}, of which {count} places would be written out")
    return np.arange(count)


def array(build: Builder, value: npt.NDArray[np.generic]) -> str:
    """A constant tensor of the array's own element type."""
    return build.tensor(value, next(dtype for dtype in dtypes.ALL if dtype.numpy == value.dtype))


def element(build: Builder, value: str, index: int) -> str:
    """One tensor of a value of several."""
    return build.op("TupleGetItem", value, build.constant(index), prim_type=build.PRIMITIVE)


def make_tuple(build: Builder, values: Sequence[str]) -> str:
    """Several tensors as one value."""
    return build.op("MakeTuple", *values, prim_type=build.PRIMITIVE)


def part(build: Builder, value: str, axis: int, start: int, stop: int, step: int = 1) -> str:
    """Each `step`-th element from `start` to `stop` of an axis, the others whole (so their sizes need not be known)."""
    rank, here = build.type_of(value).rank, 1 << axis
    others = (1 << rank) - 1 - here
    begin = tuple(start if i == axis else 0 for i in range(rank))
    end = tuple(stop if i == axis else 0 for i in range(rank))
    # begin_mask and end_mask: the axes that run from their start, and to their end.
    steps = tuple(step if i == axis else 1 for i in range(rank))
    arguments: list[int | tuple[int, ...]] = [begin, end, steps, others, others, 0, 0, 0]
    return build.op("StridedSlice", value, *map(build.constant, arguments))


def look_up(build: Builder, value: str, axis: int, places: npt.NDArray[np.generic]) -> str:
    """The elements of an axis at those places, which are constants, in their order."""
    arguments = (value, build.tensor(places, dtypes.INT32), build.constant(axis), build.constant(0))
    return build.op("Gather", *arguments)  # 0: no axes that both have


def expand(build: Builder, value: str, axis: int) -> str:
    """An axis of one element put before axis `axis` of the result."""
    return build.op("ExpandDims", value, build.constant(axis))


def tile(build: Builder, value: str, axis: int, times: int) -> str:
    """The whole axis `times` times in a row. An axis of unknown size stays unknown."""
    counts = tuple(times if i == axis else 1 for i in range(build.type_of(value).rank))
    return build.op("Tile", value, build.constant(counts))


def bias_add(build: Builder, matrix: str, bias: str) -> str:
    """A bias by column of a matrix. (By channel of an image it would arrive for the last axis: see `targets`.)"""
    return build.op("BiasAdd", matrix, bias, build.constant(0))  # 0 is the format NCHW


def is_learned(model: Model, value: str) -> bool:
    """Whether the numbers are those of one weight or constant: what is a constant in CANN's graph, too."""
    origin = behind(model, value, ELEMENTS)
    return model.is_parameter(origin) or model.is_literal(origin)


def as_third_input(build: Builder, bias: str) -> str:
    """A bias in the type that CANN's products and convolutions take it in: float32 beside bfloat16, else their own."""
    is_bfloat16 = build.type_of(bias).dtype == dtypes.BFLOAT16
    return build.cast(bias, dtypes.FLOAT32) if is_bfloat16 else bias


def filled(build: Builder, dims: tuple[int, ...], value: bool | int | float, dtype: DType) -> str:
    """A tensor of one number: a constant, as MindSpore folds it, or FillV2 where that would swell the graph."""
    tensor_type = TensorType(dims, dtype)
    if not tensor_type.is_static:
        raise build.refusal(f"filled with {tensor_type}, of a size not known before run time")
    if tensor_type.size <= INLINE and build.constant_bytes <= TOGETHER:
        return build.tensor(np.full(dims, value), dtype)
    return fill(build, dims, value, dtype)


def fill(build: Builder, dims: tuple[int, ...], value: bool | int | float, dtype: DType) -> str:
    """FillV2: a tensor of one number that an operator makes, of sizes that are known."""
    shape, number = build.constant(dims), build.tensor(np.array(value), dtype)
    return build.op("FillV2", shape, number, prim_type=build.PRIMITIVE)


def concat(build: Builder, values: Sequence[str], axis: int) -> str:
    """Tensors of one element type one after the other along an axis; booleans as int8, for CANN joins no others."""
    dtype = build.type_of(values[0]).dtype
    if dtype is dtypes.BOOL:
        return build.cast(concat(build, [build.cast(value, dtypes.INT8) for value in values], axis), dtypes.BOOL)
    return build.op("Concat", make_tuple(build, values), build.constant(axis))


def border(build: Builder, value: str, axis: int, before: int, after: int, number: bool | int | float) -> str:
    """Elements of one number before and after those of an axis. The other axes must be of known size."""
    tensor_type = build.type_of(value)
    parts = []
    for count in (before, after):
        dims = tuple(count if i == axis else dim for i, dim in enumerate(tensor_type.dims))
        parts.append(filled(build, dims, number, tensor_type.dtype) if count else "")
    return concat(build, [part for part in (parts[0], value, parts[1]) if part], axis)


def reduce(build: Builder, op: str, value: str, axes: Sequence[int], *, keep: bool) -> str:
    """ReduceMean, ReduceMax, … over those axes, which stay with one element or go."""
    arguments: list[bool | tuple[int, ...]] = [tuple(axes), keep]
    if op == "ReduceSum":
        arguments.append(False)  # skip_mode: no axes would mean no sum
    return build.op(op, value, *map(build.constant, arguments))


def holds(dtype: DType, number: bool | int | float) -> bool:
    """Whether the number is the same in that type. (NaN is in none.)"""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.array(number).astype(dtype.numpy) == number)
