"""Tensors of safetensors files as streams of bytes in the type a graph wants, half a megabyte at a time.

Format (github.com/huggingface/safetensors, "Format"): eight bytes, little endian, give the length of a JSON header
that maps each tensor's name to `dtype`, `shape` and `data_offsets` [begin, end) counted from the end of the header;
the data follow, row-major and little endian. The reader of the `safetensors` package hands out whole rows, which for
a one-row tensor is all of it: here chunks are bounded by bytes.

May import `attnfuse.errors` and `attnfuse.mindir`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from attnfuse.errors import SourceError
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType

#: Measured over 64 KiB to 8 MiB: what stays in a processor's cache from read to digest and write costs a third.
CHUNK_BYTES = 2**19
_MAX_HEADER = 100 * 2**20  # what the safetensors package itself accepts
#: Types of checkpoints only, which are widened: no graph has them, and so they have no number of a graph's type.
_FLOAT8_E4M3FN = DType("float8_e4m3fn", 0, 0, np.dtype(ml_dtypes.float8_e4m3fn))
_FLOAT8_E5M2 = DType("float8_e5m2", 0, 0, np.dtype(ml_dtypes.float8_e5m2))
_DTYPES = {
    "F8_E4M3": _FLOAT8_E4M3FN, "F8_E5M2": _FLOAT8_E5M2,
    "BOOL": dtypes.BOOL, "I8": dtypes.INT8, "U8": dtypes.UINT8, "I16": dtypes.INT16, "U16": dtypes.UINT16,
    "I32": dtypes.INT32, "U32": dtypes.UINT32, "I64": dtypes.INT64, "U64": dtypes.UINT64, "F16": dtypes.FLOAT16,
    "BF16": dtypes.BFLOAT16, "F32": dtypes.FLOAT32, "F64": dtypes.FLOAT64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies in its file: `offset` and `length` in bytes."""

    dtype: DType
    shape: tuple[int, ...]
    offset: int
    length: int


class TensorFile:
    """The header of one safetensors file."""

    def __init__(self, path: Path) -> None:
        """Read the header. Raises SourceError, naming the file, where it is no whole safetensors file."""
        self.path = path
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = file.read(min(length, _MAX_HEADER))
            self._begin = 8 + length
            self._size = path.stat().st_size
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None
        if len(header) != length or length == 0:
            raise self._damaged()
        try:
            entries = json.loads(header)
        except ValueError:
            raise self._damaged() from None
        if not isinstance(entries, dict):
            raise self._damaged()
        self._entries: dict[str, Any] = entries

    def _damaged(self) -> SourceError:
        return SourceError(f"{self.path} is not a safetensors file or is truncated; download it again.")

    def entry(self, key: str) -> TensorEntry:
        """Where tensor `key` lies. Raises SourceError where it is absent or its entry does not hold together."""
        raw = self._entries.get(key)
        if raw is None:
            raise SourceError(f"{self.path} has no tensor {key!r}; the checkpoint is not of this model.")
        try:
            dtype = _DTYPES.get(raw["dtype"])
            shape = tuple(int(d) for d in raw["shape"])
            begin, end = (int(x) for x in raw["data_offsets"])
        except (KeyError, TypeError, ValueError):
            raise self._damaged() from None
        if dtype is None:
            raise SourceError(f"tensor {key!r} of {self.path} is of type {raw['dtype']}, which is not supported.")
        count = int(np.prod(shape, dtype=np.int64))
        if begin < 0 or end - begin != count * dtype.itemsize or self._begin + end > self._size:
            raise self._damaged()
        return TensorEntry(dtype, shape, self._begin + begin, end - begin)

    def read(self, key: str, dtype: DType, overflow: list[str]) -> Iterator[bytes]:
        """The values of tensor `key` converted to `dtype` (round to nearest even), at most CHUNK_BYTES at a time.

        What `dtype` cannot hold becomes infinite, as in mindone's loader; `key` is then added to `overflow`.
        Raises SourceError where the tensor is not of that type and one of the two is no float type.
        """
        entry = self.entry(key)
        if entry.dtype != dtype and not (entry.dtype.is_float and dtype.is_float):
            raise SourceError(f"tensor {key!r} of {self.path} is of type {entry.dtype}; the graph wants {dtype}.")
        limit = float(ml_dtypes.finfo(dtype.numpy).max) if dtype.is_float else 0.0  # type: ignore[no-untyped-call]

        def within(values: npt.NDArray[Any]) -> bool:
            """Whether all are numbers that `dtype` holds: quicker than to look for infinities in the result."""
            return bool(-limit <= values.min() and values.max() <= limit)

        for chunk in self._bytes(entry, CHUNK_BYTES - CHUNK_BYTES % entry.dtype.itemsize):
            if entry.dtype == dtype:
                yield chunk
                continue
            values = np.frombuffer(chunk, entry.dtype.numpy)
            with np.errstate(over="ignore"):
                converted = values.astype(dtype.numpy)
            if not overflow and not within(values) and np.isfinite(values[np.isinf(converted)]).any():
                overflow.append(key)
            yield converted.tobytes()

    def _bytes(self, entry: TensorEntry, step: int) -> Iterator[bytes]:
        """The tensor as it lies, `step` bytes at a time."""
        try:
            with self.path.open("rb") as file:
                file.seek(entry.offset)
                for position in range(0, entry.length, step):
                    wanted = min(step, entry.length - position)
                    chunk = file.read(wanted)
                    if len(chunk) != wanted:
                        raise self._damaged()
                    yield chunk
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read: {error.strerror or error}.") from None
