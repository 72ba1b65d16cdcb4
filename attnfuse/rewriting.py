"""One component through the passes: what became of each site and operator, and the graph's new bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TypeAlias

from attnfuse import collector, pass_manager, plugins
from attnfuse.component import Component
from attnfuse.cost.compare import compare
from attnfuse.cost.records import Comparison
from attnfuse.decisions import SiteRecord
from attnfuse.dynamic import BatchFamily, Dynamic, family_of, generalise, merge_records
from attnfuse.errors import AttnfuseError, InternalError, PluginError, SourceError, TraceError
from attnfuse.ir.graph import Model, short_name
from attnfuse.ir.verifier import Verifier
from attnfuse.mindir import codec, dtypes
from attnfuse.mindir.schema import AttributeProto, GraphProto, TensorProto
from attnfuse.mindir.values import WeightValues
from attnfuse.policy import Policy
from attnfuse.report.beside import beside, result_nodes, source_nodes
from attnfuse.report.build import (
    check_census,
    count_sites,
    kernel_entries,
    legalised_entries,
    not_rewritten_entries,
    simplified_entries,
    unsupported_entries,
    with_ids,
)
from attnfuse.report.model import BesideEntry, KernelEntry, LegalisedEntry, SimplifiedEntry, UnsupportedEntry
from attnfuse.targets import Target
from attnfuse.tracing.contract import TensorSpec
from attnfuse.verify.graph.structure import check_fused_nodes, check_interface, check_structure
from attnfuse.written_weights import settle

ANY_BATCH = "sizes are left to run time: the graph is for any batch"
"""Why a component for any batch has no estimate."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became of one graph: of each site and of operators. `nodes` counts those of the source.

    `inputs` and `outputs` are the graph's, as it names them. `cost` is the estimate of source and result, `beside` what
    is left beside fused nodes. `weights` are those whose values were asked for, with their digests (see
    `WeightValues.asked`): with other values something else might have become of the graph. `edited` are the weights
    that are made of the source's (see `mindir.edits`), and `edited_file` is where they alone are written, "" where it
    is with the others. `files` are those that the weights lie in, of a component that shares some with another.
    """

    nodes: int
    sites: tuple[SiteRecord, ...]
    legalised: tuple[LegalisedEntry, ...]
    unsupported: tuple[UnsupportedEntry, ...]
    not_rewritten: tuple[UnsupportedEntry, ...]
    simplified: tuple[SimplifiedEntry, ...]
    without_kernel: tuple[KernelEntry, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    cost: Comparison
    beside: tuple[BesideEntry, ...] = ()
    weights: tuple[tuple[str, str], ...] = ()
    edited: tuple[str, ...] = ()
    edited_file: str = ""
    files: tuple[str, ...] = ()


Between: TypeAlias = Callable[[str, pass_manager.Ran], None]
"""Called after each pass, with the component's name (of any batch: `unet at batch 2`)."""


def rewrite(
    component: Component,
    policy: Policy,
    target: Target,
    passes: Sequence[pass_manager.Pass],
    between: Between | None = None,
) -> tuple[Rewritten, bytes]:
    """Run the passes; the census must add up, and the result's structure must hold.

    Raises SourceError for a graph that contradicts itself, InternalError where a pass of ours does something wrong,
    PluginError where a plugin's does, TraceError for one that cannot be written for any batch.
    """
    if not component.batches:
        return _rewrite(component, component.data, policy, target, passes, None, _named(between, component.name))
    rewritten, made, _ = _rewrite_for_any(component, policy, target, passes, between)
    return rewritten, codec.serialise(made.model)


