"""Values of single weights, read where they lie: in the graph, beside it, or in the checkpoint they are streamed from.

Most of a compile never looks at a number of a weight. Where a decision hangs on one (a mask that a model keeps as a
weight), it is read here, and its digest is remembered: another weight of that name may decide otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from attnfuse.errors import SourceError
from attnfuse.mindir import dtypes
from attnfuse.mindir.external import WeightLocation, byte_size, parameter_name, parameters
from attnfuse.mindir.schema import ModelProto, TensorProto
from attnfuse.mindir.tensorfile import TensorFile

MAX_BYTES = 2**28
"""A weight larger than this (256 MiB: a float32 mask of 8192 by 8192) is not looked at: its value is not known."""


class WeightValues:
    """Reads the weights of one graph, by their names, with or without the graph's.

    `files` are the variables files by location, `sources` where a checkpoint has a weight, by the name without the
    graph's. Whoever asks for a weight that has no value, is too large or is of an unknown type gets None.
    """

    def __init__(
        self,
        model: ModelProto,
        files: Mapping[str, Path] | None = None,
        sources: Mapping[str, WeightLocation] | None = None,
    ) -> None:
        self._parameters = {parameter_name(parameter): parameter for parameter in parameters(model)}
        self._files = files or {}
        self._sources = sources or {}
        self._asked: dict[str, str] = {}

    @property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """The weights asked for so far, each with the digest of its value (see `digest`), by name."""
        return tuple(sorted(self._asked.items()))

    def __call__(self, name: str) -> npt.NDArray[np.generic] | None:
        """The value, of the shape and element type that the graph declares.

        Raises SourceError where a file cannot be read or does not hold what it should.
        """
        own = name.partition(":")[2] or name
        data = self._data(own)
        self._asked[own] = _digest(data)
        if data is None:
            return None
        parameter = self._parameters[own]
        dtype = dtypes.from_wire(parameter.data_type)
        assert dtype is not None  # else it has no size
        return np.frombuffer(data, dtype.numpy).reshape(tuple(parameter.dims))

    def digest(self, name: str) -> str:
        """The SHA-256 of the bytes of a weight's value, by its own name; empty where it is not known."""
        return _digest(self._data(name))

    def _data(self, name: str) -> bytes | None:
        parameter = self._parameters.get(name)
        size = None if parameter is None else byte_size(parameter)
        if parameter is None or size is None or size > MAX_BYTES:
            return None
        source = self._sources.get(name)
        data = self._stored(parameter) if source is None else self._streamed(parameter, source)
        return data if data is not None and len(data) == size else None

    def _stored(self, parameter: TensorProto) -> bytes | None:
        if not parameter.HasField("external_data"):
            return parameter.raw_data or None
        at = parameter.external_data
        path = self._files.get(at.location)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                file.seek(at.offset)
                return file.read(at.length)
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None

    def _streamed(self, parameter: TensorProto, source: WeightLocation) -> bytes | None:
        """The bytes that `external.variables` writes for it."""
        dtype = dtypes.from_wire(parameter.data_type)
        if dtype is None:
            return None
        return b"".join(TensorFile(source.file).read(source.key, dtype, []))


def _digest(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()
