"""compile(request) → outcome: the story of one compile, top to bottom.

    find the source → for each component: read or trace → rewrite → weights → verify → report and manifest → publish

Nothing is published unless everything held. A component that cannot be traced is left out and reported; the others
are written. `inspect` is the same story without an output. What an earlier compile left in the output, and a cache
folder says would be made again, is taken over: see `attnfuse.incremental`.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from attnfuse import pass_manager, plugins, processes
from attnfuse.cache.traces import Traces
from attnfuse.component import Component
from attnfuse.component_files import ComponentWriter, bytes_of
from attnfuse.deployment.write import hand_over, write_config
from attnfuse.errors import OutputError, RequirementError, SourceError, TraceError, UsageError
from attnfuse.incremental import Incremental, check_apart
from attnfuse.lora.given import Given, check_used
from attnfuse.output import (
    MANIFEST,
    REPORT,
    REPORT_PAGE,
    VERIFICATION,
    Digests,
    FileDigest,
    OutputPlace,
    OutputStage,
    Sink,
    check_free,
    digest,
    place,
)
from attnfuse.pictures import require_runtime
from attnfuse.policy import Policy
from attnfuse.preflight import check_asked, check_components, check_policy
from attnfuse.progress import Progress, Silent
from attnfuse.records import (
    ComponentResult,
    certificate,
    manifest_of,
    original_files,
    queries_of,
    report_of,
    with_output,
)
from attnfuse.report.model import Report
from attnfuse.report.page import page
from attnfuse.report.require import Requirement
from attnfuse.rewriting import Between, rewrite
from attnfuse.room import check_room
from attnfuse.shared_weights import SharedWeights
from attnfuse.sources import Load, Source, open_source
from attnfuse.staged_verification import Staged, answers, asked_of, recorded, verify_staged
from attnfuse.standing import (
    Certified,
    Standing,
    certificates,
    merge_manifest,
    merge_report,
    read_standing,
    still_holds,
)
from attnfuse.store.places import Place
from attnfuse.targets import Target
from attnfuse.tracing.contract import DEFAULT_WAY, NOTHING_NAMED, ComponentPlan, Fetch, ShapeOptions, Size, Way
from attnfuse.tracing.inputs import GivenCall
from attnfuse.tracing.parts import Terms
from attnfuse.tracing.workers import affordable
from attnfuse.verify import ComponentVerification, Verification, data_files, require_executor

VerifyLevel: TypeAlias = Literal["none", "static", "sampled", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileRequest:
    """What to compile, for whom, and where to.

    `source` is a pipeline folder, a hub id, `demo:NAME` or a `.mindir` file, or a source that is open already. `dtype`
    None or "auto" is the type that each component's checkpoint is stored in; `sizes` are those beside the one of
    `shapes`, of which each component is compiled that differs (see `attnfuse.tracing.several_sizes`). `loras`, and
    textual inversions among them, change its weights, `fetch` says which files are read. `output` None writes nothing
    (a dry run); with `check` nothing is written either, and what would be is compared with what is there. `seed` is
    that of the inputs drawn by verification, `data` where given ones are in their place: an .npz file, or a folder (see
    `attnfuse.verify.numbers.data`), `again` whether what a certificate in the output is of is verified too. `cache` is
    a folder, or a URL, that says what earlier compiles came to: see `attnfuse.incremental`; `cache_key` is a file of
    what signs its entries. With `strict_config` a component whose
    configuration its class does not take is left out, with `strict_policy` a rule that matches no site is an error. Of
    `components` (all, where none is named), those of `exclude` are left alone. `trace` is how what is traced is: block
    by block where that goes, or whole; `jobs` components of a pipeline are traced at a time (None: as many as there are
    cores and memory for), which changes nothing but the time it takes. `reporters` are those that write a document of
    their own into the output. `golden` writes what the unfused graphs came to, for a device: see
    `attnfuse.pictures.golden`. `between` is called after each pass over each component, and has each graph made again.
    """

    source: str | Source
    output: Path | None = None
    components: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dtype: str | None = None
    shapes: ShapeOptions = field(default_factory=ShapeOptions)
    sizes: tuple[Size, ...] = ()
    given: tuple[GivenCall, ...] = ()
    loras: tuple[Given, ...] = ()
    fetch: Fetch = NOTHING_NAMED
    target: Target = field(default_factory=lambda: Target("lite", "ascend910b"))
    policy: Policy = field(default_factory=Policy)
    require: tuple[Requirement, ...] = ()
    verify: VerifyLevel = "none"
    seed: int = 0
    data: Path | None = None
    again: bool = False
    check: bool = False
    cache: Place | None = None
    cache_key: Path | None = None
    strict_config: bool = False
    strict_policy: bool = False
    trace: Way = DEFAULT_WAY
    jobs: int | None = None
    reporters: tuple[str, ...] = ()
    golden: bool = False
    between: Between | None = None


@dataclass(frozen=True, slots=True)
class CompileOutcome:
    """What came of a request. `unmet` are requirements that do not hold; with any, nothing was written.

    `files` are those of the output, by name relative to it, as written (or, with `check`, as they would be). The
    components that could not be traced are in the report's `failed`. `cache_error` is why something could not be kept
    in the cache, which slows down the next compile only. Of a compile of some components, `kept` are those that stay
    in the output beside them, which the written documents list too; `verified_before` are those of which a certificate
    stood in the output, of the same files; `report` is of this compile. `dropped` says what
    verifications that stood there are no longer about, which do not count, and which stay as they say more. Of a dry
    run, `disk` are the bytes that graphs and weights of a compile take, but for weights that are linked.
    """

    report: Report
    components: tuple[ComponentResult, ...]
    unmet: tuple[str, ...] = ()
    verification: Verification | None = None
    files: Mapping[str, FileDigest] | None = None
    written: bool = False
    cache_error: str = ""
    kept: tuple[str, ...] = ()
    dropped: str = ""
    verified_before: tuple[str, ...] = ()
    disk: int = 0


def inspect(request: CompileRequest, progress: Progress | None = None) -> CompileOutcome:
    """The census of a source, with or without weights; nothing is written. Raises as `compile` does."""
    return _census(request, progress or Silent(), weights=False)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The passes, and the components, of these names, to run them over: each is read or traced when it is asked for.
    Those that cannot be had go into `failed`, with the reasons."""

    passes: tuple[pass_manager.Pass, ...]
    names: tuple[str, ...]
    components: Iterator[Component]
    failed: Mapping[str, str]


