"""Safetensors files: what is in them, tensors as streams of bytes in the type a graph wants, and how one begins.

Format (github.com/huggingface/safetensors, "Format"): eight bytes, little endian, give the length of a JSON header
that maps each tensor's name to `dtype`, `shape` and `data_offsets` [begin, end) counted from the end of the header;
the data follow, row-major and little endian. Whether a file holds together is for the `safetensors` package to say:
it refuses lengths that do not match, overlaps, holes and what ends too early. But it hands out whole rows, which for a
one-row tensor is all of it, and writes whole files only: here chunks are bounded by bytes, read and written.

Free of protobuf: what is loaded beside MindSpore may import it.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from attnfuse.errors import SourceError
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.foreign import MAX_HEADER, what_lies_there

#: Measured over 64 KiB to 8 MiB: what stays in a processor's cache from read to digest and write costs a third.
CHUNK_BYTES = 2**19
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies in its file: `offset` and `length` in bytes. `stored` is its type in the format's name."""

    stored: str
    shape: tuple[int, ...]
    offset: int
    length: int


def read_header(path: Path) -> bytes:
    """The JSON header of a safetensors file as it lies; less of it, or anything, of a damaged one. Raises OSError."""
    with path.open("rb") as file:
        return file.read(min(int.from_bytes(file.read(8), "little"), MAX_HEADER))


def write_header(tensors: Iterable[tuple[str, DType, tuple[int, ...]]], **metadata: str) -> tuple[bytes, int]:
    """What a safetensors file of these tensors, one after the other, begins with, and how many bytes of data follow."""
    header: dict[str, object] = {_METADATA: metadata} if metadata else {}
    end = 0
    for name, dtype, shape in tensors:
        begin, end = end, end + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": dtype.safetensors, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the data to 8 bytes
    return len(text).to_bytes(8, "little") + text, end


class TensorFile:
    """The header of one safetensors file: `metadata`, and where its `tensors` lie, by name in alphabetical order."""

    def __init__(self, path: Path) -> None:
        """Read the header. Raises SourceError, naming the file, where it is no whole safetensors file."""
        self.path = path
        try:
            if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # a pipe would be waited for
                raise SourceError(f"{path} is no file; name the checkpoint itself.")
            with safe_open(path, framework="numpy"):  # refuses a file that does not hold together
                header = read_header(path)
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None
        except SafetensorError as error:
            raise self._damaged(error) from None
        entries: dict[str, Any] = json.loads(header)
        self.metadata: Mapping[str, str] = entries.pop(_METADATA, None) or {}
        begin = 8 + len(header)
        self.tensors: Mapping[str, TensorEntry] = {
            key: TensorEntry(raw["dtype"], tuple(raw["shape"]), begin + first, end - first)
            for key, raw in sorted(entries.items())
            for first, end in (raw["data_offsets"],)
        }

    def _damaged(self, reason: object = "it ends too early") -> SourceError:
        try:
            found = what_lies_there(self.path)
            if not found and not self.path.stat().st_size:
                found = "is empty, and no safetensors file; fetch it again"
        except OSError:
            found = ""
        found = found or f"is not a safetensors file or is truncated ({reason}); name another, or fetch it again"
        return SourceError(f"{self.path} {found}.")

    def entry(self, key: str) -> TensorEntry:
        """Where tensor `key` lies. Raises SourceError where it is absent."""
        entry = self.tensors.get(key)
        if entry is None:
            raise SourceError(f"{self.path} has no tensor {key!r}; the checkpoint is not of this model.")
        return entry

    def _dtype(self, key: str) -> DType:
        entry = self.entry(key)
        dtype = dtypes.from_safetensors(entry.stored)
        if dtype is None:
            raise SourceError(f"tensor {key!r} of {self.path} is of type {entry.stored}, which is not supported.")
        return dtype

    def values(self, key: str) -> npt.NDArray[Any]:
        """The values of tensor `key` in its own type.

        Raises SourceError where it is absent, or of a type that this project does not read.
        """
        entry, dtype = self.entry(key), self._dtype(key)
        data = bytearray().join(self._bytes(entry, CHUNK_BYTES))
        return np.frombuffer(data, dtype.numpy).reshape(entry.shape)

    def read(
        self, key: str, dtype: DType, overflow: list[str], first: int = 0, last: int | None = None
    ) -> Iterator[bytes]:
        """The values of tensor `key` converted to `dtype` (round to nearest even), at most CHUNK_BYTES at a time: from
        element `first` to `last`, which is left out, in row-major order.

        What `dtype` cannot hold becomes infinite, as in mindone's loader; `key` is then added to `overflow`.
        Raises SourceError where the tensor is absent, or not of that type and one of the two is no float type.
        """
        entry, stored = self.entry(key), self._dtype(key)
        if stored != dtype and not (stored.is_float and dtype.is_float):
            raise SourceError(f"tensor {key!r} of {self.path} is of type {stored}; the graph wants {dtype}.")
        limit = dtype.largest if dtype.is_float else 0.0
        begin, size = first * stored.itemsize, stored.itemsize
        end = entry.length if last is None else last * size
        entry = replace(entry, offset=entry.offset + begin, length=end - begin)

        def within(values: npt.NDArray[Any]) -> bool:
            """Whether all are numbers that `dtype` holds: quicker than to look for infinities in the result."""
            return bool(-limit <= values.min() and values.max() <= limit)

        for chunk in self._bytes(entry, CHUNK_BYTES - CHUNK_BYTES % size):
            if stored == dtype:
                yield chunk
                continue
            values = np.frombuffer(chunk, stored.numpy)
            with np.errstate(over="ignore"):
                converted = values.astype(dtype.numpy)
            may_overflow = stored.is_float and stored.largest > limit
            if not overflow and may_overflow and not within(values) and np.isfinite(values[np.isinf(converted)]).any():
                overflow.append(key)
            yield converted.tobytes()

    def float_rows(self, key: str, row: int, first: int, last: int, step: int) -> Iterator[npt.NDArray[np.float64]]:
        """Rows of `row` elements each, from `first` to `last`, which is left out, `step` rows at a time: the values as
        float32 has them, in float64. An array holds until the next is asked for.

        Raises SourceError where the tensor is absent, or of no float type.
        """
        entry, stored = self.entry(key), self._dtype(key)
        if not stored.is_float:
            raise SourceError(f"tensor {key!r} of {self.path} is of type {stored}; the graph wants {dtypes.FLOAT32}.")
        size = row * stored.itemsize
        entry = replace(entry, offset=entry.offset + first * size, length=(last - first) * size)
        table = _half_values(stored) if stored.itemsize == 2 else None
        place = np.empty((step, row))  # once: memory that the system gives anew takes longer than what is done in it
        for chunk in self._bytes(entry, step * size):
            values = place[: len(chunk) // size]
            if table is not None:
                table.take(np.frombuffer(chunk, np.uint16).reshape(-1, row), out=values, mode="clip")
            else:
                with np.errstate(over="ignore"):
                    values[...] = np.frombuffer(chunk, stored.numpy).astype(np.float32).reshape(-1, row)
            yield values

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


@cache
def _half_values(dtype: DType) -> npt.NDArray[np.float64]:
    """The values of all numbers of 16 bits: to look one up takes half as long as numpy's conversion."""
    with np.errstate(invalid="ignore"):  # of those that are none
        return np.arange(2**16, dtype=np.uint16).view(dtype.numpy).astype(np.float32).astype(np.float64)
