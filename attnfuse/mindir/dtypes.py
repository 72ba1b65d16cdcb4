"""Element types: one record for the three numberings in use (the file's, MindSpore's own, numpy's).

Sources: `mind_ir.proto` (TensorProto.DataType) for `wire`; MindSpore's `TypeId` for `type_id`, which is what
the second input of `Cast` holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """An element type. `itemsize` is in bytes."""

    name: str
    wire: int
    type_id: int
    numpy: np.dtype[np.generic]

    @property
    def itemsize(self) -> int:
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        return self.name in _FLOATS

    @property
    def is_low_precision(self) -> bool:
        """float16 or bfloat16: what the fused operators compute in."""
        return self.name in ("float16", "bfloat16")

    def __str__(self) -> str:
        return self.name


_FLOATS = {"float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64"}

BOOL = DType("bool", 9, 30, np.dtype(np.bool_))
INT8 = DType("int8", 3, 32, np.dtype(np.int8))
INT16 = DType("int16", 5, 33, np.dtype(np.int16))
INT32 = DType("int32", 6, 34, np.dtype(np.int32))
INT64 = DType("int64", 7, 35, np.dtype(np.int64))
UINT8 = DType("uint8", 2, 37, np.dtype(np.uint8))
UINT16 = DType("uint16", 4, 38, np.dtype(np.uint16))
UINT32 = DType("uint32", 12, 39, np.dtype(np.uint32))
UINT64 = DType("uint64", 13, 40, np.dtype(np.uint64))
FLOAT16 = DType("float16", 10, 42, np.dtype(np.float16))
FLOAT32 = DType("float32", 1, 43, np.dtype(np.float32))
FLOAT64 = DType("float64", 11, 44, np.dtype(np.float64))
BFLOAT16 = DType("bfloat16", 16, 45, np.dtype(ml_dtypes.bfloat16))

ALL = (
    BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT16, FLOAT32, FLOAT64, BFLOAT16,
)  # fmt: skip

_BY_WIRE = {d.wire: d for d in ALL} | {17: FLOAT64}  # the format has two names for float64: DOUBLE and FLOAT64
_BY_TYPE_ID = {d.type_id: d for d in ALL}
_BY_NAME = {d.name: d for d in ALL}


def from_wire(number: int) -> DType | None:
    """The type of a TensorProto.data_type, or None for one this project does not compute with."""
    return _BY_WIRE.get(number)


def from_type_id(number: int) -> DType | None:
    """The type of a MindSpore TypeId, as `Cast` holds it."""
    return _BY_TYPE_ID.get(number)


def from_name(name: str) -> DType:
    """The type of that name; KeyError for an unknown one."""
    return _BY_NAME[name]


def of_array(array: np.ndarray[Any, np.dtype[Any]]) -> DType:
    """The type of an array's elements, which must be one of `ALL`."""
    return next(dtype for dtype in ALL if dtype.numpy == array.dtype)