@contextlib.contextmanager
def loaded(request: CompileRequest, work: Path, progress: Progress) -> Iterator[Loaded]:
    """A source for whoever runs the passes over it and writes no output; `work` is for its traces.

    Weights are those that a file has. Raises as `compile` does for a source, or a request, that is refused.
    """
    _, source, passes = _open(request)
    failed = dict(source.failures)
    with _components(request, source, work, progress, failed, weights=False) as components:
        yield Loaded(passes, source.names, components, failed)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a compile would do first: trace the plans. `traces` are those made before, `paths` what the source reads."""

    traces: Traces | None
    plans: tuple[ComponentPlan, ...]
    paths: tuple[Path, ...]


def prepare(request: CompileRequest) -> Prepared:
    """What a compile would trace; nothing is. Raises as `compile` does for a source, or a request, that is refused."""
    if request.output is None:
        known, source, _ = _open(request)
    else:
        checked = _checked(request, request.output)
        known, source = checked.known, checked.source
    return Prepared(known.traces, source.plans, tuple(source.paths))


def compile(request: CompileRequest, progress: Progress | None = None) -> CompileOutcome:  # noqa: A001  # it is what it does
    """Compile a source.

    Raises UsageError, PolicyError, SourceError, TraceError, OutputError for what the user can fix,
    VerificationError where verification cannot be carried out, RequirementError where `check` finds a difference,
    InternalError for a defect. A requirement that does not hold, or a verification that fails, is told in the
    outcome. Whatever happens, the output is as it was or whole.
    """
    progress = progress or Silent()
    if request.output is None:
        _check_data(request)
        if request.verify != "none":
            raise UsageError("--dry-run writes no graph that could be verified; drop it or --verify.")
        if request.reporters or request.golden:
            what = "a reporter" if request.reporters else "--golden"
            raise UsageError(f"--dry-run writes nothing, and {what} writes into the output; drop one.")
        return _census(request, progress, weights=True)
    checked = _checked(request, request.output)
    target = checked.target
    if request.check:
        with _work_folder() as work:
            try:
                outcome, _ = _produce(request, checked, Digests(), work, None, progress)
            except OutputError as error:  # what stands there is damaged, or of something else
                raise RequirementError(f"{target.path} is not up to date: {error}") from None
        _compare(target, outcome)
        return outcome
    with OutputStage(target) as stage:
        outcome, standing = _produce(request, checked, stage, stage.work, stage.root, progress)
        if outcome.unmet or (outcome.verification is not None and not outcome.verification.passed):
            return outcome
        if request.golden:
            from attnfuse.pictures.golden import write_golden  # the runtime, which a compile does not need otherwise

            components = [result.component for result in outcome.components]
            write_golden(components, stage.root, stage.work / "unfused", stage, progress)
        progress.stage("", "write")
        if standing is not None and not standing.unchanged():
            raise OutputError(f"{target.path} changed while this was compiled; compile again to add to what is there.")
        stage.publish()
    checked.known.end(stage)
    return replace(outcome, written=True, cache_error=checked.known.cache_error)


def _check_data(request: CompileRequest) -> None:
    if request.data is not None and request.verify not in ("sampled", "full"):
        raise UsageError("--data feeds --verify full, or sampled; drop it, or ask for that.")


@dataclass(frozen=True, slots=True)
class _Checked:
    """What is compiled, as `_open` has it, where to, and the files of inputs for each component."""

    known: Incremental
    source: Source
    passes: tuple[pass_manager.Pass, ...]
    target: OutputPlace
    data: Mapping[str, Sequence[Path]]


def _checked(request: CompileRequest, output: Path) -> _Checked:
    """A request of which all that can be refused before the long work was not."""
    _check_data(request)
    if request.verify != "none":
        require_executor(request.verify)
    documents = plugins.documents(request.reporters)
    known, source, passes = _open(request)
    target = place(output, source.paths)
    if request.cache is None and not request.check:  # else what stands there may be taken over
        check_room(target.path, source.least_bytes)
    check_free(target, [document.file for document in documents])
    if target.is_file and not source.single_file:
        source_text = request.source if isinstance(request.source, str) else "the source"
        raise UsageError(f"the output {output} is one file, and {source_text} a pipeline; name a folder.")
    data = {} if request.data is None else data_files(request.data, source.names)
    is_added = bool(request.components or request.exclude) and target.path.exists()
    if not is_added:  # else they may be for what stands there
        check_used(source.loras, source.owners)
    if request.golden:
        _check_golden(request, source)
    if request.check and request.verify != "none":
        raise UsageError("--check compares and does not verify; drop it or --verify.")
    return _Checked(known, source, passes, target, data)


def _check_golden(request: CompileRequest, source: Source) -> None:
    """Raise UsageError, before the long work, where the unfused graphs make no picture."""
    require_runtime("--golden", "cpu")
    if request.check:
        raise UsageError("--check compares, and --golden is no part of that; drop it.")
    if request.fetch.ip_adapter:
        raise UsageError("--golden makes a picture of a prompt alone, and an IP-Adapter looks at a picture; drop one.")
    if source.single_file or request.components or request.sizes or request.shapes.dynamic is not None:
        raise UsageError("--golden runs all components of a pipeline, of one known size; drop it, or name a pipeline.")
    from attnfuse.pictures.golden import check_loop

    check_loop(next(iter(source.paths)))


def _open(request: CompileRequest) -> tuple[Incremental, Source, tuple[pass_manager.Pass, ...]]:
    """The source, of which nothing was traced yet, what is known of earlier compiles, and the passes to run."""
    for dtype in (request.dtype, *dict(request.shapes.dtypes).values()):
        check_asked(request.target, dtype)
    passes = pass_manager.chosen(request.policy.options)
    known, source = Incremental(None), request.source
    if isinstance(source, str):
        if request.cache is not None:
            check_apart(request.cache, request.output, Path(source))
        known = Incremental(request.cache, request.cache_key, check=request.check)
        source = open_source(
            source,
            request.components,
            request.dtype,
            request.shapes,
            request.given,
            known.traces,
            Terms(
                floats=request.target.floats,
                strict_config=request.strict_config,
                exclude=request.exclude,
                fetch=request.fetch,
            ),
            request.trace,
            request.loras,
            request.sizes,
        )
    if request.exclude and source.single_file:
        raise UsageError(f"--exclude is for the components of a pipeline, and {request.source} is one; drop it.")
    check_components(request.target, source.component_types)
    check_policy(request.target, request.policy, source.component_types)
    return known, source, passes


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _census(request: CompileRequest, progress: Progress, *, weights: bool) -> CompileOutcome:
    known, source, passes = _open(request)
    check_used(source.loras, source.owners)
    failed = dict(source.failures)
    results: list[ComponentResult] = []
    refused: TraceError | None = None
    disk = 0
    weights_of = SharedWeights(source.bases)
    with (
        _work_folder() as work,
        _components(request, source, work, progress, failed, weights=weights) as components,
    ):
        for component in components:
            progress.stage(component.name, "rewrite")
            component = weights_of.with_places(component)
            try:
                rewritten, data = rewrite(component, request.policy, request.target, passes, request.between)
            except TraceError as error:
                refused = _refused(failed, component, error, refused)
                continue
            weights_of.keep(component, partial(bytes, data))
            results.append(ComponentResult(component, rewritten))
            disk += bytes_of(component, rewritten, data) if weights else 0
    if refused is not None and not results:
        raise refused
    if request.strict_policy:
        request.policy.check_all_matched(queries_of(results))
    report = report_of(request.policy, request.target, passes, results, failed)
    return CompileOutcome(report, tuple(results), _unmet(request, report), cache_error=known.cache_error, disk=disk)


def _produce(
    request: CompileRequest,
    checked: _Checked,
    sink: Sink,
    work: Path,
    root: Path | None,
    progress: Progress,
) -> tuple[CompileOutcome, Standing | None]:
    """Everything but publishing, and what it was added to, if anything. `root` is where the sink keeps its files."""
    known, source, passes, target = checked.known, checked.source, checked.passes, checked.target
    results: list[ComponentResult] = []
    inputs: dict[str, FileDigest] = {}
    verified_before: list[str] = []
    stood = (None if request.again or root is None else certificates(target)) or Certified()
    failed = dict(source.failures)
    refused: TraceError | None = None
    # What nothing can be added to is said before the long work.
    before = _standing(request, source, target, known)
    weights_of = SharedWeights(source.bases)
    stays = () if before is None else before.kept
    check_used(source.loras, [*source.owners, *(component.owner for component in stays)])
    known.begin(target, request.policy, request.target, passes)
    writer = ComponentWriter(request.policy, request.target, passes, request.between, known, sink, progress)
    carried = source.carried()
    for name, text in ({} if carried is None else carried.files).items():
        sink.write(name, [text])
    with _components(request, source, work, progress, failed, weights=True) as components:
        for component in components:
            name = component.name
            progress.stage(name, "digest")
            for given, path in component.inputs.items():
                if given not in inputs:
                    inputs[given] = _digest(path, known, progress)
            graph = target.path.name if target.is_file else component.graph_name
            component = replace(component, graph_name=graph)  # a file of edited weights is called after it
            component = weights_of.with_places(component)
            try:
                rewritten, data_of = writer.graph(component, graph)
            except TraceError as error:
                refused = _refused(failed, component, error, refused)
                continue
            weights_of.keep(component, data_of)
            lossy = writer.weights(component, rewritten, data_of, inputs)
            result = ComponentResult(component, rewritten, graph, lossy)
            if request.target.runtime == "lite":
                result = replace(result, config=write_config(result, request.target, target, sink))
            if root is not None and request.verify != "none":
                progress.stage(name, "verify")
                files = checked.data.get(name, ())
                known_before = _verified_before(request, result, files, stood.entries.get(name), inputs, sink)
                verified_before += [] if known_before is None else [name]
                verification = known_before or verify_staged(
                    Staged.of(result),
                    root / graph,
                    work / name,
                    policy=request.policy,
                    target=request.target,
                    passes=passes,
                    level=request.verify,
                    seed=request.seed,
                    data=files,
                )
                if checked.data and not files:
                    message = "--data has no inputs for it; those of its verification were drawn"
                    verification = replace(verification, warnings=(*verification.warnings, message))
                result = replace(result, verification=verification)
            results.append(result)
    if refused is not None and not results:
        raise refused
    if request.strict_policy:
        request.policy.check_all_matched(queries_of(results))
    told = () if carried is None else carried.warnings
    report = report_of(request.policy, request.target, passes, results, failed, told)
    verified = None
    if request.verify != "none" and root is not None:
        verified = Verification(tuple(r.verification for r in results if r.verification is not None))
    manifest = manifest_of(request.policy, request.target, results, inputs, sink.files, carried)
    standing = _standing(request, source, target, known)
    written = report
    if standing is not None:
        policy = manifest.policy
        manifest = merge_manifest(standing, manifest, source.order)
        written = merge_report(standing, report, standing.manifest.policy == policy, source.order)
        for name, found in standing.kept_files.items():
            if name not in sink.files:
                sink.adopt(name, target.folder / name, found)
    if not request.check and (verified is None or verified.passed):
        # Not in the manifest: figures of a run may differ in the last digit between machines, the output may not.
        content, dropped = certificate(target, manifest, results, inputs, sink.files)
        if content is not None:
            sink.write(target.beside(VERIFICATION), [content])
        sink.write(target.beside(REPORT_PAGE), [page(written, None if content is None else json.loads(content))])
    else:
        dropped = ""
    if not target.is_file:
        manifest = hand_over(manifest, written, sink)
    for document in plugins.documents(request.reporters):
        name = target.beside(document.file)
        if name in sink.files:
            raise document.extension.refused(f"would write {name}, which is another file of this output")
        manifest = with_output(manifest, name, sink.write(name, [document.content(written.to_json())]))
    sink.write(target.beside(REPORT), [written.to_bytes()])
    sink.write(target.beside(MANIFEST), [manifest.to_bytes()])
    kept = () if standing is None else standing.names
    return CompileOutcome(
        report,
        tuple(results),
        _unmet(request, report),
        verified,
        sink.files,
        kept=kept,
        dropped=dropped,
        verified_before=tuple(verified_before),
    ), standing


def _verified_before(
    request: CompileRequest,
    result: ComponentResult,
    data: Sequence[Path],
    stood: Mapping[str, Any] | None,
    inputs: Mapping[str, FileDigest],
    sink: Sink,
) -> ComponentVerification | None:
    """What a certificate that stands in the output tells of the component, if it is of the same files and question."""
    if stood is None or request.verify == "none":
        return None
    asked = asked_of(request.policy, result.component.asked_as, result.component.owner, result.sites)
    own = {name: sink.files[name] for name in (result.graph, *result.variables)}
    if not answers(stood, asked, request.verify, request.seed, data):
        return None
    return recorded(stood) if still_holds(stood, own, original_files(result, inputs, sink.files)) else None


def _standing(request: CompileRequest, source: Source, target: OutputPlace, known: Incremental) -> Standing | None:
    """What a compile of some components is added to, if anything. Raises OutputError where it cannot be."""
    if target.is_file or not (request.components or request.exclude or source.single_file):
        return None
    standing = read_standing(target, {*source.names, *source.failures})
    if standing is not None:
        # To check is to compare, which says the same of a file that is another.
        standing.check(request.target, None if request.check else known.digests.holds, source.loras)
    return standing


@contextlib.contextmanager
def _components(
    request: CompileRequest, source: Source, work: Path, progress: Progress, failed: dict[str, str], *, weights: bool
) -> Iterator[Iterator[Component]]:
    """The components, loaded one after the other; see `_loaded`."""
    for name in source.names:
        (work / name).mkdir()
    with source.opened(work, _jobs(request)) as load:
        yield _loaded(load, source, work, progress, failed, weights=weights)


def _jobs(request: CompileRequest) -> int:
    """How many components are traced at a time."""
    if request.jobs is not None:
        return request.jobs
    if request.verify == "full":  # which takes the memory that a trace beside it was to have
        return 1
    return affordable(processes.cores(), processes.available_memory())


def _loaded(
    load: Load, source: Source, work: Path, progress: Progress, failed: dict[str, str], *, weights: bool
) -> Iterator[Component]:
    """Load one component after the other; one that cannot be traced goes into `failed`, with the reason.

    Raises TraceError, the first, where none can be traced.
    """
    first: TraceError | None = None
    loaded = 0
    for name in source.names:
        folder = work / name
        try:
            component = load(name, progress, weights=weights)
        except TraceError as error:
            failed[name] = _without_paths(str(error), [folder, *source.paths]).removeprefix(f"component {name}: ")
            first = first or error
            continue
        loaded += 1
        yield component
    if first is not None and not loaded:
        raise first


def _refused(failed: dict[str, str], component: Component, error: TraceError, first: TraceError | None) -> TraceError:
    """Leave out a component that was traced and cannot be written; the first error of that kind."""
    failed[component.name] = str(error).rstrip(".")
    return first or error


def _without_paths(text: str, paths: Iterable[Path]) -> str:
    """A message in which `paths` are what the names in it are relative to: the report is the same in any folder."""
    for path in (found for given in paths for found in (given.resolve(), given)):
        text = text.replace(f"{path}/", "").replace(str(path), path.name)
    return text.rstrip(".")


def _unmet(request: CompileRequest, report: Report) -> tuple[str, ...]:
    unmet_requirements = (requirement.unmet(report) for requirement in request.require)
    return tuple(text for text in unmet_requirements if text is not None)


def _compare(target: OutputPlace, outcome: CompileOutcome) -> None:
    """Compare what would be written with what is there; `files` of the outcome are what would be."""
    for name, wanted in (outcome.files or {}).items():
        path = target.folder / name
        if not path.is_file():
            raise RequirementError(f"{target.path} is not up to date: it has no {name}; compile again.")
        if digest(path) != wanted:
            raise RequirementError(f"{target.path} is not up to date: {name} differs; compile again.")


def _digest(path: Path, known: Incremental, progress: Progress) -> FileDigest:
    try:
        return known.digests.of(path, progress.amount)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None
