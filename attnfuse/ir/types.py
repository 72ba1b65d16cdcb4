"""What may be known of a value before run time: its type, and how the type a file declares is read and compared.

A value type is the type of a tensor, that of a number, those of a tuple's elements, or one of the few things that are
neither (a monad, a function, a text, None). `None` in its place says that nothing is known: an element type this
project does not read, a rank left to run time, a structure no inference here describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.schema import AttributeProto, TensorProto

__all__ = [
    "COMPLEX64",
    "UNKNOWN_DIM",
    "UNKNOWN_RANK",
    "Array",
    "Literal",
    "ScalarType",
    "Special",
    "TensorType",
    "ValueType",
    "agree",
    "declaration",
    "declared_type",
    "describe",
    "element_type",
    "is_complex",
    "stored_tensor_type",
]

UNKNOWN_DIM = -1
UNKNOWN_RANK = -2
"""The one dimension of a tensor of which not even the number of axes is known before run time."""
Array: TypeAlias = npt.NDArray[np.generic]
Literal: TypeAlias = "int | float | bool | str | Array | tuple[Literal, ...] | None"


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and element type of a value. A dimension of -1 is not known before run time."""

    dims: tuple[int, ...]
    dtype: DType

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def is_static(self) -> bool:
        return all(d >= 0 for d in self.dims)

    @property
    def size(self) -> int:
        """Number of elements; only of a static shape."""
        total = 1
        for dim in self.dims:
            total *= dim
        return total

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join('?' if d < 0 else str(d) for d in self.dims)}]"


COMPLEX64 = DType("complex64", 14, 48, np.dtype(np.complex64))
COMPLEX128 = DType("complex128", 15, 49, np.dtype(np.complex128))
"""Element types that occur between Complex and Real; nothing here computes with them, so `dtypes.ALL` has neither."""


@dataclass(frozen=True, slots=True)
class ScalarType:
    """A number that is no tensor. `dtype` is the type MindSpore gives it: int64, float32, bool."""

    dtype: DType

    def __str__(self) -> str:
        return str(self.dtype)


class Special(Enum):
    """What is neither a tensor nor a number nor a tuple."""

    MONAD = "a monad"
    FUNCTION = "a function"
    TEXT = "a text"
    NONE = "None"

    def __str__(self) -> str:
        return self.value


ValueType: TypeAlias = "TensorType | ScalarType | Special | tuple[ValueType, ...] | None"

_A = AttributeProto
_SPECIAL: dict[int, Special] = {
    _A.UMONAD: Special.MONAD,
    _A.IOMONAD: Special.MONAD,
    _A.FUNCGRAPHCLOSURE: Special.FUNCTION,
    _A.PRIMITIVECLOSURE: Special.FUNCTION,
    _A.PARTIALCLOSURE: Special.FUNCTION,
    _A.UNIONFUNCCLOSURE: Special.FUNCTION,
    _A.STRING: Special.TEXT,
    _A.NONE: Special.NONE,
}
_NUMBERS = {14: COMPLEX64, 15: COMPLEX128}
_SHOWN_ELEMENTS, _SHOWN_DEPTH = 8, 3


def is_complex(dtype: DType) -> bool:
    """Whether it is one of the two complex element types."""
    return dtype is COMPLEX64 or dtype is COMPLEX128


def element_type(number: int) -> DType | None:
    """The element type that a message's number stands for; None for one that this project does not read."""
    return dtypes.from_wire(number) or _NUMBERS.get(number)


def stored_tensor_type(proto: TensorProto) -> TensorType | None:
    """Type of a tensor message; None for an unknown element type, or a rank left to run time (a dimension of −2)."""
    return _stored_tensor_type(proto.data_type, tuple(proto.dims))


@lru_cache(1 << 12)
def _stored_tensor_type(data_type: int, dims: tuple[int, ...]) -> TensorType | None:
    dtype = element_type(data_type)
    if dtype is None or (dims and min(dims) < UNKNOWN_DIM):
        return None
    return TensorType(dims, dtype)


def declared_type(proto: AttributeProto | None) -> ValueType:
    """The type that a node's `shape` attribute declares; None where it is missing or says nothing that is known."""
    if proto is None:
        return None
    wire = proto.type
    if wire == _A.TENSORS:
        return stored_tensor_type(proto.tensors[0]) if len(proto.tensors) == 1 else None
    if wire in (_A.TUPLE, _A.LIST):
        if proto.seq_info.is_dyn_len:
            return None
        return tuple(declared_type(element) for element in proto.values)
    if wire == _A.SCALAR:
        if len(proto.tensors) != 1:
            return None
        dtype = dtypes.from_wire(proto.tensors[0].data_type)
        return None if dtype is None else ScalarType(dtype)
    return _SPECIAL.get(wire)


def declaration(value_type: ValueType) -> AttributeProto | None:
    """The attribute that declares the type, without its name; None where it is, or holds, neither tensor nor tuple."""
    if isinstance(value_type, TensorType):
        a = AttributeProto(type=AttributeProto.TENSORS)
        a.tensors.add(data_type=value_type.dtype.wire).dims.extend(value_type.dims)
        return a
    if not isinstance(value_type, tuple):
        return None
    a = AttributeProto(type=AttributeProto.TUPLE)
    for element in value_type:
        declared = declaration(element)
        if declared is None:
            return None
        a.values.append(declared)
    a.seq_info.is_dyn_len = False
    return a


def agree(inferred: ValueType, declared: ValueType) -> bool:
    """Whether a declared type does not contradict an inferred one. What either leaves open (−1, None) agrees."""
    if inferred is None or declared is None or inferred is declared:
        return True
    if isinstance(inferred, TensorType):
        if not isinstance(declared, TensorType) or inferred.dtype is not declared.dtype:
            return False
        if inferred.dims == declared.dims:
            return True
        if len(inferred.dims) != len(declared.dims):
            return False
        for one, other in zip(inferred.dims, declared.dims, strict=True):
            if one != other and one != UNKNOWN_DIM and other != UNKNOWN_DIM:
                return False
        return True
    if isinstance(inferred, tuple):
        if not isinstance(declared, tuple) or len(inferred) != len(declared):
            return False
        return all(agree(one, other) for one, other in zip(inferred, declared, strict=True))
    return inferred == declared


def describe(value_type: ValueType, depth: int = 0) -> str:
    """The type for people, shortened where it is a large or deep tuple: `(float32[2, 3], int64, …)`."""
    if value_type is None:
        return "unknown"
    if not isinstance(value_type, tuple):
        return str(value_type)
    if depth == _SHOWN_DEPTH:
        return "(…)"
    parts = [describe(element, depth + 1) for element in value_type[:_SHOWN_ELEMENTS]]
    return f"({', '.join([*parts, '…'] if len(value_type) > _SHOWN_ELEMENTS else parts)})"
