"""One component through the passes: what became of each site and operator, and the graph's new bytes.

May import all below the compiler.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attnfuse import pipeline
from attnfuse.errors import InternalError, SourceError
from attnfuse.graph import Model, short_name
from attnfuse.match import SiteRecord
from attnfuse.mindir import codec, dtypes
from attnfuse.mindir.schema import AttributeProto, GraphProto, TensorProto
from attnfuse.policy import Policy
from attnfuse.report.build import check_census, count_sites, legalised_entries, outside_entries, site_ids
from attnfuse.report.model import LegalisedEntry, OutsideEntry, TensorEntry
from attnfuse.sources import Component
from attnfuse.targets import Target
from attnfuse.verify.structure import check_interface, check_structure, new_findings


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became of one graph: of each site, by site id, and of operators. `nodes` counts those of the source.

    `inputs` and `outputs` are the graph's, as it names them.
    """

    nodes: int
    sites: dict[str, SiteRecord]
    legalised: tuple[LegalisedEntry, ...]
    outside: tuple[OutsideEntry, ...]
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]


def rewrite(
    component: Component, policy: Policy, target: Target, passes: Sequence[pipeline.Pass]
) -> tuple[Rewritten, bytes]:
    """Run the passes; the census must add up, and the result's structure must hold.

    Raises SourceError for a graph that contradicts itself, InternalError where a pass does something wrong.
    """
    name = component.name
    original, model = _index(component), _index(component)
    context = pipeline.Context(name, component.owner, policy, target)
    changed = pipeline.run(model, context, passes)
    check_census(name, count_sites(original), context.sites)
    data = component.data
    if changed:
        findings, _ = new_findings(original, model)
        findings += check_interface(original, model)
        if findings:
            if amiss := check_structure(original) + check_interface(original, original):
                raise SourceError(f"{component.where} contradicts itself: {amiss[0]} Export it again.")
            raise InternalError(f"component {name}: the rewritten graph is wrong: {findings[0]}")
        data = codec.serialise(model.proto)
    inputs, outputs = _interface(original.proto.graph)
    rewritten = Rewritten(
        nodes=len(original.nodes),
        sites=dict(zip(site_ids(name, context.sites), context.sites, strict=True)),
        legalised=legalised_entries(context.legalised),
        outside=outside_entries(model, target, context.illegal),
        inputs=inputs,
        outputs=outputs,
    )
    return rewritten, data


def _index(component: Component) -> Model:
    try:
        return Model(component.parse())
    except SourceError as error:
        raise SourceError(f"{component.where}: {error}") from None


def _interface(graph: GraphProto) -> tuple[tuple[TensorEntry, ...], tuple[TensorEntry, ...]]:
    """The graph's inputs and outputs; an element of an output that is a tuple is called `name[0]`."""
    inputs = [_tensor(value.name.partition(":")[2] or value.name, t) for value in graph.input for t in value.tensor]
    outputs: list[TensorEntry] = []
    for value in graph.output:
        name = short_name(value.name)
        outputs += [_tensor(name, tensor) for tensor in value.tensor]
        outputs += _elements(name, value.attr_info)
    return tuple(inputs), tuple(outputs)


def _elements(name: str, tuple_: AttributeProto) -> Iterator[TensorEntry]:
    yield from (_tensor(name, tensor) for tensor in tuple_.tensors)
    for index, element in enumerate(tuple_.values):
        yield from _elements(f"{name}[{index}]", element)


def _tensor(name: str, proto: TensorProto) -> TensorEntry:
    dtype = dtypes.from_wire(proto.data_type)
    return TensorEntry(name=name, shape=tuple(proto.dims), dtype="unknown" if dtype is None else dtype.name)
