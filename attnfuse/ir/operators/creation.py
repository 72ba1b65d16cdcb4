"""Operators that write a tensor without reading one."""

from __future__ import annotations

import math

from attnfuse.ir.operators.arguments import LARGEST, Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import Kernel
from attnfuse.ir.operators.inference import dtype_or, range_length, same_as
from attnfuse.ir.operators.row import CLASSIC, Infer, Operator, row
from attnfuse.ir.types import UNKNOWN_DIM, ScalarType, TensorType, ValueType
from attnfuse.mindir.dtypes import FLOAT32, INT64


def _dims(a: Arguments, name: str) -> tuple[int, ...]:
    sizes = a.sizes(name)
    if any(size is not None and size < 0 for size in sizes):
        raise TypeMismatch("has a negative size")
    return tuple(UNKNOWN_DIM if size is None else size for size in sizes)


def _of_size(dtype: str) -> Infer:
    """Sizes and a type, float32 where it is None."""
    return lambda a: TensorType(_dims(a, "size"), dtype_or(a, dtype, FLOAT32))


def _of_size_like(a: Arguments) -> ValueType:
    return TensorType(_dims(a, "size"), dtype_or(a, "dtype", a.tensor("input").dtype))


def _like(a: Arguments) -> ValueType:
    tensor_type = a.tensor("input")
    dtype = dtype_or(a, "dtype", tensor_type.dtype)
    return tensor_type if dtype is tensor_type.dtype else TensorType(tensor_type.dims, dtype)


def _filled(a: Arguments) -> ValueType:
    """Sizes and a number, whose own type counts where none is given."""
    return TensorType(_dims(a, "size"), a.dtype("dtype") or a.scalar("fill_value"))


def _filled_with_tensor(a: Arguments) -> ValueType:
    value = a.tensor("value")
    if value.dims:
        raise TypeMismatch(f"fills with {value}; it takes a tensor without axes")
    return TensorType(_dims(a, "shape"), value.dtype)


def _filled_as_tensor(a: Arguments) -> ValueType:
    """Sizes and a tensor of one element, whose type counts where none is given."""
    value = a.tensor("fill_value")
    if value.rank > 1 or value.dims not in ((), (1,), (UNKNOWN_DIM,)):
        raise TypeMismatch(f"fills with {value}; it takes one number")
    return TensorType(_dims(a, "size"), dtype_or(a, "dtype", value.dtype))


def _filled_like(a: Arguments) -> ValueType:
    """The operand's shape, and a number, whose own type counts where none is given."""
    return TensorType(a.tensor("input").dims, a.dtype("dtype") or a.scalar("fill_value"))


def _identity(a: Arguments) -> ValueType:
    rows, columns = a.size("n"), a.size("m")
    if (rows is not None and rows < 0) or (columns is not None and columns < 0):
        raise TypeMismatch("has a negative size")
    dtype = dtype_or(a, "dtype", FLOAT32)
    return TensorType(tuple(UNKNOWN_DIM if size is None else size for size in (rows, columns)), dtype)


def _counted(a: Arguments) -> ValueType:
    """int64 without a type, unless a number of the three is a constant fraction."""
    dtype = a.dtype("dtype")
    names = ("start", "end", "step")
    if dtype is None:
        types = [a.value_type(name) for name in names]
        if not all(isinstance(value_type, ScalarType) and not value_type.dtype.is_float for value_type in types):
            raise NotKnown("dtype")
        dtype = INT64
    try:
        low, high, step = (a.finite(name) for name in names)
    except NotKnown:
        return TensorType((UNKNOWN_DIM,), dtype)
    return TensorType((_steps(low, high, step),), dtype)


def _steps(low: float, high: float, step: float) -> int:
    if step == 0 or (high - low) / step < 0:
        raise TypeMismatch(f"counts from {low:g} to {high:g} in steps of {step:g}")
    count = (high - low) / step
    if count > LARGEST:
        raise TypeMismatch(f"counts from {low:g} to {high:g} in steps of {step:g}")
    return math.ceil(count)


def _ranged(a: Arguments) -> ValueType:
    names = ("start", "end", "step")
    types = [a.scalar(name) for name in names]
    if any(dtype is not types[0] for dtype in types):
        raise NotKnown("start")
    sizes = [a.get(name).value for name in names]
    if not all(type(size) is int for size in sizes) or sizes[2] == 0:
        return TensorType((UNKNOWN_DIM,), types[0])
    low, high, step = (a.integer(name) for name in names)
    return TensorType((range_length(low, high, step),), types[0])


def _spaced(a: Arguments) -> ValueType:
    count = a.size("steps")
    if count is not None and count < 0:
        raise TypeMismatch(f"makes {count} numbers")
    return TensorType((UNKNOWN_DIM if count is None else count,), dtype_or(a, "dtype", FLOAT32))


