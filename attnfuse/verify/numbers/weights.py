"""Where the values of weights come from: the file itself, memory-mapped, or made up where a graph has none."""

from __future__ import annotations

import hashlib
import math
import shutil
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np

from attnfuse.errors import VerificationError
from attnfuse.ir.types import Array
from attnfuse.mindir import codec, dtypes, external
from attnfuse.mindir.edits import edited_weight
from attnfuse.mindir.schema import ModelProto, TensorProto
from attnfuse.verify.graph.edited import edited


class WeightProvider(Protocol):
    """Gives a parameter's value, of the shape and type its message declares; None where it has none."""

    def __call__(self, parameter: TensorProto) -> Array | None: ...


def stored_weights(model: ModelProto, where: Path) -> WeightProvider:
    """Values as the file holds them: inline, or mapped from the files beside it (nothing is read before it is used).

    Raises SourceError for a place outside the graph's folder, a missing or too short file.
    """
    files = external.check_weights(model, where, required=False)
    maps: dict[str, Array] = {}

    def read(parameter: TensorProto) -> Array | None:
        dtype = dtypes.from_wire(parameter.data_type)
        if dtype is None:
            raise VerificationError(f"parameter {external.parameter_name(parameter)} is of a type that cannot be run.")
        if parameter.HasField("external_data"):
            at = parameter.external_data
            if at.location not in maps:
                maps[at.location] = np.memmap(files[at.location], np.uint8, "r")
            data: Array = maps[at.location][at.offset : at.offset + at.length]
        elif parameter.raw_data:
            data = np.frombuffer(parameter.raw_data, np.uint8)
        else:
            return None
        return data.view(dtype.numpy).reshape(tuple(parameter.dims))

    return read


def drawn_weights(seed: int) -> WeightProvider:
    """Made-up values of the size a trained network's have, the same for the same name and seed.

    Vectors named as gains are near 1, other vectors small; matrices and kernels are scaled by 1/√(inputs), so that
    activations neither grow nor vanish from layer to layer. Whole numbers and truth values are zeros.
    """

    def draw(parameter: TensorProto) -> Array:
        dtype = dtypes.from_wire(parameter.data_type)
        if dtype is None:
            raise VerificationError(f"parameter {external.parameter_name(parameter)} is of a type that cannot be run.")
        dims = tuple(parameter.dims)
        if not dtype.is_float:
            return np.zeros(dims, dtype.numpy)
        name = external.parameter_name(parameter)
        generator = np.random.Generator(np.random.Philox(zlib.crc32(f"{seed}:{name}".encode())))
        values = generator.standard_normal(dims, np.float32)
        if len(dims) < 2:
            gain = name.endswith(("weight", "gamma"))
            values = values * np.float32(0.1) + np.float32(gain)
        elif "embedding" not in name:
            values *= np.float32(np.prod(dims[1:], dtype=np.float64) ** -0.5)
        return values.astype(dtype.numpy)

    return draw


def kept_in(provider: WeightProvider, folder: Path) -> WeightProvider:
    """The same values; large ones are written into the folder when they are first asked for, and mapped from there.

    A verification asks for each weight once a run, and drawing one takes longer than most of what is done with it. With
    too little space for all of a model they are made again each time.
    """

    def read(parameter: TensorProto) -> Array | None:
        dtype = dtypes.from_wire(parameter.data_type)
        dims = tuple(parameter.dims)
        if dtype is None or math.prod(dims) < _LARGE:
            return provider(parameter)
        key = f"{external.parameter_name(parameter)} {dtype.name} {dims}"
        where = folder / hashlib.sha256(key.encode()).hexdigest()
        if not where.exists():
            value = provider(parameter)
            if value is None or shutil.disk_usage(folder).free < value.nbytes + _LEFT:
                return value
            with where.with_suffix(".part").open("wb") as file:
                file.write(np.ascontiguousarray(value).view(np.uint8).data)
            where.with_suffix(".part").rename(where)
        data: Array = np.memmap(where, np.uint8, "r")
        return data.view(dtype.numpy).reshape(dims)

    return read


_LARGE = 2**16
"""Elements, below which a weight is drawn as fast as it is read."""
_LEFT = 2**32
"""Bytes that are left to others of a disk."""


def first_of(*providers: WeightProvider) -> WeightProvider:
    """The first provider's value that there is."""

    def read(parameter: TensorProto) -> Array | None:
        return next((value for p in providers if (value := p(parameter)) is not None), None)

    return read


def by_name(provider: WeightProvider, parameters: dict[str, TensorProto]) -> WeightProvider:
    """Values of another file's parameters of the same name (without the graph's)."""

    def read(parameter: TensorProto) -> Array | None:
        other = parameters.get(external.parameter_name(parameter))
        return None if other is None else provider(other)

    return read


def edited_from(provider: WeightProvider, sources: dict[str, TensorProto]) -> WeightProvider:
    """Values of weights that are made of another graph's, `sources`, whose values the provider gives."""

    def read(parameter: TensorProto) -> Array | None:
        made = edited_weight(external.parameter_name(parameter), sources)
        value = None if made is None else provider(sources[made.source])
        return None if made is None or value is None else edited(value, made.edits)

    return read


def both_sides(
    original: ModelProto,
    where: Path,
    fused: ModelProto,
    there: Path,
    seed: int,
    held: Path | None = None,
    work: Path | None = None,
) -> tuple[tuple[WeightProvider, WeightProvider], list[str]]:
    """Weights of the original and of the fused graph, and a remark where they had to be made up.

    Each graph has its own file's; `held` is a graph file of the original's weights that tells where their values lie,
    if its own does not. One without takes the other's, and where neither has any they are drawn: an edited one is then
    made of what it says it is made of. `work` is an existing folder in which drawn values may be kept.
    Raises VerificationError where the original lacks a weight of which the fused graph has the edited values alone.
    """
    here = {external.parameter_name(p): p for p in external.parameters(original)}
    beyond = {external.parameter_name(p): p for p in external.parameters(fused)}
    if held is None:
        own, holders = stored_weights(original, where), here
    else:
        model = codec.parse(codec.read_bytes(held), str(held))
        holders = {external.parameter_name(p): p for p in external.parameters(model)}
        own = by_name(stored_weights(model, held), holders)
    others = stored_weights(fused, there)
    made = {name: found.source for name in beyond if (found := edited_weight(name, here)) is not None}
    lacking = {name for name, parameter in holders.items() if not external.has_data(parameter)}
    for name, source in made.items():
        if source in lacking and source not in beyond and external.has_data(beyond[name]):
            raise VerificationError(
                f"parameter {source!r} of {where} has no value, and {there} holds it edited; give the original with its"
                " weights, or use --verify static."
            )
    drawn = drawn_weights(seed) if work is None else kept_in(drawn_weights(seed), work)
    before = first_of(own, by_name(others, beyond), drawn)
    sides = before, first_of(others, by_name(own, here), edited_from(before, here), drawn)
    made_up = [name for name in here if name in lacking and not (name in beyond and external.has_data(beyond[name]))]
    message = f"{len(made_up)} of {len(here)} weights have no values in either file and were drawn"
    return sides, [message] if made_up else []