def at_batches(
    component: Component, policy: Policy, target: Target, passes: Sequence[pass_manager.Pass]
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


def _named(between: Between | None, name: str) -> pass_manager.Between | None:
    return None if between is None else partial(between, name)


def _rewrite_for_any(
    component: Component,
    policy: Policy,
    target: Target,
    passes: Sequence[pass_manager.Pass],
    between: Between | None = None,
) -> tuple[Rewritten, Dynamic, BatchFamily]:
    """The graphs at several batches, rewritten and put together, and the family of those of the source."""
    name = component.name
    sources = family_of(name, {batch: codec.parse(data, component.where) for batch, data in component.batches.items()})
    values = component.values()
    results = {
        batch: _rewrite(component, data, policy, target, passes, values, _named(between, f"{name} at batch {batch}"))
        for batch, data in component.batches.items()
    }
    first = next(iter(results.values()))[0]
    if any(_operators(one) != _operators(first) for one, _ in results.values()):
        raise TraceError(
            f"component {name} cannot be written for any batch: its operators are legalised differently from batch to "
            "batch; compile it without --dynamic, once for each batch."
        )
    sites = merge_records(name, {batch: one.sites for batch, (one, _) in results.items()})
    made = generalise(
        family_of(name, {batch: codec.parse(data, component.where) for batch, (_, data) in results.items()})
    )
    model = Model(made.model)
    if findings := check_structure(model):
        raise InternalError(f"component {name}: the graph for any batch is wrong: {findings[0]}")
    inputs, outputs = _interface(model.proto.graph)
    return replace(first, sites=sites, inputs=inputs, outputs=outputs, weights=values.asked), made, sources


def _operators(one: Rewritten) -> tuple[object, ...]:
    """What became of which operators, and what stays; not in whose place, nor why, for that names sizes."""
    left = [(entry.op, entry.code, entry.nodes) for entry in one.unsupported]
    return [(entry.op, entry.count, entry.into) for entry in one.legalised], left


@collector.paused()
def _rewrite(
    component: Component,
    source: bytes,
    policy: Policy,
    target: Target,
    passes: Sequence[pass_manager.Pass],
    values: WeightValues | None,
    between: pass_manager.Between | None,
) -> tuple[Rewritten, bytes]:
    """See `rewrite`; at one batch. `values` are those that several batches have in common."""
    name = component.name
    original = _index(component, source)
    verifier = Verifier(original)
    _check_source(component, original, verifier)
    values = component.values(original.proto) if values is None else values
    work = _Work(component, original, policy, target, values)
    try:
        model, context, changed = _run(work, passes, verifier, between)
        settled = settle(model, component)
        _check_result(name, original, model, context)
    except Exception as error:
        if not _is_defect(error):
            raise
        blamed = _blamed(work, passes, error)
        if blamed is error:
            raise
        raise blamed from error
    inputs, outputs = _interface(original.proto.graph)
    sites = with_ids(name, context.sites)
    rewritten = Rewritten(
        nodes=len(original.nodes),
        sites=sites,
        legalised=legalised_entries(context.legalised),
        unsupported=unsupported_entries(model, target, context.unsupported),
        not_rewritten=not_rewritten_entries(model, target, context.unsupported),
        simplified=simplified_entries(context.simplified),
        without_kernel=kernel_entries(model, target),
        inputs=inputs,
        outputs=outputs,
        cost=_cost(component, original, model, target.soc, sites),
        beside=beside(model, sites),
        weights=values.asked,
        edited=settled.edited,
        edited_file=settled.edited_file,
        files=settled.files,
    )
    return rewritten, codec.serialise(model.proto) if changed or settled.files else source


def _cost(component: Component, original: Model, model: Model, soc: str, sites: Sequence[SiteRecord]) -> Comparison:
    if component.batches:
        return Comparison(not_estimated=ANY_BATCH)
    return compare(original, model, soc, (source_nodes(original, sites), result_nodes(model, sites)))


def _check_source(component: Component, original: Model, verifier: Verifier) -> None:
    """Raise SourceError where the source has no output, or its types contradict each other: nothing can be proved."""
    if not original.proto.graph.output:
        graph = original.proto.graph.name
        raise SourceError(f"{component.where}: the graph {graph!r} has no output: nothing is needed. Export it again.")
    faults = chain(verifier.source_faults(), check_interface(original, original))
    if (fault := next(faults, None)) is not None:
        raise SourceError(f"{component.where} contradicts itself: {fault} Export it again.")


@dataclass(frozen=True, slots=True)
class _Work:
    """A graph, and what its passes are told beside it."""

    component: Component
    original: Model
    policy: Policy
    target: Target
    values: WeightValues


def _run(
    work: _Work, passes: Sequence[pass_manager.Pass], verifier: Verifier, between: pass_manager.Between | None = None
) -> tuple[Model, pass_manager.Context, bool]:
    """The graph after the passes, each checked, what they said, and whether they changed anything."""
    component, model = work.component, work.original.copy()
    context = pass_manager.Context(
        component.asked_as,
        component.owner,
        work.policy,
        work.target,
        weights=work.values,
        any_batch=bool(component.batches),
    )

    def check(ran: pass_manager.Ran) -> None:
        if between is not None:
            between(ran)  # a graph is shown before it is refused
        fault = verifier.fault(ran.model, context.unneeded)
        if fault is None:
            return
        if fault.is_sources:
            raise SourceError(f"{component.where} contradicts itself: {fault.sentence} Export it again.")
        raise pass_manager.blame(ran.step, component.name, fault.sentence)

    return model, context, pass_manager.run(model, context, passes, check)


def _check_result(name: str, original: Model, model: Model, context: pass_manager.Context) -> None:
    """Raise InternalError for a record too few, a fused node against its rules, another interface."""
    check_census(name, count_sites(original), context.sites)
    known = set(check_fused_nodes(original))
    findings = [found for found in check_fused_nodes(model) if found not in known] + check_interface(original, model)
    if findings:
        raise InternalError(f"component {name}: the rewritten graph is wrong: {findings[0]}")


def _blamed(work: _Work, passes: Sequence[pass_manager.Pass], error: Exception) -> Exception:
    """Whose fault it is: ours where it is there without plugins too, else that of the first plugin it comes with."""
    own = [plugin for step in passes if (plugin := pass_manager.plugin_of(step)) is not None]
    suspects = list(dict.fromkeys([*own, *(plugin.name for plugin in plugins.load().plugins)]))
    trusted: list[str] = []
    if not suspects or _goes_wrong(work, passes, trusted):
        return error
    for suspect in suspects:
        trusted.append(suspect)
        if _goes_wrong(work, passes, trusted):
            what = str(error) if isinstance(error, InternalError) else f"{type(error).__name__}: {error}"
            return PluginError(f"with the plugin {suspect!r}, {what.rstrip('.')}. {pass_manager.UPDATE}")
    return error


def _is_defect(error: Exception) -> bool:
    """Whether it is somebody's mistake in code, and not a sentence about what the user gave."""
    return isinstance(error, InternalError) or not isinstance(error, AttnfuseError)


def _goes_wrong(work: _Work, passes: Sequence[pass_manager.Pass], trusted: Sequence[str]) -> bool:
    """Whether a defect is there with no plugins but these."""
    tried = [step for step in passes if pass_manager.plugin_of(step) in (None, *trusted)]
    pass_manager.extend(tried, trusted)
    try:
        model, context, _ = _run(work, tried, Verifier(work.original))
        _check_result(work.component.name, work.original, model, context)
    except Exception as error:
        if not _is_defect(error):
            raise
        return True
    finally:
        pass_manager.extend(passes)
    return False


def _index(component: Component, data: bytes) -> Model:
    try:
        return Model(codec.parse(data, component.where))
    except SourceError as error:
        raise SourceError(f"{component.where}: {error} Export it again.") from None


def _interface(graph: GraphProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The graph's inputs and outputs; an element of an output that is a tuple is called `name[0]`."""
    inputs = [_tensor(value.name.partition(":")[2] or value.name, t) for value in graph.input for t in value.tensor]
    outputs: list[TensorSpec] = []
    for value in graph.output:
        name = short_name(value.name)
        outputs += [_tensor(name, tensor) for tensor in value.tensor]
        outputs += _elements(name, value.attr_info)
    return tuple(inputs), tuple(outputs)


def _elements(name: str, tuple_: AttributeProto) -> Iterator[TensorSpec]:
    yield from (_tensor(name, tensor) for tensor in tuple_.tensors)
    for index, element in enumerate(tuple_.values):
        yield from _elements(f"{name}[{index}]", element)


def _tensor(name: str, proto: TensorProto) -> TensorSpec:
    dtype = dtypes.from_wire(proto.data_type)
    return TensorSpec(name=name, shape=tuple(proto.dims), dtype="unknown" if dtype is None else dtype.name)
