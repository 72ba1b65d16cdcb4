"""What inference functions are made of: shapes that broadcast, types that meet, axes, slices.

A size of −1 is not known before run time. The rules are MindSpore 2.7.1's, each checked by the rows' examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import as_copy, as_view
from attnfuse.ir.operators.row import Infer
from attnfuse.ir.types import COMPLEX64, UNKNOWN_DIM, TensorType, ValueType, is_complex
from attnfuse.mindir.dtypes import BOOL, FLOAT32, INT16, INT64, UINT8, DType

Dims = tuple[int, ...]

AND_VIEW = (("", "", "", as_copy), ("View", ", state: monad?", ", u: monad", as_view))
"""Of an operator that copies, and of its namesake that gives the same memory and is ordered by a monad: suffix of the
name, parameter, argument of an example, and what makes the columns."""

MOST_PARTS = 1 << 12
"""Results of one node; what would have more is refused: a file that holds their types is no graph of a model."""


# --- shapes


def shape(dims: Iterable[int]) -> str:
    """A shape for people: `[2, ?, 3]`."""
    return f"[{', '.join('?' if d < 0 else str(d) for d in dims)}]"


def product(dims: Iterable[int]) -> int:
    """Number of elements; only of known sizes."""
    total = 1
    for dim in dims:
        total *= dim
    return total


def is_known(dims: Dims) -> bool:
    """Whether every size is known before run time."""
    return not dims or min(dims) >= 0


def meet(one: int, other: int) -> int | None:
    """The size of two that must be the same, None where they are not. Of one that is not known, it is the other."""
    if one == other or other == UNKNOWN_DIM:
        return one
    return other if one == UNKNOWN_DIM else None


def broadcast(left: Dims, right: Dims) -> Dims:
    """Shape of what two operands of these shapes give, element by element."""
    if left == right:
        return left
    if len(left) < len(right):
        left = (1,) * (len(right) - len(left)) + left
    elif len(right) < len(left):
        right = (1,) * (len(left) - len(right)) + right
    result = []
    for a, b in zip(left, right, strict=True):
        if a == b or b == 1:
            result.append(a)
        elif a == 1 or a == UNKNOWN_DIM:
            result.append(b)
        elif b == UNKNOWN_DIM:
            result.append(a)
        else:
            raise TypeMismatch(f"has operands of {shape(left)} and {shape(right)}, which do not broadcast")
    return tuple(result)


def axis_of(value: int, rank: int, name: str = "axis") -> int:
    """An axis counted from the front."""
    if not -rank <= value < rank:
        raise TypeMismatch(f"has {value} as its {name}, and a tensor of {rank} axes")
    return value % rank if rank else 0


def axes_of(values: Iterable[int], rank: int, name: str = "axis") -> frozenset[int]:
    """Axes counted from the front."""
    return frozenset(axis_of(value, rank, name) for value in values)


def range_length(low: int, high: int, step: int) -> int:
    """How many numbers there are from `low` up to, without, `high`. `step` is not 0."""
    if step > 0:
        return max(0, -((low - high) // step)) if high > low else 0
    return max(0, -((high - low) // -step)) if high < low else 0


def slice_length(size: int, low: int | None, high: int | None, step: int) -> int:
    """How many elements of an axis a slice takes, as Python counts them. None is left out."""
    if step > 0:
        first = 0 if low is None else min(max(low + size if low < 0 else low, 0), size)
        last = size if high is None else min(max(high + size if high < 0 else high, 0), size)
    else:
        first = size - 1 if low is None else min(max(low + size if low < 0 else low, -1), size - 1)
        last = -1 if high is None else min(max(high + size if high < 0 else high, -1), size - 1)
    return range_length(first, last, step)


def parts(count: int) -> int:
    """A number of results. Raises TypeMismatch where there is none, or more than a file can tell the types of."""
    if not 0 < count <= MOST_PARTS:
        raise TypeMismatch(f"is to give {count} results")
    return count


# --- element types


def common(left: DType, right: DType) -> DType:
    """The element type that holds both, as MindSpore promotes those operators that take two types."""
    if left is right:
        return left
    if is_complex(left) or is_complex(right):
        return left if is_complex(left) else right
    if left.is_float or right.is_float:
        if not (left.is_float and right.is_float):
            return left if left.is_float else right
        if left.itemsize == right.itemsize:  # float16 and bfloat16
            return FLOAT32
        return left if left.itemsize > right.itemsize else right
    if left is BOOL or right is BOOL:
        return right if left is BOOL else left
    signed, unsigned = (left, right) if left.name.startswith("int") else (right, left)
    if signed.name.startswith("int") and unsigned.name.startswith("uint"):
        if unsigned is not UINT8:
            raise NotKnown(unsigned.name)
        return INT16 if signed.itemsize == 1 else signed
    return left if left.itemsize > right.itemsize else right


def with_number(tensor: DType, number: DType) -> DType:
    """The element type of a tensor met by a plain number, which changes it only where it could not hold it."""
    if tensor.is_float or is_complex(tensor) or number is BOOL:
        return tensor
    if number.is_float:
        return FLOAT32
    return INT64 if tensor is BOOL else tensor


def one_type(*types: TensorType | None) -> DType:
    """The element type that all have (None: no tensor, which has any)."""
    given = [tensor_type for tensor_type in types if tensor_type is not None]
    first = given[0].dtype
    for tensor_type in given:
        if tensor_type.dtype is not first:
            found = sorted({str(tensor_type.dtype) for tensor_type in given})
            raise TypeMismatch(f"has operands of {' and '.join(found)}; they must be of one type")
    return first


def arithmetic(left: TensorType, right: TensorType) -> DType:
    """The element type of a sum or product: both have it, or one is complex and the other a part of such."""
    one, other = left.dtype, right.dtype
    if one is other:
        return one
    if (one is COMPLEX64 and other is FLOAT32) or (one is FLOAT32 and other is COMPLEX64):
        return COMPLEX64
    return one_type(left, right)


def floating(dtype: DType) -> DType:
    """What a function of real numbers gives: float32 of whole numbers."""
    return dtype if dtype.is_float or is_complex(dtype) else FLOAT32


# --- inference functions that many rows share


def same_as(name: str) -> Infer:
    """The argument's own type."""
    return lambda a: a.tensor(name)


