"""Where the weights of a result lie, and what is written there.

A result without edited weights has its source's as they are: inline, in the source's own files, which are adopted, or
streamed from a checkpoint. What passes made of a weight (see `attnfuse.mindir.edits`) goes where that one is: inline;
in the one file that is streamed, which is laid out anew; or, where files are adopted, in a file of its own beside them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from attnfuse.component import Component
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec, external
from attnfuse.mindir.edits import EditedWeight, edited_weight
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import GraphProto, ModelProto
from attnfuse.mindir.streaming import value_chunks, variables
from attnfuse.output import edited_weights
from attnfuse.progress import Progress
from attnfuse.shared_weights import place_shared


class Settled(NamedTuple):
    """Where weights came to lie.

    `edited` are the names of those that were edited, in alphabetical order, `edited_file` is the location of the file
    that they alone are written to, "" where there is none. `files` are all locations of a component that shares
    weights with another; of any other, none is told.
    """

    edited: tuple[str, ...] = ()
    edited_file: str = ""
    files: tuple[str, ...] = ()


def settle(model: Model, component: Component) -> Settled:
    """Give every edited weight its place, and every shared one, and drop those that nothing reads any more for their
    sake.

    Nothing is changed where no weight is edited or shared.
    """
    made = {
        name: found
        for name in map(parameter_name, model.parameters())
        if (found := edited_weight(name, model.sources)) is not None
    }
    names = tuple(sorted(made))
    if made:
        _drop_replaced(model, made)
    if component.shared:
        return Settled(names, files=place_shared(model.proto, component))
    if not made:
        return Settled()
    if component.streamed_name is not None:
        external.lay_out(model.proto, component.streamed_name)
        return Settled(names)
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
        return Settled(names)
    location = _free_location(component)
    external.lay_out(model.proto, location, beside)
    return Settled(names, location)


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
    the checkpoint has them. Of one that shares weights all are written: whether those are the same is to be seen.
    """
    assert component.streamed_name is not None
    graph = component.parse()
    written = () if component.base else external.parameters(codec.parse(codec.read_bytes(fused), str(fused)))
    places = {parameter_name(p): p for p in written}
    for parameter in external.parameters(graph):
        same = places.get(parameter_name(parameter))
        if same is not None:
            parameter.external_data.CopyFrom(same.external_data)
    location = f"{component.name}_variables/source_0"
    external.lay_out(graph, location, {parameter_name(p) for p in external.parameters(graph)} - places.keys())
    held, linked = folder / component.graph_name, folder / component.streamed_name
    linked.parent.mkdir(parents=True)
    if places:
        link_or_copy(fused.parent / component.streamed_name, linked)
    with (folder / location).open("wb") as file:
        file.writelines(variables(graph, component.stored(), location, []))
    held.write_bytes(codec.serialise(graph))
    return held
