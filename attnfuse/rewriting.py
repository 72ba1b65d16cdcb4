"""One component through the passes: what became of each site and operator, and the graph's new bytes.

May import all below the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from attnfuse import pipeline
from attnfuse.dynamic import Dynamic, Family, family_of, generalise, merge_records
from attnfuse.errors import InternalError, SourceError, TraceError
from attnfuse.graph import Model, short_name
from attnfuse.match import SiteRecord
from attnfuse.mindir import codec, dtypes
from attnfuse.mindir.schema import AttributeProto, GraphProto, TensorProto
from attnfuse.mindir.values import WeightValues
from attnfuse.policy import Policy
from attnfuse.report.build import check_census, count_sites, legalised_entries, outside_entries, site_ids
from attnfuse.report.model import LegalisedEntry, OutsideEntry, TensorEntry
from attnfuse.sources import Component
from attnfuse.targets import Target
from attnfuse.verify.structure import check_interface, check_structure, new_findings


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became of one graph: of each site, by site id, and of operators. `nodes` counts those of the source.

    `inputs` and `outputs` are the graph's, as it names them. `weights` are those whose values were asked for, with
    their digests (see `WeightValues.asked`): with other values something else might have become of the graph.
    """

    nodes: int
    sites: dict[str, SiteRecord]
    legalised: tuple[LegalisedEntry, ...]
    outside: tuple[OutsideEntry, ...]
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    weights: tuple[tuple[str, str], ...] = ()


After: TypeAlias = Callable[[str, pipeline.Pass, Model], None]
"""Called after each pass, with the component's name (of any batch: `unet at batch 2`), the pass and the graph."""


def rewrite(
    component: Component,
    policy: Policy,
    target: Target,
    passes: Sequence[pipeline.Pass],
    after: After | None = None,
) -> tuple[Rewritten, bytes]:
    """Run the passes; the census must add up, and the result's structure must hold.

    Raises SourceError for a graph that contradicts itself, InternalError where a pass does something wrong, TraceError
    for one that cannot be written for any batch.
    """
    if not component.batches:
        return _rewrite(
            component, component.data, policy, target, passes, component.values(), _named(after, component.name)
        )
    rewritten, made, _ = _rewrite_for_any(component, policy, target, passes, after)
    return rewritten, codec.serialise(made.model)


def at_batches(
    component: Component, policy: Policy, target: Target, passes: Sequence[pipeline.Pass]
) -> Callable[[int], tuple[bytes, bytes]]:
    """The source's graph and the written one at a batch, of a component for any.

    The written one is what `rewrite` gives but for its declared types, which are those of the batch.
    """
    _, made, family = _rewrite_for_any(component, policy, target, passes)
    return lambda batch: (codec.serialise(family.at(batch)), codec.serialise(made.bind(batch)))


def original_at(component: Component, batch: int) -> bytes:
    """The source's graph at one batch, of a component for any, as `at_batches` has it."""
    sources = {at: codec.parse(data, component.where) for at, data in component.batches.items()}
    return codec.serialise(family_of(component.name, sources).at(batch))


def _named(after: After | None, name: str) -> Callable[[pipeline.Pass, Model], None] | None:
    return None if after is None else partial(after, name)


def _rewrite_for_any(
    component: Component,
    policy: Policy,
    target: Target,
    passes: Sequence[pipeline.Pass],
    after: After | None = None,
) -> tuple[Rewritten, Dynamic, Family]:
    """The graphs at several batches, rewritten and put together, and the family of those of the source."""
    name = component.name
    sources = family_of(name, {batch: codec.parse(data, component.where) for batch, data in component.batches.items()})
    values = component.values()
    results = {
        batch: _rewrite(component, data, policy, target, passes, values, _named(after, f"{name} at batch {batch}"))
        for batch, data in component.batches.items()
    }
    first = next(iter(results.values()))[0]
    if any((told.legalised, told.outside) != (first.legalised, first.outside) for told, _ in results.values()):
        raise TraceError(
            f"component {name} cannot be written for any batch: its operators are legalised otherwise from batch to "
            "batch; compile it without --dynamic, once for each batch."
        )
    sites = merge_records(name, {batch: told.sites for batch, (told, _) in results.items()})
    made = generalise(
        family_of(name, {batch: codec.parse(data, component.where) for batch, (_, data) in results.items()})
    )
    model = Model(made.model)
    if findings := check_structure(model):
        raise InternalError(f"component {name}: the graph for any batch is wrong: {findings[0]}")
    inputs, outputs = _interface(model.proto.graph)
    return replace(first, sites=sites, inputs=inputs, outputs=outputs, weights=values.asked), made, sources


def _rewrite(
    component: Component,
    source: bytes,
    policy: Policy,
    target: Target,
    passes: Sequence[pipeline.Pass],
    values: WeightValues,
    after: Callable[[pipeline.Pass, Model], None] | None,
) -> tuple[Rewritten, bytes]:
    """See `rewrite`; at one batch."""
    name = component.name
    original, model = _index(component, source), _index(component, source)
    context = pipeline.Context(name, component.owner, policy, target, weights=values)
    changed = pipeline.run(model, context, passes, after)
    check_census(name, count_sites(original), context.sites)
    data = source
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
        weights=values.asked,
    )
    return rewritten, data


def _index(component: Component, data: bytes) -> Model:
    try:
        return Model(codec.parse(data, component.where))
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