def type_of_argument(name: str) -> Infer:
    """The argument's own kind, which need be no tensor."""
    return lambda a: a.value_type(name)


def shaped_as(name: str, dtype: DType) -> Infer:
    """The argument's shape, of a fixed element type."""
    return lambda a: TensorType(a.tensor(name).dims, dtype)


def real_function(name: str) -> Infer:
    """The argument's shape; float32 where it holds whole numbers."""

    def infer(a: Arguments) -> ValueType:
        tensor_type = a.tensor(name)
        dtype = floating(tensor_type.dtype)
        return tensor_type if dtype is tensor_type.dtype else TensorType(tensor_type.dims, dtype)

    return infer


def reshaped(tensor_type: TensorType, dims: Dims) -> TensorType:
    """The same element type in another shape."""
    return tensor_type if dims == tensor_type.dims else TensorType(dims, tensor_type.dtype)


def with_axis(dims: Sequence[int], axis: int, size: int) -> Dims:
    """The shape with one size replaced."""
    return (*dims[:axis], size, *dims[axis + 1 :])


def without_axis(dims: Sequence[int], axis: int) -> Dims:
    """The shape without one axis."""
    return (*dims[:axis], *dims[axis + 1 :])


def dtype_or(a: Arguments, name: str, otherwise: DType) -> DType:
    """The element type an argument names, or another where it is None or left out."""
    return a.dtype(name) or otherwise
