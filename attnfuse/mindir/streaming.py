"""Writing weights: those of a source into a file beside the result, edited on the way, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

from attnfuse.errors import InternalError, SourceError
from attnfuse.mindir import dtypes
from attnfuse.mindir.edits import EditedWeight, edited_chunks, edited_weight
from attnfuse.mindir.external import ALIGNMENT, HEADER, byte_size, parameter_name, parameters
from attnfuse.mindir.schema import ModelProto, TensorProto
from attnfuse.mindir.stored import StoredWeights
from attnfuse.mindir.tensorfile import CHUNK_BYTES


def variables(model: ModelProto, weights: StoredWeights, location: str, lossy: list[str]) -> Iterator[bytes]:
    """The bytes of the variables file that `lay_out` planned at `location`, in chunks of about `CHUNK_BYTES` at most.

    `weights` are the source's: a parameter of the graph is one of them, or made of one as its name says (see
    `edits`). The names of those with finite values that became infinite in the graph's type are added to `lossy`.
    Raises SourceError, naming the parameter, where one has no value, and where a checkpoint has another number of
    elements.
    """
    yield HEADER
    written = len(HEADER)
    for parameter in sorted(parameters(model), key=parameter_name):
        if parameter.external_data.location != location:
            continue
        if written != parameter.external_data.offset:
            name = parameter_name(parameter)
            raise InternalError(f"the variables file is at {written} instead of at parameter {name!r}.")
        for chunk in value_chunks(parameter, weights, lossy):
            yield chunk
            written += len(chunk)
        if written % ALIGNMENT:
            padding = bytes(-written % ALIGNMENT)
            yield padding
            written += len(padding)


def value_chunks(parameter: TensorProto, weights: StoredWeights, lossy: list[str]) -> Iterator[bytes]:
    """The bytes of one parameter of a result; the rest as of `variables`."""
    name, overflow = parameter_name(parameter), list[str]()
    made = edited_weight(name, weights.parameters)
    if made is None:
        chunks = weights.read(name, overflow)
        if chunks is None:
            raise SourceError(f"parameter {name!r} has no weight in the checkpoint.")
    else:
        chunks = _edited(made, weights, overflow)
    size = 0
    for chunk in chunks:
        size += len(chunk)
        yield chunk
    if size != byte_size(parameter):
        raise SourceError(f"parameter {name!r} takes {byte_size(parameter)} bytes, and {size} are held; copy it again.")
    if overflow:
        lossy.append(name)


def _edited(made: EditedWeight, weights: StoredWeights, overflow: list[str]) -> Iterator[bytes]:
    source, dtype = weights.parameters[made.source], dtypes.from_wire(weights.parameters[made.source].data_type)
    assert dtype is not None  # else nothing could be said of its edits

    def read(first: int, last: int) -> bytes:
        chunks = weights.read(made.source, overflow, first, last)
        if chunks is None:
            raise SourceError(f"parameter {made.source!r} has no weight in the checkpoint.")
        return b"".join(chunks)

    yield from edited_chunks(made.edits, tuple(source.dims), dtype, read, CHUNK_BYTES)
