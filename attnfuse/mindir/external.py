"""Weights kept beside the graph: checked where they are read, and laid out where they are written.

Facts (MindSpore 2.7.1, `mindspore/train/serialization.py`, seen by exporting): `X_graph.mindir` goes with
`X_variables/data_0`; the file opens with 64 bytes of which the first is 0x01 (the byte order) and the rest 0, each
value begins at a multiple of 64, in the order of the parameters' names; there is no checksum. `location` holds the
path relative to the graph, folder included. MindSpore's loader takes offsets and lengths on trust: nobody checks
them but this module.
"""

from __future__ import annotations

import stat
from collections.abc import Container, Iterator
from pathlib import Path

from attnfuse.errors import SourceError
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import ModelProto, TensorProto
from attnfuse.names import leads_out

HEADER = b"\x01" + bytes(63)
ALIGNMENT = 64


def parameters(model: ModelProto) -> Iterator[TensorProto]:
    """Every weight of the file, in file order."""
    for graph in (model.graph, *model.functions):
        yield from graph.parameter


def parameter_name(parameter: TensorProto) -> str:
    """The weight's own name, without the graph's."""
    return parameter.name.partition(":")[2] or parameter.name


def byte_size(parameter: TensorProto) -> int | None:
    """Bytes the weight's value takes; None for an unknown element type or shape."""
    dtype = dtypes.from_wire(parameter.data_type)
    if dtype is None or any(d < 0 for d in parameter.dims):
        return None
    size = dtype.itemsize
    for dim in parameter.dims:
        size *= dim
    return size


def has_data(parameter: TensorProto) -> bool:
    """Whether the weight has a value, inline or beside the graph. A weight of no elements needs none."""
    if parameter.HasField("external_data") or parameter.raw_data or byte_size(parameter) == 0:
        return True
    p = parameter
    return any(len(d) for d in (p.float_data, p.int32_data, p.int64_data, p.double_data, p.uint64_data, p.string_data))


def check_weights(model: ModelProto, where: Path, *, required: bool) -> dict[str, Path]:
    """Hold every weight's value against its type, and give the files beside the graph, by location.

    `where` is the graph file; locations are relative to its folder and may not leave it. Raises SourceError, naming
    parameter and file, for a location that is absolute, has `..` or leaves the folder through a link, for a file
    that is missing, no regular file or too short, for a length that is not the type's, and, where weights are
    `required`, for a parameter that has none.
    """
    folder = where.parent.resolve()
    files: dict[str, Path] = {}
    sizes: dict[str, int] = {}
    for parameter in parameters(model):
        name = parameter_name(parameter)
        wanted = byte_size(parameter)
        if not has_data(parameter):
            if required:
                raise SourceError(
                    f"parameter {name!r} of {where} has no data; export the model with its weights "
                    "(`attnfuse inspect` reads graphs without)."
                )
        elif parameter.HasField("external_data"):
            external = parameter.external_data
            location = external.location
            if location not in files:
                files[location] = _confined(folder, location, name, where)
                sizes[location] = files[location].stat().st_size
            if external.offset < 0 or external.length < 0:
                raise SourceError(
                    f"parameter {name!r} of {where} lies at offset {external.offset} with length {external.length} "
                    f"in {location}; neither can be negative: the graph is damaged."
                )
            if external.offset + external.length > sizes[location]:
                raise SourceError(
                    f"{files[location]} is too short: parameter {name!r} ends at byte "
                    f"{external.offset + external.length}, the file at {sizes[location]}; copy it again."
                )
            if wanted is not None and external.length != wanted:
                raise SourceError(
                    f"parameter {name!r} of {where} takes {wanted} bytes, but {location} is said to hold "
                    f"{external.length} of it; the graph is damaged."
                )
        elif parameter.raw_data and wanted is not None and len(parameter.raw_data) != wanted:
            raise SourceError(
                f"parameter {name!r} of {where} takes {wanted} bytes, but {len(parameter.raw_data)} are given; "
                "the graph is damaged."
            )
    return files


def _confined(folder: Path, location: str, name: str, where: Path) -> Path:
    """The file at `location` below `folder`, or a SourceError."""
    message = f"parameter {name!r} of {where} lies in {location!r}"
    if leads_out(location):
        raise SourceError(f"{message}, which is not a path below the graph's folder; export the model again.")
    path = folder / location
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except FileNotFoundError:
        raise SourceError(f"{message}, which does not exist; copy the variables folder beside the graph.") from None
    except (OSError, RuntimeError) as error:
        raise SourceError(f"{message}, which cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if not real.is_relative_to(folder):
        raise SourceError(f"{message}, a link that leaves the graph's folder; copy the file there.")
    if not stat.S_ISREG(mode):
        raise SourceError(f"{message}, which is not a regular file.")
    return path


def lay_out(model: ModelProto, location: str, names: Container[str] | None = None) -> int:
    """Give every weight, or those of these `names`, its place in one variables file at `location`; returns the file's
    size in bytes.

    Inline values are dropped. Raises SourceError for a parameter of an unknown type or shape.
    """
    offset = len(HEADER)
    for parameter in sorted(parameters(model), key=parameter_name):
        if names is not None and parameter_name(parameter) not in names:
            continue
        size = byte_size(parameter)
        if size is None:
            raise SourceError(f"parameter {parameter_name(parameter)!r} is of a type or shape that is not supported.")
        parameter.ClearField("raw_data")
        parameter.external_data.location = location
        parameter.external_data.offset = offset
        parameter.external_data.length = size
        offset += size + -size % ALIGNMENT
    return offset


def end_of(model: ModelProto, location: str) -> int:
    """The size in bytes of the variables file at `location`, as `lay_out` planned it."""
    places = [p.external_data for p in parameters(model) if p.external_data.location == location]
    return max((at.offset + at.length + -(at.offset + at.length) % ALIGNMENT for at in places), default=len(HEADER))
