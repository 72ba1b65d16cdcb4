"""A source becomes components: each a graph in memory and the place its weights come from.

Two kinds: a `.mindir` file, read as it lies with no MindSpore in sight; and everything else (a pipeline folder, a
hub id, a demo), traced by `attnfuse.tracing`, each component in a subprocess of its own.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from attnfuse.cache.traces import TraceKey, Traces
from attnfuse.component import Component
from attnfuse.errors import SourceError, UsageError
from attnfuse.lora import inversion
from attnfuse.lora.fitting import FIXED_NAME, fit, told
from attnfuse.lora.given import Added, Given, Lora, named, read_given
from attnfuse.lora.inversion import Inversion
from attnfuse.mindir import codec, dtypes, external
from attnfuse.mindir.schema import ModelProto
from attnfuse.preflight import ComponentTypes, types_of
from attnfuse.progress import Progress
from attnfuse.source_files import (
    SUFFIX,
    already_written,
    check_not_weights,
    check_single_file,
    check_variant,
    found_files,
    is_graph,
)
from attnfuse.tracing import runner
from attnfuse.tracing import source as tracing_source
from attnfuse.tracing.carried import Carried, carried
from attnfuse.tracing.contract import (
    AUTO,
    DEFAULT_WAY,
    DYNAMIC_BATCHES,
    NOTHING_NAMED,
    ComponentPlan,
    Fetch,
    FixedValue,
    ShapeOptions,
    Size,
    StoredWeight,
    TracedComponent,
    Way,
    open_spec,
)
from attnfuse.tracing.folder import VAE, read_json
from attnfuse.tracing.inputs import GivenCall
from attnfuse.tracing.original import tensors_of
from attnfuse.tracing.parts import WHOLE, Part, Terms
from attnfuse.tracing.plan import Planned, plan_all, survey
from attnfuse.tracing.several_sizes import put_together
from attnfuse.tracing.workers import Workers

_AGAIN = (
    "attnfuse wrote this graph: what it fused counts as fused in the source; for another policy or SoC, compile what "
    "it was made of"
)


class Source(Protocol):
    """Something that can be compiled."""

    @property
    def loras(self) -> Sequence[Added]:
        """What is merged into its weights."""

    @property
    def owners(self) -> tuple[str, ...]:
        """The models of the components in `names`, by the pipeline's attribute."""

    @property
    def single_file(self) -> bool:
        """Whether it is one graph file, so that the output may be one too."""

    @property
    def paths(self) -> Iterable[Path]:
        """Files and folders that must not be written to."""

    @property
    def names(self) -> tuple[str, ...]:
        """The components it has (or those asked for), in order."""

    @property
    def bases(self) -> Collection[str]:
        """The components in `names` whose weights others share, being of another size."""

    @property
    def order(self) -> tuple[str, ...]:
        """All components it is known to have, asked for or not, in order."""

    @property
    def failures(self) -> Mapping[str, str]:
        """The components it has (or those asked for) that are known not to be had, with the reasons."""

    @property
    def component_types(self) -> Mapping[str, ComponentTypes]:
        """What is known of each component in `names` before it is loaded."""

    @property
    def plans(self) -> tuple[ComponentPlan, ...]:
        """What is traced for its components, in order."""

    @property
    def least_bytes(self) -> int:
        """Bytes that the result takes on a disk at least; 0 where that is not known before a trace."""

    def carried(self) -> Carried | None:
        """What an output folder has of it beside graphs and weights; None for a graph that comes alone."""

    def opened(self, work: Path, jobs: int) -> AbstractContextManager[Load]:
        """What loads its components, in order, as long as the context lasts.

        In `work` each component has an empty folder of its name. With more than one job that many are traced at a time,
        and some before they are asked for: what is loaded, raised and told is the same.
        """


class Load(Protocol):
    """Reads or traces one component."""

    def __call__(self, name: str, progress: Progress, *, weights: bool) -> Component:
        """Load it. With `weights`, every parameter must have a value.

        Raises TraceError where this component cannot be traced, SourceError where it cannot be read, is damaged or is
        not supported.
        """


