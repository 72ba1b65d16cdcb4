"""The weights of a source, read where they lie: in the graph, beside it, or in a checkpoint.

What a LoRA adds to a weight of a checkpoint is part of it, and so are the rows of a textual inversion: merged here,
before all edits (see `edits`), so that every reader of the weight has the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from attnfuse.errors import SourceError
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.external import byte_size, parameter_name, parameters
from attnfuse.mindir.low_rank import Delta, LowRank, merged, opened
from attnfuse.mindir.rows import Rows
from attnfuse.mindir.schema import ModelProto, TensorProto
from attnfuse.mindir.taken import Taken, read_taken
from attnfuse.mindir.tensorfile import CHUNK_BYTES, TensorFile

_BLOCK = CHUNK_BYTES // 8
"""Elements of a weight that a LoRA is added to at once. More, and they leave the processor's cache."""


class WeightLocation(Protocol):
    """Where the value of a parameter lies: tensor `key` of the safetensors file `file`, or what is `taken` of one."""

    @property
    def file(self) -> Path: ...
    @property
    def key(self) -> str: ...
    @property
    def taken(self) -> Taken | None: ...


class StoredWeights:
    """Reads the weights of one graph, by their names without the graph's.

    `files` are the variables files by location, `sources` where a checkpoint has a weight, `added` what is added to
    those. `parameters` are the graph's declarations.
    """

    def __init__(
        self,
        model: ModelProto,
        files: Mapping[str, Path] | None = None,
        sources: Mapping[str, WeightLocation] | None = None,
        added: Mapping[str, Sequence[LowRank | Rows]] | None = None,
    ) -> None:
        self.parameters: Mapping[str, TensorProto] = {parameter_name(p): p for p in parameters(model)}
        self._files = files or {}
        self._sources = sources or {}
        self._added = added or {}
        self._opened: dict[Path, TensorFile] = {}
        self._latest: tuple[str, list[Delta]] = "", []

    def read(self, name: str, overflow: list[str], first: int = 0, last: int | None = None) -> Iterator[bytes] | None:
        """The elements from `first` to `last`, which is left out, in the type that the graph declares: row-major, at
        most `CHUNK_BYTES` at a time.

        None where the weight has no value, or is of no known type. A word is added to `overflow` where finite values
        of a checkpoint become infinite in the graph's type. Raises SourceError where a file cannot be read, has no
        such tensor, or one of another number of elements.
        """
        parameter = self.parameters.get(name)
        dtype = None if parameter is None else dtypes.from_wire(parameter.data_type)
        if parameter is None or dtype is None or byte_size(parameter) is None:
            return None
        source = self._sources.get(name)
        added = self._added.get(name, ()) if source is not None else ()
        if source is not None and (rows := [one for one in added if isinstance(one, Rows)]):
            return self._grown(parameter, source, rows, dtype, overflow, first, last)
        if source is not None and (deltas := [one for one in added if isinstance(one, LowRank)]):
            return self._merged(parameter, source, deltas, dtype, overflow, first, last)
        if source is not None:
            return _read(self._file(parameter, source), source, dtype, overflow, first, last)
        begin, end = first * dtype.itemsize, None if last is None else last * dtype.itemsize
        if not parameter.HasField("external_data"):
            return iter((parameter.raw_data[begin:end],)) if parameter.raw_data else None
        path = self._files.get(parameter.external_data.location)
        if path is None:
            return None
        at = parameter.external_data
        return _bytes(path, at.offset + begin, (at.length if end is None else end) - begin)

    def _grown(
        self,
        parameter: TensorProto,
        source: WeightLocation,
        rows: Sequence[Rows],
        dtype: DType,
        overflow: list[str],
        first: int,
        last: int | None,
    ) -> Iterator[bytes]:
        """The elements of a table with rows behind its own."""
        row = math.prod(parameter.dims[1:])
        own = parameter.dims[0] - sum(one.count for one in rows)
        end, at = parameter.dims[0] * row if last is None else last, 0
        for one, count in ((source, own), *((one, one.count) for one in rows)):
            begin, at = at, at + count * row
            if max(begin, first) < min(at, end):
                file = self._file(parameter, one, count * row)
                yield from _read(file, one, dtype, overflow, max(begin, first) - begin, min(at, end) - begin)

    def _file(self, parameter: TensorProto, source: WeightLocation, elements: int | None = None) -> TensorFile:
        """The file, in which the tensor has as many elements as are wanted: the parameter's, or as said."""
        if source.file not in self._opened:
            self._opened[source.file] = TensorFile(source.file)
        file = self._opened[source.file]
        taken = source.taken or Taken(source.key)
        shape = file.entry(taken.key).shape
        try:
            fits = math.prod(taken.shape(shape)) == (math.prod(parameter.dims) if elements is None else elements)
        except ValueError:
            fits = False
        if not fits:
            raise SourceError(
                f"tensor {taken.key!r} of {source.file} has shape {list(shape)}; "
                f"parameter {parameter_name(parameter)!r} has {list(parameter.dims)}."
            )
        return file

    def _merged(
        self,
        parameter: TensorProto,
        source: WeightLocation,
        added: Sequence[LowRank],
        dtype: DType,
        overflow: list[str],
        first: int,
        last: int | None,
    ) -> Iterator[bytes]:
        """The elements of a weight with what is added to it, whole rows (all behind the first axis) at a time."""
        file = self._file(parameter, source)
        name = parameter_name(parameter)
        if self._latest[0] != name:  # one weight is read by rows, one after the other
            self._latest = name, opened(added, self._opened)
        deltas = self._latest[1]
        row = math.prod(parameter.dims[1:])
        for delta in deltas:
            if (delta.shape[0], math.prod(delta.shape[1:])) != (parameter.dims[0], row):
                raise SourceError(
                    f"what {delta.source.file} adds to parameter {name!r} has shape "
                    f"{list(delta.shape)}, and the parameter {list(parameter.dims)}; it was made for another model."
                )
        begin, end = first // row, -(-(parameter.dims[0] * row if last is None else last) // row)
        step = max(1, _BLOCK // row)
        for base in _float_rows(file, source, row, begin, end, step):
            made, largest = merged(base, deltas, begin, dtype)
            chosen = slice(max(0, first - begin * row), None if last is None else last - begin * row)
            kept = made.reshape(-1)[chosen]
            may_overflow = not largest < dtype.largest  # as float32 has it, which may be rounded up to that
            if not overflow and may_overflow and (np.isinf(kept) & np.isfinite(base.reshape(-1)[chosen])).any():
                overflow.append(source.key)
            yield kept.tobytes()
            begin += len(base)


def _read(
    file: TensorFile, source: WeightLocation, dtype: DType, overflow: list[str], first: int, last: int | None
) -> Iterator[bytes]:
    """Elements of a weight of a checkpoint; see `TensorFile.read`."""
    if source.taken is None:
        return file.read(source.key, dtype, overflow, first, last)
    return read_taken(file, source.taken, dtype, overflow, first, last)


def _float_rows(
    file: TensorFile, source: WeightLocation, row: int, begin: int, end: int, step: int
) -> Iterator[npt.NDArray[np.float64]]:
    """Rows of so many elements of a weight of a checkpoint; see `TensorFile.float_rows`."""
    if source.taken is None:
        yield from file.float_rows(source.key, row, begin, end, step)
        return
    for first in range(begin, end, step):
        last = min(first + step, end)
        data = b"".join(read_taken(file, source.taken, dtypes.FLOAT32, [], first * row, last * row))
        yield np.frombuffer(data, np.float32).reshape(last - first, row).astype(np.float64)


def _bytes(path: Path, offset: int, length: int) -> Iterator[bytes]:
    """Bytes of a file; fewer where it ends before them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while length and (chunk := file.read(min(length, CHUNK_BYTES))):
                length -= len(chunk)
                yield chunk
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None
