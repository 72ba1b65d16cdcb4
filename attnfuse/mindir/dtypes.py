"""Element types: one record for all the names and numbers they have (MindIR's, MindSpore's, numpy's, safetensors').

Sources: `mind_ir.proto` (TensorProto.DataType) for `wire`; MindSpore's `TypeId` for `type_id`, which is what the second
input of `Cast` holds; github.com/huggingface/safetensors (safetensors/src/tensor.rs, Dtype) for `safetensors`.

Free of protobuf: what is loaded beside MindSpore may import it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """An element type. `itemsize` is in bytes.

    `wire` is MindIR's number of the type, which in ONNX, whose schema MindIR's is made from, means the same; 0 for a
    type that no graph has. `safetensors` is the type's name in such files, "" where the format has none.
    """

    name: str
    wire: int = field(hash=False)
    type_id: int = field(hash=False)
    numpy: np.dtype[np.generic] = field(hash=False)
    safetensors: str = field(default="", hash=False)

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

    @property
    def largest(self) -> float:
        """The largest finite number of a float type."""
        return float(ml_dtypes.finfo(self.numpy).max)  # type: ignore[no-untyped-call]

    @property
    def unit_roundoff(self) -> float:
        """Half of the distance from 1 to the next number: the largest relative error of one rounding to nearest."""
        return float(ml_dtypes.finfo(self.numpy).eps) / 2  # type: ignore[no-untyped-call]

    def __str__(self) -> str:
        return self.name


_FLOATS = {"float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64"}

BOOL = DType("bool", 9, 30, np.dtype(np.bool_), "BOOL")
INT8 = DType("int8", 3, 32, np.dtype(np.int8), "I8")
INT16 = DType("int16", 5, 33, np.dtype(np.int16), "I16")
INT32 = DType("int32", 6, 34, np.dtype(np.int32), "I32")
INT64 = DType("int64", 7, 35, np.dtype(np.int64), "I64")
UINT8 = DType("uint8", 2, 37, np.dtype(np.uint8), "U8")
UINT16 = DType("uint16", 4, 38, np.dtype(np.uint16), "U16")
UINT32 = DType("uint32", 12, 39, np.dtype(np.uint32), "U32")
UINT64 = DType("uint64", 13, 40, np.dtype(np.uint64), "U64")
FLOAT16 = DType("float16", 10, 42, np.dtype(np.float16), "F16")
FLOAT32 = DType("float32", 1, 43, np.dtype(np.float32), "F32")
FLOAT64 = DType("float64", 11, 44, np.dtype(np.float64), "F64")
BFLOAT16 = DType("bfloat16", 16, 45, np.dtype(ml_dtypes.bfloat16), "BF16")

ALL = (
    BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT16, FLOAT32, FLOAT64, BFLOAT16,
)  # fmt: skip

FLOAT8_E4M3FN = DType("float8_e4m3fn", 0, 0, np.dtype(ml_dtypes.float8_e4m3fn), "F8_E4M3")
FLOAT8_E5M2 = DType("float8_e5m2", 0, 0, np.dtype(ml_dtypes.float8_e5m2), "F8_E5M2")
FLOAT8 = (FLOAT8_E4M3FN, FLOAT8_E5M2)
"""Types of checkpoints only: float16, bfloat16 and float32 hold every value of them."""

_BY_WIRE = {d.wire: d for d in ALL} | {17: FLOAT64}  # the format has two names for float64: DOUBLE and FLOAT64
_INT = 31
"""The TypeId of `mindspore.int_`, which says no number of bits: MindSpore infers int32 of it."""
_BY_TYPE_ID = {**{d.type_id: d for d in ALL}, _INT: INT32}
_BY_NAME = {d.name: d for d in (*ALL, *FLOAT8)}
_BY_SAFETENSORS = {d.safetensors: d for d in (*ALL, *FLOAT8)}


def from_wire(number: int) -> DType | None:
    """The type of a TensorProto.data_type, or None for one this project does not compute with."""
    return _BY_WIRE.get(number)


def from_type_id(number: int) -> DType | None:
    """The type of a MindSpore TypeId, as `Cast` holds it; `mindspore.int_` is int32."""
    return _BY_TYPE_ID.get(number)


def from_name(name: str) -> DType:
    """The type of that name; KeyError for an unknown one."""
    return _BY_NAME[name]


def from_safetensors(name: str) -> DType | None:
    """The type that a safetensors file calls so, or None for one this project does not read."""
    return _BY_SAFETENSORS.get(name)


def of_array(array: np.ndarray[Any, np.dtype[Any]]) -> DType:
    """The type of an array's elements, which must be one of `ALL`."""
    return next(dtype for dtype in ALL if dtype.numpy == array.dtype)
