"""A candidate: a rewrite of a component whose error is to be measured, here or by another process.

Of what it takes, graphs, inputs and float64 values go by digest; weights are read where they lie, by whoever measures,
or drawn by the same seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from attnfuse.cache.digests import KnownDigests
from attnfuse.component import Component
from attnfuse.dispatch import Contents, Dispatcher, packed, unpacked
from attnfuse.errors import SourceError
from attnfuse.incremental import read_for_weights
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir import codec, dtypes, external
from attnfuse.mindir.low_rank import LowRank
from attnfuse.mindir.rows import Rows
from attnfuse.mindir.schema import TensorProto
from attnfuse.serialisation import Number, parse_json, to_json
from attnfuse.tracing.contract import StoredWeight
from attnfuse.verify.limits import Limits, current, limited
from attnfuse.verify.numbers.comparison import Side
from attnfuse.verify.numbers.measuring import Inputs, Yardstick
from attnfuse.verify.numbers.weights import (
    WeightProvider,
    by_name,
    drawn_weights,
    edited_from,
    first_of,
    kept_in,
    stored_weights,
)


@dataclass(frozen=True, slots=True)
class Weights:
    """Values of a component's weights, for its own graph and for rewrites of it. `drawn` are those that have none."""

    original: WeightProvider
    rewritten: WeightProvider
    count: int
    drawn: int

    @classmethod
    def of(cls, component: Component, seed: int, work: Path) -> Weights:
        """Those of the source, and drawn ones where it has none; `work` is a folder for large ones."""
        proto = component.parse()
        folder = work / component.name  # another component may have other weights of these names
        folder.mkdir()
        here = {external.parameter_name(p): p for p in external.parameters(proto)}
        drawn = 0
        if component.original is not None:
            own = by_name(stored_weights(proto, component.original), here)
            drawn = sum(not external.has_data(parameter) for parameter in here.values())
        else:
            own = kept_in(_streamed(component), folder)
        original = first_of(own, kept_in(drawn_weights(seed), folder))
        return cls(original, first_of(edited_from(original, here), original), len(here), drawn)


def _streamed(component: Component) -> WeightProvider:
    """Values of a checkpoint, in the types that the graph declares."""
    stored = component.stored()

    def read(parameter: TensorProto) -> Array | None:
        chunks = stored.read(external.parameter_name(parameter), [])
        dtype = dtypes.from_wire(parameter.data_type)
        if chunks is None or dtype is None:
            return None
        return np.frombuffer(b"".join(chunks), dtype.numpy).reshape(tuple(parameter.dims))

    return read


@dataclass(frozen=True, slots=True)
class Source:
    """What candidates of one component have in common: see `Component` for where its weights are.

    `data` is its graph, `inputs` are so many `sets` of them, and `exact` the float64 values on these: digests of
    contents. `files` are the digests of the files that hold weights.
    """

    name: str
    where: str
    data: str
    inputs: str
    sets: int
    exact: str
    seed: int
    original: Path | None
    adopted: Mapping[str, Path]
    weights: Mapping[str, StoredWeight]
    added: Mapping[str, tuple[LowRank | Rows, ...]]
    files: Mapping[str, str]
    limits: Limits


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rewritten graph of a source: digests of contents."""

    source: str
    graph: str


@dataclass(frozen=True, slots=True)
class Measured:
    """The error of a candidate."""

    error: Number


def handed_over(
    component: Component, yardstick: Yardstick, seed: int, digests: KnownDigests, dispatcher: Dispatcher
) -> str | None:
    """The `Source` of a component, put where whoever measures finds it; None where that cannot be.

    That is where the float64 values are too many to be kept, or a file of weights cannot be read.
    """
    exact, sets = yardstick.kept(), yardstick.inputs.sets
    if exact is None:
        return None
    inputs = {f"{number} {name}": value for number, values in enumerate(sets) for name, value in values.items()}
    try:
        files = {str(file.absolute()): digests.of(file).sha256 for file in read_for_weights(component)}
    except OSError:
        return None
    source = Source(
        name=component.name,
        where=component.where,
        data=dispatcher.put(component.data),
        inputs=dispatcher.put(packed(inputs)),
        sets=len(sets),
        exact=dispatcher.put(exact),
        seed=seed,
        original=None if component.original is None else component.original.absolute(),
        adopted={location: file.absolute() for location, file in component.adopted.items()},
        weights={name: replace(one, file=one.file.absolute()) for name, one in component.weights.items()},
        added={
            name: tuple(replace(one, file=one.file.absolute()) for one in ones)
            for name, ones in component.added.items()
        },
        files=files,
        limits=current(),
    )
    return dispatcher.put(json.dumps(to_json(source), sort_keys=True).encode())


@dataclass(frozen=True, slots=True)
class Opened:
    """A source as whoever measures has it."""

    source: Source
    yardstick: Yardstick
    weights: Weights

    def error(self, graph: bytes, memory: int | None) -> float:
        """The error of a rewritten graph, run in that many bytes. Raises as `Yardstick.error` does."""
        rewritten = Side(Model(codec.parse(graph, self.source.where)), self.weights.rewritten)
        with limited(self.source.limits.under(memory)):
            return self.yardstick.error(rewritten)


def opened(content: bytes, contents: Contents, digests: KnownDigests, work: Path) -> Opened:
    """What `handed_over` told; `work` is an empty folder for as long as it is used.

    Raises SourceError where a file of weights cannot be read, or holds something else here.
    """
    source = parse_json(Source, content)
    for name, wanted in source.files.items():
        try:
            found = digests.of(Path(name)).sha256
        except OSError as error:
            raise SourceError(f"{name} cannot be read: {error.strerror or error}.") from None
        if found != wanted:
            raise SourceError(f"{name} holds other weights here.")
    component = Component(
        name=source.name,
        owner=source.name,
        where=source.where,
        data=contents(source.data),
        graph_name="",
        original=source.original,
        adopted=source.adopted,
        weights=source.weights,
        added=source.added,
    )
    sets: list[dict[str, Array]] = [{} for _ in range(source.sets)]
    for called, value in unpacked(contents(source.inputs)).items():
        number, _, name = called.partition(" ")
        sets[int(number)][name] = value
    weights = Weights.of(component, source.seed, work)
    yardstick = Yardstick(Side(Model(component.parse()), weights.original), Inputs(sets, ()))
    if not yardstick.recall(contents(source.exact)):
        raise ValueError("the float64 values are not those of this graph on these inputs")
    return Opened(source, yardstick, weights)
