"""What may be known of a value before run time: its kind, and how the kind a file declares is read and compared.

A kind is the type of a tensor, that of a number, those of a tuple's elements, or one of the few things that are
neither (a monad, a function, a text, None). `None` in a kind's place says that nothing is known: an element type this
project does not read, a rank left to run time, a structure no inference here describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
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
    "Kind",
    "Literal",
    "ScalarType",
    "Special",
    "TensorType",
    "agree",
    "declaration",
    "declared_kind",
    "element_type",
    "is_complex",
    "tensor_kind",
    "told",
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


Kind: TypeAlias = "TensorType | ScalarType | Special | tuple[Kind, ...] | None"

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
_TOLD_ELEMENTS, _TOLD_DEPTH = 8, 3


def is_complex(dtype: DType) -> bool:
    """Whether it is one of the two complex element types."""
    return dtype is COMPLEX64 or dtype is COMPLEX128


def element_type(number: int) -> DType | None:
    """The element type that a message's number stands for; None for one that this project does not read."""
    return dtypes.from_wire(number) or _NUMBERS.get(number)


def tensor_kind(proto: TensorProto) -> TensorType | None:
    """Type of a tensor message; None for an unknown element type, or a rank left to run time (a dimension of −2)."""
    dtype = element_type(proto.data_type)
    if dtype is None:
        return None
    dims = tuple(proto.dims)
    if dims and min(dims) < UNKNOWN_DIM:
        return None
    return TensorType(dims, dtype)


def declared_kind(proto: AttributeProto | None) -> Kind:
    """The kind that a node's `shape` attribute declares; None where it is missing or says nothing that is known."""
    if proto is None:
        return None
    kind = proto.type
    if kind == _A.TENSORS:
        return tensor_kind(proto.tensors[0]) if len(proto.tensors) == 1 else None
    if kind in (_A.TUPLE, _A.LIST):
        if proto.seq_info.is_dyn_len:
            return None
        return tuple(declared_kind(element) for element in proto.values)
    if kind == _A.SCALAR:
        if len(proto.tensors) != 1:
            return None
        dtype = dtypes.from_wire(proto.tensors[0].data_type)
        return None if dtype is None else ScalarType(dtype)
    return _SPECIAL.get(kind)


def declaration(kind: Kind) -> AttributeProto | None:
    """The attribute that declares the kind, without its name; None where it is, or holds, neither tensor nor tuple."""
    if isinstance(kind, TensorType):
        a = AttributeProto(type=AttributeProto.TENSORS)
        a.tensors.add(data_type=kind.dtype.wire).dims.extend(kind.dims)
        return a
    if not isinstance(kind, tuple):
        return None
    a = AttributeProto(type=AttributeProto.TUPLE)
    for element in kind:
        declared = declaration(element)
        if declared is None:
            return None
        a.values.append(declared)
    a.seq_info.is_dyn_len = False
    return a


def agree(inferred: Kind, declared: Kind) -> bool:
    """Whether a declared kind does not contradict an inferred one. What either leaves open (−1, None) agrees."""
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


def told(kind: Kind, depth: int = 0) -> str:
    """The kind for people, shortened where it is a large or deep tuple: `(float32[2, 3], int64, …)`."""
    if kind is None:
        return "unknown"
    if not isinstance(kind, tuple):
        return str(kind)
    if depth == _TOLD_DEPTH:
        return "(…)"
    parts = [told(element, depth + 1) for element in kind[:_TOLD_ELEMENTS]]
    return f"({', '.join([*parts, '…'] if len(kind) > _TOLD_ELEMENTS else parts)})"
