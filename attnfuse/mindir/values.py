"""Values of single weights, read where they lie: in the graph, beside it, or in the checkpoint they are streamed from.

Most of a compile never looks at a number of a weight. Where a decision hangs on one (a mask that a model keeps as a
weight), it is read here, and its digest is remembered: another weight of that name may decide otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from attnfuse.mindir import dtypes
from attnfuse.mindir.edits import EditedWeight, WeightEdits, edited_chunks, edited_weight
from attnfuse.mindir.external import byte_size
from attnfuse.mindir.low_rank import LowRank
from attnfuse.mindir.rows import Rows
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.stored import StoredWeights, WeightLocation

MAX_BYTES = 2**28
"""A weight larger than this (256 MiB: a float32 mask of 8192 by 8192) is not looked at: its value is not known."""


class WeightValues:
    """Reads the weights of one graph, by their names, with or without the graph's.

    `files` are the variables files by location, `sources` where a checkpoint has a weight, by the name without the
    graph's, `added` what is added to those. Whoever asks for a weight that has no value, is too large or is of an
    unknown type gets None. A name may be that of a weight made of one of the graph's (see `edits`).
    """

    def __init__(
        self,
        model: ModelProto,
        files: Mapping[str, Path] | None = None,
        sources: Mapping[str, WeightLocation] | None = None,
        added: Mapping[str, Sequence[LowRank | Rows]] | None = None,
    ) -> None:
        self._weights = StoredWeights(model, files, sources, added)
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
        parameters = self._weights.parameters
        made = edited_weight(own, parameters) or EditedWeight(own, WeightEdits())
        data = self._data(made.source)
        self._asked[made.source] = _digest(data)
        if data is None:
            return None
        dims, dtype = tuple(parameters[made.source].dims), dtypes.from_wire(parameters[made.source].data_type)
        assert dtype is not None  # else it has no size
        edits, size = made.edits, dtype.itemsize
        if edits == WeightEdits():
            return np.frombuffer(data, dtype.numpy).reshape(dims)
        chunks = edited_chunks(edits, dims, dtype, lambda first, last: data[first * size : last * size], MAX_BYTES)
        return np.frombuffer(b"".join(chunks), (edits.dtype or dtype).numpy).reshape(edits.dims(dims))

    def digest(self, name: str) -> str:
        """The SHA-256 of the bytes of a weight's value, by its own name; empty where it is not known."""
        return _digest(self._data(name))

    def _data(self, name: str) -> bytes | None:
        parameter = self._weights.parameters.get(name)
        size = None if parameter is None else byte_size(parameter)
        if size is None or size > MAX_BYTES:
            return None
        chunks = self._weights.read(name, [])
        data = None if chunks is None else b"".join(chunks)
        return data if data is not None and len(data) == size else None


def _digest(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()
