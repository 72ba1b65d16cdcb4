"""The graphs of a source as they were traced, with its own weights, as components that the runtime runs."""

from __future__ import annotations

from pathlib import Path

from attnfuse.component import Component
from attnfuse.errors import UsageError
from attnfuse.ir.graph import Model
from attnfuse.lora import inversion
from attnfuse.lora.fitting import FIXED_NAME, baked_in
from attnfuse.lora.given import ADAPTER_NAME
from attnfuse.output import MANIFEST
from attnfuse.progress import Progress
from attnfuse.source_files import check_same_vae
from attnfuse.tracing.contract import FixedValue
from attnfuse.verify.names import leaf_name
from attnfuse.written_weights import streamed_chunks
from attnfuse_runtime.manifest import Component as Unfused
from attnfuse_runtime.manifest import Tensor


def write_unfused(component: Component, folder: Path, progress: Progress) -> Unfused:
    """Write the source's graph and weights into the folder; the component that they are.

    Raises UsageError where the source is a graph that was traced elsewhere.
    """
    location = component.streamed_name
    if location is None:
        raise UsageError(f"{component.where} is a traced graph; name the pipeline that was compiled.")
    graph, path = component.parse(), folder / component.graph_name
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(component.data)
    progress.stage(component.name, "weights")
    with (folder / location).open("wb") as file:
        file.writelines(streamed_chunks(component, graph, location, progress, []))
    model = Model(graph)
    types = ((value.name, model.type_of(value.name)) for value in graph.graph.input)
    return Unfused(
        name=component.name,
        owner=component.owner,
        graph=path,
        variables=(folder / location,),
        inputs=tuple(Tensor(leaf_name(name), one.dims, one.dtype.name) for name, one in types if one is not None),
        outputs=tuple(Tensor(one.name, one.shape, one.dtype) for one in component.outputs or ()),
        fixed={one.name: one.value for one in component.fixed},
    )


def check_same(unfused: Unfused, compiled: Unfused) -> None:
    """Raise UsageError where the two do not take and give the same."""
    for now, was in ((unfused.inputs, compiled.inputs), (unfused.outputs, compiled.outputs)):
        if now != was:
            raise UsageError(
                f"{unfused.name} of the source has {_told(now)}, and what was compiled has {_told(was)}; give the "
                "options for shapes and types that it was compiled with, or compile again."
            )


def check_weights(unfused: Unfused, compiled: Unfused) -> None:
    """Raise UsageError where the two have other LoRAs, textual inversions or IP-Adapters, or one another VAE than the
    pipeline's."""
    check_same_vae(compiled.name, unfused.fixed, compiled.fixed)
    now, was = (
        [FixedValue(name, one.fixed.get(name), "") for name in (FIXED_NAME, inversion.FIXED_NAME, ADAPTER_NAME)]
        for one in (unfused, compiled)
    )
    if baked_in(now) != baked_in(was):
        raise UsageError(
            f"{unfused.name} was compiled with other LoRAs, textual inversions or IP-Adapters than --lora,"
            f" --textual-inversion and --ip-adapter give (see fixed in {MANIFEST}); give the same."
        )


def _told(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(map(str, tensors)) or "nothing"
