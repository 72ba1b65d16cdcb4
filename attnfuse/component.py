"""One graph of a source and its weights, before anything was done to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attnfuse.mindir import codec
from attnfuse.mindir.low_rank import LowRank
from attnfuse.mindir.rows import Rows
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.stored import StoredWeights
from attnfuse.mindir.values import WeightValues
from attnfuse.tracing.contract import FixedValue, StoredWeight, TensorSpec, Traced


@dataclass(frozen=True, slots=True)
class Place:
    """Where a weight lies, of these dimensions and this MindIR element type."""

    location: str
    offset: int
    length: int
    dims: tuple[int, ...]
    data_type: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One graph and its weights.

    `data` is the source graph's bytes; `graph_name` the file name it goes by in an output folder. Weights are inline,
    or in existing files (`adopted`, by location), or to be streamed from a checkpoint into the one file `streamed_name`
    (`weights`, by parameter). `original` is the source's own file, where it has one. `inputs` are the files it was read
    from, by their name relative to the source. `warnings` are about the source, for the report. `added` is what LoRAs
    and textual inversions add to weights of a checkpoint, by parameter. One of another size than the pipeline's first
    is called after `base`, whose weights it takes from where they are written, `shared`, as far as it has the same. For
    any batch, `batches` are the source graphs at several, `data` being the first of them. `fixed` is what the graph has
    fixed that a pipeline may set at run time, as far as is known. `traced` says how it was traced, if it was.
    """

    name: str
    owner: str
    where: str
    data: bytes
    graph_name: str
    adopted: Mapping[str, Path] = field(default_factory=dict)
    streamed_name: str | None = None
    weights: Mapping[str, StoredWeight] = field(default_factory=dict)
    added: Mapping[str, Sequence[LowRank | Rows]] = field(default_factory=dict)
    outputs: tuple[TensorSpec, ...] | None = None
    dtype: str | None = None
    dtype_from: str = ""
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    original: Path | None = None
    inputs: Mapping[str, Path] = field(default_factory=dict)
    base: str = ""
    shared: Mapping[str, Place] = field(default_factory=dict)
    batches: Mapping[int, bytes] = field(default_factory=dict)
    fixed: tuple[FixedValue, ...] = ()
    traced: Traced | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """The files beside the graph, relative to it."""
        return (self.streamed_name,) if self.streamed_name is not None else tuple(self.adopted)

    @property
    def asked_as(self) -> str:
        """What a policy calls it: of any size, its name at the first."""
        return self.base or self.name

    def parse(self) -> ModelProto:
        """A fresh message of the source graph."""
        return codec.parse(self.data, self.where)

    def values(self, graph: ModelProto | None = None) -> WeightValues:
        """What its weights hold, for the few that a decision hangs on; nothing is read before it is asked for.

        `graph` is the message of its source graph, for whoever has it.
        """
        return WeightValues(graph or self.parse(), self.adopted, self.weights, self.added)

    def stored(self) -> StoredWeights:
        """Its weights, where they lie."""
        return StoredWeights(self.parse(), self.adopted, self.weights, self.added)
