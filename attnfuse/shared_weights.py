"""Weights that lie where another component's were written: one model at several sizes has one file of them.

The graph of the first size is written as ever. Of one at another size each weight that is the same, after what passes
made of it (see `attnfuse.mindir.edits`), is given the place it has there; what differs gets a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from attnfuse.component import Component, Place
from attnfuse.mindir import codec, external
from attnfuse.mindir.edits import edited_weight
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import ModelProto, TensorProto


@dataclass(frozen=True, slots=True)
class _Written:
    component: Component
    graph: Callable[[], bytes]


class SharedWeights:
    """What was laid out of the components whose weights others take."""

    def __init__(self, bases: Collection[str]) -> None:
        """`bases` are the components that others share weights with, by name."""
        self._bases = bases
        self._written: dict[str, _Written] = {}

    def keep(self, component: Component, graph: Callable[[], bytes]) -> None:
        """Take note of a component whose graph `graph` reads as it was written."""
        if component.name in self._bases:
            self._written[component.name] = _Written(component, graph)

    def with_places(self, component: Component) -> Component:
        """The component with the places of weights that it shares with the one it is called after, if any."""
        base = self._written.get(component.base)
        return component if base is None else replace(component, shared=_places(base, component))


def with_places_in(component: Component, written: Path) -> Component:
    """The component with the places that its written graph has for weights in files of another, if any.

    Whether those hold its weights is not looked at.
    """
    if not component.base:
        return component
    graph = codec.parse(codec.read_bytes(written), str(written))
    shared = {
        parameter_name(parameter): _place(parameter)
        for parameter in external.parameters(graph)
        if parameter.HasField("external_data") and parameter.external_data.location != component.streamed_name
    }
    return replace(component, shared=shared)


def _places(base: _Written, component: Component) -> Mapping[str, Place]:
    """Where the written graph of `base` has weights whose source is the same for `component`, by name."""
    same = _Same(base.component, component)
    places = {}
    for parameter in external.parameters(codec.parse(base.graph(), base.component.where)):
        name = parameter_name(parameter)
        made = edited_weight(name, same.declared[0])
        if parameter.HasField("external_data") and same(name if made is None else made.source):
            places[name] = _place(parameter)
    return dict(sorted(places.items()))


def _place(parameter: TensorProto) -> Place:
    at = parameter.external_data
    return Place(at.location, at.offset, at.length, tuple(parameter.dims), parameter.data_type)


class _Same:
    """Whether a weight of the source is the same for two components: where it lies, or by its digest."""

    def __init__(self, one: Component, other: Component) -> None:
        self._components = (one, other)
        graphs = [component.parse() for component in self._components]
        self.declared = [{parameter_name(p): p for p in external.parameters(graph)} for graph in graphs]
        self._values = [component.values(graph) for component, graph in zip(self._components, graphs, strict=True)]

    def __call__(self, name: str) -> bool:
        first, second = (declared.get(name) for declared in self.declared)
        if first is None or second is None or _type(first) != _type(second):
            return False
        lies = [(c.weights.get(name), tuple(c.added.get(name, ()))) for c in self._components]
        if lies[0] == lies[1] and lies[0][0] is not None:
            return True
        digests = [values.digest(name) for values in self._values]
        return digests[0] == digests[1] != ""


def _type(parameter: TensorProto) -> tuple[int, tuple[int, ...]]:
    return parameter.data_type, tuple(parameter.dims)


def place_shared(model: ModelProto, component: Component) -> tuple[str, ...]:
    """Give the weights of a graph that are shared their places, and the others theirs in the component's own file.

    Returns the files that the graph's weights lie in, those of the other component first.
    """
    shared = {
        parameter_name(parameter)
        for parameter in external.parameters(model)
        if (at := component.shared.get(parameter_name(parameter))) is not None
        and (at.data_type, at.dims) == _type(parameter)
    }
    own = {parameter_name(parameter) for parameter in external.parameters(model)} - shared
    assert component.streamed_name is not None  # what is traced at several sizes is streamed
    external.lay_out(model, component.streamed_name, own)
    locations = dict[str, None]()
    for parameter in external.parameters(model):
        if parameter_name(parameter) in shared:
            at = component.shared[parameter_name(parameter)]
            parameter.ClearField("raw_data")
            parameter.external_data.location = at.location
            parameter.external_data.offset = at.offset
            parameter.external_data.length = at.length
            locations[at.location] = None
    return (*sorted(locations), *([component.streamed_name] if own else []))
