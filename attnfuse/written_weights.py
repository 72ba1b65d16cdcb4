"""Where the weights of a result lie, and what is written there.

A result without edited weights has its source's as they are: inline, in the source's own files, which are adopted, or
streamed from a checkpoint. What passes made of a weight (see `attnfuse.mindir.edits`) goes where that one is: inline;
in the one file that is streamed, which is laid out anew; or, where files are adopted, in a file of its own beside them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec, external
from attnfuse.mindir.edits import EditedWeight, edited_weight
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import GraphProto, ModelProto
from attnfuse.mindir.streaming import value_chunks, variables
from attnfuse.output import edited_weights
from attnfuse.progress import Progress
from attnfuse.sources import Component


def settle(model: Model, component: Component) -> tuple[tuple[str, ...], str]:
    """Give every edited weight its place, and drop those that nothing reads any more for their sake.

    Returns the names of the edited ones, in alphabetical order, and the location of the file that they alone are
    written to, "" where there is none. Nothing is changed where no weight is edited.
    """
    made = {
        name: found
        for name in map(parameter_name, model.parameters())
        if (found := edited_weight(name, model.sources)) is not None
    }
    if not made:
        return (), ""
    names = tuple(sorted(made))
    _drop_replaced(model, made)
    if component.streamed_name is not None:
        external.lay_out(model.proto, component.streamed_name)
        return names, ""
    weights = component.stored()
    beside = set[str]()
    for parameter in model.parameters():
        name = parameter_name(parameter)
        source = weights.parameters[made[name].source] if name in made else None
        if source is not None and source.HasField("external_data"):
            beside.add(name)
        elif source is not None and source.raw_data:
            parameter.raw_data = b"".join(value_chunks(parameter, weights, []))
    if not beside:
        return names, ""
    location = _free_location(component)
    external.lay_out(model.proto, location, beside)
    return names, location


def _drop_replaced(model: Model, made: dict[str, EditedWeight]) -> None:
    """Drop the weights that nothing reads, of which one is made that something does."""
    replaced = {found.source for found in made.values()}
    graph = model.proto.graph
    kept = GraphProto()
    kept.parameter.extend(p for p in graph.parameter if parameter_name(p) not in replaced or model.uses(p.name))
    del graph.parameter[:]
    graph.parameter.extend(kept.parameter)
    model.index()


def _free_location(component: Component) -> str:
    """A file beside the adopted ones, of which one may be called so: a result is compiled again."""
    names = (edited_weights(component.graph_name, number) for number in range(len(component.adopted) + 1))
    return next(name for name in names if name not in component.adopted)


def streamed_chunks(
    component: Component, graph: ModelProto, location: str, progress: Progress, lossy: list[str]
) -> Iterator[bytes]:
    """The bytes of the file at `location`, for the result's graph; see `streaming.variables` for `lossy`."""
    done, total = 0, external.end_of(graph, location)
    for chunk in variables(graph, component.stored(), location, lossy):
        yield chunk
        done += len(chunk)
        progress.amount(done, total)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file another name, or copy it where links cannot reach."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def hold_original(component: Component, fused: Path, folder: Path) -> Path:
    """A file of the source's graph, in the new folder `folder`, whose weights have the source's values.

    Of a traced component the result's variables hold those that were not edited; the others are written beside it, as
    the checkpoint has them.
    """
    assert component.streamed_name is not None
    graph = component.parse()
    places = {parameter_name(p): p for p in external.parameters(codec.parse(codec.read_bytes(fused), str(fused)))}
    for parameter in external.parameters(graph):
        written = places.get(parameter_name(parameter))
        if written is not None:
            parameter.external_data.CopyFrom(written.external_data)
    location = f"{component.name}_variables/source_0"
    external.lay_out(graph, location, {parameter_name(p) for p in external.parameters(graph)} - places.keys())
    held, linked = folder / component.graph_name, folder / component.streamed_name
    linked.parent.mkdir(parents=True)
    link_or_copy(fused.parent / component.streamed_name, linked)
    with (folder / location).open("wb") as file:
        file.writelines(variables(graph, component.stored(), location, []))
    held.write_bytes(codec.serialise(graph))
    return held