def open_source(
    source: str,
    components: Iterable[str],
    dtype: str | None,
    shapes: ShapeOptions,
    given: Sequence[GivenCall] = (),
    traces: Traces | None = None,
    terms: Terms = WHOLE,
    way: Way = DEFAULT_WAY,
    loras: Sequence[Given] = (),
    sizes: Sequence[Size] = (),
) -> Source:
    """Find what SOURCE is. `dtype` None or "auto" is the source's own: for what is traced, that of its checkpoint.

    `sizes` are those beside the one of `shapes`; `given` are the user's own inputs for components of a pipeline,
    `traces` those made before; `terms` are for what is traced, in that `way`; `loras`, and textual inversions among
    them, change the weights of a checkpoint. Raises SourceError where nothing is there or one of these cannot be read,
    UsageError for options that do not fit it.
    """
    wanted = tuple(components)
    path, fetch = Path(source), terms.fetch
    if fetch.config:
        check_single_file(path)
    elif is_graph(path):
        check_not_weights(path)
        if fetch.vae:
            raise UsageError(f"{path} is a traced graph; --vae is for pipelines.")
        if given:
            raise UsageError(f"{path} is a traced graph, which has its inputs; --inputs is for pipelines.")
        if loras:
            raise UsageError(
                f"{path} is a traced graph, whose weights may have a LoRA or a textual inversion in them already;"
                " --lora and --textual-inversion are for pipelines: compile the checkpoint."
            )
        if sizes:
            raise UsageError(f"{path} is a traced graph of one size; trace the pipeline again for several.")
        return MindirSource.open(path, wanted, None if dtype == AUTO else dtype, shapes)
    if sizes and given:
        raise UsageError("what --inputs gives is of fixed shapes, and several sizes are asked for; drop one.")
    folder, terms = found_files(source, terms)
    planned = plan_all(folder, dtype or AUTO, shapes, wanted, given, terms)
    if sizes:
        others = [(size, plan_all(folder, dtype or AUTO, size.shapes, wanted, (), terms)) for size in sizes]
        planned = put_together(planned, others)
    if fetch.variant:
        check_variant(fetch.variant, folder, planned)
    made = (_told_of_vae(_in_way(plan, way, fetch.variant), terms.vae) for plan in planned.plans)
    planned = replace(planned, plans=tuple(made))
    return PipelineSource(
        folder, planned, traces, read_given(loras, planned.models), checkpoint=terms.checkpoint, vae=terms.vae
    )


def _told_of_vae(plan: ComponentPlan, vae: Path | None) -> ComponentPlan:
    """The plan of a part of the VAE with whose it is, where that is not the pipeline's."""
    if vae is None or plan.model != VAE:
        return plan
    repository, revision = tracing_source.origin(vae)
    name = vae.resolve().name if vae.resolve().name != VAE else f"{vae.resolve().parent.name}/{VAE}"
    value = {"source": repository or name, "revision": revision}
    meaning = "the VAE of another repository, in the place of the pipeline's; for its own compile without --vae"
    return replace(plan, fixed=(FixedValue(VAE, value, meaning), *plan.fixed))


def _in_way(plan: ComponentPlan, way: Way, variant: str) -> ComponentPlan:
    return replace(plan, way=way, variant=variant, twins=tuple(_in_way(twin, way, variant) for twin in plan.twins))


def survey_source(
    source: str,
    dtype: str | None,
    shapes: ShapeOptions,
    given: Sequence[GivenCall] = (),
    fetch: Fetch = NOTHING_NAMED,
) -> tuple[Part, ...]:
    """The parts of a pipeline and what each would be traced with; nothing is traced, and no weights are fetched.

    Raises as `open_source` does, UsageError for a traced graph.
    """
    path = Path(source)
    if fetch.config:
        check_single_file(path)
    elif is_graph(path):
        with contextlib.suppress(OSError):
            codec.check_format(path)
        raise UsageError(f"{path} is one traced graph and no pipeline; attnfuse inspect lists what is in it.")
    folder, terms = found_files(source, Terms(fetch=fetch), weights=False)
    # What is here was not fetched without its weights.
    return survey(
        folder, dtype or AUTO, shapes, given, replace(terms, with_weights=folder == Path(fetch.config or source))
    )


