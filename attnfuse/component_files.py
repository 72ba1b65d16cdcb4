"""Hands the graph and the weights of a component to the sink of a compile, or says what they would take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from attnfuse import pass_manager
from attnfuse.component import Component
from attnfuse.incremental import Incremental, KnownGraph, KnownWeights
from attnfuse.mindir import codec, external
from attnfuse.output import FileDigest, OutputStage, Sink
from attnfuse.policy import Policy
from attnfuse.progress import Progress
from attnfuse.rewriting import Between, Rewritten, rewrite
from attnfuse.room import check_room
from attnfuse.targets import Target
from attnfuse.written_weights import streamed_chunks


@dataclass(frozen=True, slots=True)
class ComponentWriter:
    """Writes components into a sink, rewritten by these passes; what `known` tells of and stands there is taken
    over."""

    policy: Policy
    target: Target
    passes: Sequence[pass_manager.Pass]
    between: Between | None
    known: Incremental
    sink: Sink
    progress: Progress

    def graph(self, component: Component, name: str) -> tuple[Rewritten, Callable[[], bytes]]:
        """Hand the component's graph to the sink as `name`: rewritten, or as it stands in the output. What reads it
        anew comes with it. Raises as `rewrite` does."""
        known = self.known
        standing = known.graph(component, name) if self.between is None else None
        if standing is not None:
            self.progress.stage(component.name, "unchanged")
            self.sink.adopt(name, known.standing(name), standing.file)
            return standing.rewritten, known.standing(name).read_bytes
        self.progress.stage(component.name, "rewrite")
        rewritten, data = rewrite(component, self.policy, self.target, self.passes, self.between)
        known.keep_graph(component, KnownGraph(rewritten, self.sink.write(name, [data])))
        return rewritten, lambda: data

    def weights(
        self,
        component: Component,
        rewritten: Rewritten,
        data_of: Callable[[], bytes],
        inputs: Mapping[str, FileDigest],
    ) -> tuple[str, ...]:
        """Hand the component's weights to the sink, those of the graph that `data_of` reads; the parameters that lost
        values to their type. `inputs` are the digests of the source's files."""
        for location, path in component.adopted.items():
            self.sink.adopt(location, path, inputs[location])
        location = _written_file(component, rewritten)
        if not location:
            return ()
        standing = self.known.weights(component, rewritten, location)
        if standing is not None:
            self.sink.adopt(location, self.known.standing(location), standing.file)
            return standing.lossy
        self.progress.stage(component.name, "weights")
        lossy: list[str] = []
        edited = rewritten.edited or component.shared
        graph = codec.parse(data_of(), component.where) if edited else component.parse()
        if isinstance(self.sink, OutputStage):
            check_room(self.sink.place.path, external.end_of(graph, location))
        written = self.sink.write(location, streamed_chunks(component, graph, location, self.progress, lossy))
        self.known.keep_weights(component, rewritten, location, KnownWeights(written, tuple(lossy)))
        return tuple(lossy)


def bytes_of(component: Component, rewritten: Rewritten, data: bytes) -> int:
    """Bytes of a graph and of the weights that are written for it; those of the source's files are linked."""
    location = _written_file(component, rewritten)
    return len(data) + (external.end_of(codec.parse(data, component.where), location) if location else 0)


def _written_file(component: Component, rewritten: Rewritten) -> str:
    """The file that weights are written into, if they are not all where others have them."""
    streamed = component.streamed_name
    if rewritten.files:
        return streamed if streamed in rewritten.files else ""
    return streamed or rewritten.edited_file