def _distinct(a: Arguments) -> ValueType:
    """Elements once each, where each one went, and how often it was there."""
    tensor_type = a.tensor("input")
    counts: ValueType = TensorType((UNKNOWN_DIM,), INT64) if a.flag("return_counts") else ScalarType(INT64)
    return TensorType((UNKNOWN_DIM,), tensor_type.dtype), TensorType(tensor_type.dims, INT64), counts


def _made(name: str, args: str, infer: Infer, *examples: str, source: str | None = None) -> Operator:
    if source is None:
        return row(name, args, infer, kernel=Kernel.CREATE, examples=examples)
    return row(name, args, infer, kernel=Kernel.CREATE, examples=examples, source=source)


ROWS: tuple[Operator, ...] = (
    *(
        _made(
            name,
            "size: ints, type: dtype? = None",
            _of_size("type"),
            f"{name}((n: int64, 3), int32) -> int32[?, 3]",
            f"{name}((n: int64, 3), None) -> float32[?, 3]",
            source=CLASSIC,
        )
        for name in ("Zeros", "Ones")
    ),
    *(
        _made(
            name,
            "input: tensor, size: ints, dtype: dtype? = None",
            _of_size_like,
            f"{name}(x: float16[2], (2, n: int64), None) -> float16[2, ?]",
            f"{name}(x: float16[2], (2, 3), bool) -> bool[2, 3]",
        )
        for name in ("NewZeros", "NewOnes")
    ),
    *(
        _made(name, "x: tensor", same_as("x"), f"{name}(x: float16[?, 3]) -> float16[?, 3]")
        for name in ("ZerosLike", "OnesLike")
    ),
    *(
        _made(
            name,
            "input: tensor, dtype: dtype? = None",
            _like,
            f"{name}(x: float16[2, ?], None) -> float16[2, ?]",
            f"{name}(x: float16[2, 3], int64) -> int64[2, 3]",
        )
        for name in ("ZerosLikeExt", "OnesLikeExt")
    ),
    _made(
        "EmptyLike",
        "input: tensor, dtype: dtype? = None, device: enum? = None, pin_memory: bool = False",
        _like,
        "EmptyLike(x: float16[2, ?], None, None, False) -> float16[2, ?]",
    ),
    _made(
        "FillScalar",
        "size: ints, fill_value: number, dtype: dtype? = None",
        _filled,
        "FillScalar((n: int64, 3), m: int64, int32) -> int32[?, 3]",
        "FillScalar((2, 3), 1.0, None) -> float32[2, 3]",
        "FillScalar((2, 3), True, None) -> bool[2, 3]",
    ),
    _made(
        "FillTensor",
        "size: ints, fill_value: tensor, dtype: dtype? = None",
        _filled_as_tensor,
        "FillTensor((n: int64, 3), v: float16[], None) -> float16[?, 3]",
        "FillTensor((2, 3), v: float16[1], float32) -> float32[2, 3]",
        "refused: FillTensor((2, 3), v: float16[2], None)",
    ),
    _made(
        "FullLike",
        "input: tensor, fill_value: number, dtype: dtype? = None",
        _filled_like,
        "FullLike(x: float16[2, ?], 1.0, None) -> float32[2, ?]",
        "FullLike(x: float16[2, 3], 1, int64) -> int64[2, 3]",
    ),
    _made(
        "NewFull",
        "input: tensor, size: ints, fill_value: number, dtype: dtype? = None",
        _of_size_like,
        "NewFull(x: float16[2], (2, 3), 1.0, None) -> float16[2, 3]",
    ),
    _made(
        "Eye",
        "n: int, m: int, dtype: dtype? = None",
        _identity,
        "Eye(3, 4, float16) -> float16[3, 4]",
    ),
    _made(
        "FillV2",
        "shape: ints, value: tensor",
        _filled_with_tensor,
        "FillV2((2, 3), v: float16[]) -> float16[2, 3]",
        "FillV2(tensor int64[2] (2, 3), v: float16[]) -> float16[2, 3]",
        source=CLASSIC,
    ),
    _made(
        "Arange",
        "start: number, end: number, step: number, dtype: dtype? = None",
        _counted,
        "Arange(0, 10, 3, float16) -> float16[4]",
        "Arange(0, n: int64, 1, int64) -> int64[?]",
    ),
    _made(
        "Range",
        "start: number, end: number, step: number, maxlen: int = 1000000",
        _ranged,
        "Range(n: int64, 10, 3, 1000000) -> int64[?]",
    ),
    _made(
        "LinSpaceExt",
        "start: number, end: number, steps: int, dtype: dtype? = None",
        _spaced,
        "LinSpaceExt(0.0, 1.0, 5, float16) -> float16[5]",
        "LinSpaceExt(0, 1, 5, None) -> float32[5]",
    ),
    row(
        "Unique2",
        "input: tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False",
        _distinct,
        kernel=Kernel.REDUCE,
        examples=(
            "Unique2(x: int64[2, 5], True, False, False) -> (int64[?], int64[2, 5], int64)",
            "Unique2(x: int64[5], True, True, True) -> (int64[?], int64[5], int64[?])",
        ),
    ),
)