@dataclass(frozen=True, slots=True)
class MindirSource:
    """A `.mindir` file with its weights inside or beside it, or without any."""

    path: Path
    name: str
    loras: tuple[Added, ...] = ()

    @classmethod
    def open(cls, path: Path, components: tuple[str, ...], dtype: str | None, shapes: ShapeOptions) -> MindirSource:
        """See `open_source`."""
        if dtype is not None or shapes != ShapeOptions():
            raise UsageError(
                f"{path} is a traced graph of fixed types and shapes; trace the pipeline again for others."
            )
        name = component_name(path)
        for other in components:
            if other != name:
                raise UsageError(f"{path} has no component {other!r}; it is the one component {name!r}.")
        return cls(path, name)

    @property
    def single_file(self) -> bool:
        return True

    @property
    def paths(self) -> Iterable[Path]:
        return (self.path,)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def owners(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def bases(self) -> Collection[str]:
        return ()

    @property
    def order(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def failures(self) -> Mapping[str, str]:
        return {}

    @property
    def component_types(self) -> Mapping[str, ComponentTypes]:
        return {self.name: ComponentTypes(self.name)}

    @property
    def plans(self) -> tuple[ComponentPlan, ...]:
        """See `Source.plans`."""
        return ()

    @property
    def least_bytes(self) -> int:
        """Half of the graph's own file, weights inside it with it: a pass makes no graph that much smaller."""
        try:
            return self.path.stat().st_size // 2
        except OSError:
            return 0

    def carried(self) -> None:
        """See `Source.carried`."""

    @contextlib.contextmanager
    def opened(self, work: Path, jobs: int) -> Iterator[Load]:
        """See `Source.opened`."""
        yield self._load

    def _load(self, name: str, progress: Progress, *, weights: bool) -> Component:
        progress.stage(name, "read")
        # Weights lie beside the graph, not beside a link to it.
        path = self.path.resolve() if self.path.is_symlink() else self.path
        data = codec.read_bytes(path)
        model = codec.parse(data, str(self.path))
        files = external.check_weights(model, path, required=True) if weights else _present(model, path)
        versions = {"mindspore": model.model_version} if model.model_version else {}
        return Component(
            name=name,
            owner=name,
            where=str(self.path),
            data=data,
            graph_name=self.path.name,
            adopted=files,
            versions=versions,
            original=path,
            inputs={self.path.name: path, **files},
            warnings=(_AGAIN,) if already_written(path, data) else (),
        )


def _present(model: ModelProto, path: Path) -> Mapping[str, Path]:
    """The variables files beside a graph that need not have any: where one is damaged, it has no weights."""
    try:
        return external.check_weights(model, path, required=False)
    except SourceError:
        return {}


@dataclass(frozen=True, slots=True)
class PipelineSource:
    """A diffusers pipeline folder, planned. `traces` are those made before, if any are kept; `loras` those to merge.

    `checkpoint` is a single file that has weights in place of the folder's, `vae` the folder of another VAE.
    """

    folder: Path
    planned: Planned
    traces: Traces | None = None
    loras: tuple[Added, ...] = ()
    checkpoint: Path | None = field(default=None, kw_only=True)
    vae: Path | None = field(default=None, kw_only=True)

    @property
    def single_file(self) -> bool:
        return False

    @property
    def paths(self) -> Iterable[Path]:
        given = (path for path in (self.checkpoint, self.vae) if path is not None)
        return (self.folder, *given, *(lora.file for lora in self.loras))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(plan.name for plan in self.planned.plans)

    @property
    def owners(self) -> tuple[str, ...]:
        return tuple(plan.model for plan in self.planned.plans)

    @property
    def bases(self) -> Collection[str]:
        return {plan.base for plan in self.planned.plans if plan.base}

    @property
    def order(self) -> tuple[str, ...]:
        return self.planned.order

    @property
    def failures(self) -> Mapping[str, str]:
        return self.planned.failures

    @property
    def component_types(self) -> Mapping[str, ComponentTypes]:
        return {plan.name: types_of(plan) for plan in self.planned.plans}

    @property
    def plans(self) -> tuple[ComponentPlan, ...]:
        """See `Source.plans`."""
        return tuple(one for plan in self.planned.plans for one in (plan, *plan.twins))

    @property
    def least_bytes(self) -> int:
        """Half of the checkpoints in the types they are compiled in: of an autoencoder one half may be all that is."""
        asked = {plan.folder: plan for plan in self.planned.plans if not self._has_others(plan)}
        return sum(map(_stored_bytes, asked.values())) // 2

    def _has_others(self, plan: ComponentPlan) -> bool:
        """Whether its model has components that were not asked for."""
        return any(name.startswith(plan.model) for name in set(self.order) - set(self.names))

    def carried(self) -> Carried:
        """See `Source.carried`."""
        first = self.planned.plans[0]
        found = carried(self.folder, first.sizes, first.model, self.planned.sizes, vae=self.vae)
        if self._inversions:
            found = replace(found, files=inversion.with_tokens(found.files, self._inversions, self.folder))
        if self.checkpoint is None:
            return found
        # The weights are not from where the configurations are.
        return replace(found, facts=replace(found.facts, source=None, revision=None))

    @contextlib.contextmanager
    def opened(self, work: Path, jobs: int) -> Iterator[Load]:
        """See `Source.opened`."""
        with runner.workers(jobs, None if self.traces is None else self.traces.blocks()) as workers:
            tracing = _Tracing(workers, self.traces)
            if jobs > 1:
                for plan in self.planned.plans:
                    for twin, folder in _twins(plan, work / plan.name):
                        tracing.begin(twin, folder)

            def load(name: str, progress: Progress, *, weights: bool) -> Component:
                plan = next(plan for plan in self.planned.plans if plan.name == name)
                return self._loaded(plan, work / name, tracing, progress)

            yield load

    def _loaded(self, plan: ComponentPlan, work: Path, tracing: _Tracing, progress: Progress) -> Component:
        first, *others = (tracing.finish(twin, folder, progress) for twin, folder in _twins(plan, work))
        # The plan that came back crossed a border that what is told of it does not.
        component = from_trace(replace(first, plan=plan), self._inputs(plan, first.weights))
        component = self._with_rows(self._with_loras(component, plan), plan)
        if not others:
            return component
        batches = {DYNAMIC_BATCHES[0]: component.data}
        rows = inversion.rows_of(component.added)
        batches |= {
            batch: inversion.grown_graph(from_trace(other, {}).data, component.where, rows)
            for batch, other in zip(DYNAMIC_BATCHES[1:], others, strict=True)
        }
        opened = tuple(open_spec(specs) for specs in zip(first.outputs, *(o.outputs for o in others), strict=True))
        return replace(component, batches=batches, outputs=opened)

    def _with_loras(self, component: Component, plan: ComponentPlan) -> Component:
        """The component with what the LoRAs add to its weights, and what is told of them."""
        mine = [one for one in self.loras if isinstance(one, Lora) and plan.model in one.parts]
        config = read_json(plan.folder / "config.json") if mine else {}
        added = fit(mine, plan.model, plan.class_name, config, component.weights)
        entry = told(mine, plan.model, added)
        if entry is None:
            return component
        fixed = (entry, *(one for one in component.fixed if one.name != FIXED_NAME))
        inputs = {**component.inputs, **named("lora", mine)}
        return replace(component, added=added, fixed=fixed, inputs=inputs)

    @property
    def _inversions(self) -> list[Inversion]:
        return [one for one in self.loras if isinstance(one, Inversion)]

    def _with_rows(self, component: Component, plan: ComponentPlan) -> Component:
        """The component with the rows of textual inversions behind its table of tokens, and what is told of them."""
        mine = [one for one in self._inversions if plan.model in one.parts]
        rows = inversion.grow(mine, plan.model, plan.class_name, component.weights)
        entry = inversion.told(mine, plan.model)
        if entry is None:
            return component
        return replace(
            component,
            data=inversion.grown_graph(component.data, component.where, rows),
            added={**component.added, **rows},
            fixed=(entry, *component.fixed),
            inputs={**component.inputs, **named(inversion.FIXED_NAME, mine)},
        )

    def _inputs(self, plan: ComponentPlan, weights: Iterable[StoredWeight]) -> dict[str, Path]:
        """The configuration and the weight files; of weights that went through mindone's loader, all there are."""
        files = {p for p in (self.folder / "model_index.json", plan.folder / "config.json") if p.is_file()}
        named: dict[str, Path] = {}
        if plan.checkpoint is not None:
            named[f"checkpoint/{plan.checkpoint.name}"] = plan.checkpoint
        else:
            read = {source.file for source in weights}
            folder = plan.folder.resolve()
            own = {path for path in read if path.resolve().is_relative_to(folder) or path.is_relative_to(plan.folder)}
            files |= own if own == read else own.union(plan.folder.glob("*.safetensors"))
        root = self.folder.resolve()
        for path in files:
            # Links in a hub snapshot point at blobs: the name is that of the link.
            absolute = path.parent.resolve() / path.name
            inside = absolute.is_relative_to(root)
            named[absolute.relative_to(root).as_posix() if inside else f"{plan.model}/{path.name}"] = path
        return dict(sorted(named.items()))


def _stored_bytes(plan: ComponentPlan) -> int:
    """Of the checkpoint, in the type of the plan."""
    try:
        elements = sum(tensor.size for tensor in tensors_of(plan).values())
    except SourceError:  # told by who traces it
        return 0
    return elements * dtypes.from_name(plan.dtype).itemsize


def _twins(plan: ComponentPlan, work: Path) -> Iterator[tuple[ComponentPlan, Path]]:
    """The plan and its twins, each with the folder that it is traced in, which is made for a twin."""
    yield plan, work
    for batch, twin in zip(DYNAMIC_BATCHES[1:], plan.twins, strict=False):
        folder = work / f"batch_{batch}"
        folder.mkdir(exist_ok=True)
        yield twin, folder


class _Tracing:
    """The traces of one pipeline: recalled, or made by workers."""

    def __init__(self, workers: Workers, traces: Traces | None) -> None:
        self._workers = workers
        self._traces = traces
        self._begun: dict[Path, tuple[TraceKey | None, TracedComponent | None]] = {}

    def begin(self, plan: ComponentPlan, work: Path) -> None:
        """Look for an earlier trace; where there is none, have a worker make it."""
        self._begun[work] = self._recalled(plan, work)
        if self._begun[work][1] is None:
            runner.begin(plan, work, self._workers)

    def finish(self, plan: ComponentPlan, work: Path, progress: Progress) -> TracedComponent:
        """The trace; of one that was not begun, begun now."""
        if work not in self._begun:
            self._begun[work] = self._recalled(plan, work)
        key, known = self._begun.pop(work)
        if known is not None:
            progress.stage(plan.name, "recall")
            return known
        progress.stage(plan.name, "trace")
        traced = runner.trace_component(plan, work, self._workers)
        progress.worker(traced.seconds, traced.peak_rss_bytes)
        if self._traces is not None and key is not None:
            self._traces.save(key, traced)
        return traced

    def _recalled(self, plan: ComponentPlan, work: Path) -> tuple[TraceKey | None, TracedComponent | None]:
        key = None if self._traces is None else self._traces.key(plan)
        if self._traces is None or key is None:
            return None, None
        return key, self._traces.load(key, plan, work)


def from_trace(traced: TracedComponent, inputs: Mapping[str, Path]) -> Component:
    """The component that a trace left behind, its weights to be streamed; `inputs` as `Component`'s."""
    plan, name = traced.plan, traced.plan.name
    where = f"the trace of {name}"
    model = codec.parse(codec.read_bytes(traced.graph), where)
    location = f"{name}_variables/data_0"
    external.lay_out(model, location)
    return Component(
        name=name,
        owner=plan.model,
        where=where,
        data=codec.serialise(model),
        graph_name=f"{name}_graph{SUFFIX}",
        streamed_name=location,
        weights={source.parameter: source for source in traced.weights},
        outputs=traced.outputs,
        dtype=plan.dtype,
        dtype_from=plan.dtype_from,
        warnings=plan.warnings,
        versions=traced.versions,
        inputs=inputs,
        base=plan.base,
        fixed=plan.fixed,
        traced=traced.traced,
    )


def component_name(path: Path) -> str:
    """What a `.mindir` file is called as a component: its stem without `_graph`, in characters fit for a pattern."""
    stem = path.name.removesuffix(SUFFIX).removesuffix("_graph")
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_") or "graph"
