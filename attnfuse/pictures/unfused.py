"""The graphs of a source as they were traced, with its own weights, as components that the runtime runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from attnfuse.errors import UsageError
from attnfuse.ir.graph import Model
from attnfuse.progress import Progress
from attnfuse.sources import Component
from attnfuse.verify.names import leaf_name
from attnfuse.written_weights import streamed_chunks
from attnfuse_runtime.manifest import Component as Compiled
from attnfuse_runtime.manifest import Tensor


def write_unfused(component: Component, compiled: Compiled, folder: Path, progress: Progress) -> Compiled:
    """Write the source's graph and weights into the folder; the component that they are, `compiled` being what was
    compiled of it.

    Raises UsageError where the two do not take and give the same.
    """
    location = component.streamed_name
    if location is None:
        raise UsageError(f"{component.where} is a traced graph; name the pipeline that was compiled.")
    graph = component.parse()
    taken, given = _inputs(Model(graph)), tuple(Tensor(o.name, o.shape, o.dtype) for o in component.outputs or ())
    for now, was in ((taken, compiled.inputs), (given, compiled.outputs)):
        if now != was:
            raise UsageError(
                f"{component.name} of the source has {_told(now)}, and what was compiled has {_told(was)}; give the "
                "options for shapes and types that it was compiled with, or compile again."
            )
    path = folder / component.graph_name
    path.write_bytes(component.data)
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    progress.stage(component.name, "weights")
    with (folder / location).open("wb") as file:
        file.writelines(streamed_chunks(component, graph, location, progress, []))
    return dataclasses.replace(compiled, graph=path, variables=(folder / location,), config=None)


def _inputs(model: Model) -> tuple[Tensor, ...]:
    types = ((value.name, model.type_of(value.name)) for value in model.proto.graph.input)
    return tuple(Tensor(leaf_name(name), one.dims, one.dtype.name) for name, one in types if one is not None)


def _told(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(map(str, tensors)) or "nothing"
