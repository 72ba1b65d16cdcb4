"""compile(request) → outcome: the story of one compile, top to bottom.

    find the source → for each component: read or trace → rewrite → weights → verify → report and manifest → publish

Nothing is published unless everything held. A component that cannot be traced is left out and told of; the others
are written. `inspect` is the same story without an output. What an earlier compile left in the output, and a cache
folder says would be made again, is taken over: see `attnfuse.incremental`.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from attnfuse import pipeline
from attnfuse.errors import RequirementError, SourceError, TraceError, UsageError
from attnfuse.incremental import Incremental, KnownGraph, KnownWeights, check_apart
from attnfuse.match import SiteRecord
from attnfuse.output import (
    LITE_CONFIG,
    MANIFEST,
    REPORT,
    VERIFICATION,
    Digests,
    FileDigest,
    Place,
    Sink,
    Stage,
    digest,
    place,
)
from attnfuse.policy import Policy, SiteQuery
from attnfuse.progress import Progress, Silent
from attnfuse.report.build import component_entry
from attnfuse.report.build import report as build_report
from attnfuse.report.model import FileEntry, Manifest, ManifestComponent, Report, RuleEntry, TensorEntry
from attnfuse.report.require import Requirement
from attnfuse.rewriting import After, Rewritten, at_batches, rewrite
from attnfuse.sources import Component, Source, open_source
from attnfuse.targets import LITE_CONFIG as LITE_CONFIG_TEXT
from attnfuse.targets import Target
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.inputs import GivenCall
from attnfuse.verify import ComponentVerification, Verification, require_executor, verify_batches, verify_component
from attnfuse.version import TESTED_MINDSPORE, __version__

VerifyLevel: TypeAlias = Literal["none", "static", "full"]

VERIFIED_BATCHES = (1, 2)
"""Where a component for any batch is verified: at one row some operators broadcast that do not at several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileRequest:
    """What to compile, for whom, and where to.

    `source` is a pipeline folder, a hub id, `demo:NAME` or a `.mindir` file, or a source that is open already.
    `output` None writes nothing (a dry run); with `check` nothing is written either, and what would be is held
    against what stands there. `seed` is that of the inputs drawn by verification. `cache` is a folder that says what
    earlier compiles came to: see `attnfuse.incremental`. `after` is called after each pass over each component, and has
    each graph made anew.
    """

    source: str | Source
    output: Path | None = None
    components: tuple[str, ...] = ()
    dtype: str | None = None
    shapes: ShapeOptions = field(default_factory=ShapeOptions)
    given: tuple[GivenCall, ...] = ()
    target: Target = field(default_factory=lambda: Target("lite", "ascend910b"))
    policy: Policy = field(default_factory=Policy)
    require: tuple[Requirement, ...] = ()
    verify: VerifyLevel = "none"
    seed: int = 0
    check: bool = False
    cache: Path | None = None
    after: After | None = None


@dataclass(frozen=True, slots=True)
class ComponentResult:
    """One component, and what became of its graph."""

    component: Component
    rewritten: Rewritten
    verification: ComponentVerification | None = None

    @property
    def name(self) -> str:
        return self.component.name

    @property
    def sites(self) -> Mapping[str, SiteRecord]:
        """What became of each site, by site id."""
        return self.rewritten.sites


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request. `unmet` are requirements that do not hold; with any, nothing was written.

    `files` are those of the output, by name relative to it, as written (or, with `check`, as they would be). The
    components that could not be traced are in the report's `failed`. `trouble` is why something could not be kept in
    the cache, which harms nothing but the next compile.
    """

    report: Report
    components: tuple[ComponentResult, ...]
    unmet: tuple[str, ...] = ()
    verification: Verification | None = None
    files: Mapping[str, FileDigest] | None = None
    written: bool = False
    trouble: str = ""


def inspect(request: CompileRequest, progress: Progress | None = None) -> Outcome:
    """The census of a source, with or without weights; nothing is written. Raises as `compile` does."""
    return _census(request, progress or Silent(), weights=False)


def compile(request: CompileRequest, progress: Progress | None = None) -> Outcome:  # noqa: A001  # it is what it does
    """Compile a source.

    Raises UsageError, PolicyError, SourceError, TraceError, OutputError for what the user can mend,
    VerificationError where verification cannot be carried out, RequirementError where `check` finds a difference,
    InternalError for a defect. A requirement that does not hold, or a verification that fails, is told in the
    outcome. Whatever happens, the output is as it was or whole.
    """
    progress = progress or Silent()
    if request.output is None:
        if request.verify != "none":
            raise UsageError("--dry-run writes no graph that could be verified; drop it or --verify.")
        return _census(request, progress, weights=True)
    if request.verify != "none":
        require_executor(request.verify)
    known, source = _open(request)
    target = place(request.output, source.paths)
    if target.is_file and not source.single_file:
        raise UsageError(f"the output {request.output} is one file, and {_told(request)} a pipeline; name a folder.")
    if request.check:
        if request.verify != "none":
            raise UsageError("--check compares and does not verify; drop it or --verify.")
        with _work_folder() as work:
            outcome = _produce(request, source, target, known, Digests(), work, None, progress)
        _compare(target, outcome)
        return outcome
    with Stage(target) as stage:
        outcome = _produce(request, source, target, known, stage, stage.work, stage.root, progress)
        if outcome.unmet or (outcome.verification is not None and not outcome.verification.passed):
            return outcome
        progress.stage("", "write")
        stage.publish()
    known.end(stage)
    return replace(outcome, written=True, trouble=known.trouble)


def _told(request: CompileRequest) -> str:
    return request.source if isinstance(request.source, str) else "the source"


def _open(request: CompileRequest) -> tuple[Incremental, Source]:
    if not isinstance(request.source, str):
        return Incremental(None), request.source
    if request.cache is not None:
        check_apart(request.cache, request.output, Path(request.source))
    known = Incremental(request.cache, check=request.check)
    source = open_source(request.source, request.components, request.dtype, request.shapes, request.given, known.traces)
    return known, source


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _census(request: CompileRequest, progress: Progress, *, weights: bool) -> Outcome:
    known, source = _open(request)
    passes = pipeline.discover()
    failed = dict(source.failures)
    results: list[ComponentResult] = []
    refused: TraceError | None = None
    with _work_folder() as work:
        for component in _components(source, work, progress, failed, weights=weights):
            progress.stage(component.name, "rewrite")
            try:
                rewritten, _ = rewrite(component, request.policy, request.target, passes, request.after)
            except TraceError as error:
                refused = _refused(failed, component, error, refused)
                continue
            results.append(ComponentResult(component, rewritten))
    if refused is not None and not results:
        raise refused
    report = _report(request, results, failed)
    return Outcome(report, tuple(results), _unmet(request, report), trouble=known.trouble)


def _produce(
    request: CompileRequest,
    source: Source,
    target: Place,
    known: Incremental,
    sink: Sink,
    work: Path,
    root: Path | None,
    progress: Progress,
) -> Outcome:
    """Everything but publishing. `root` is where the sink's files lie, if it keeps them."""
    passes = pipeline.discover()
    results: list[ComponentResult] = []
    entries: list[ManifestComponent] = []
    inputs: dict[str, FileDigest] = {}
    warnings: list[str] = []
    failed = dict(source.failures)
    refused: TraceError | None = None
    known.begin(target, request.policy, request.target, passes)
    for component in _components(source, work, progress, failed, weights=True):
        name = component.name
        progress.stage(name, "digest")
        for given, path in component.inputs.items():
            if given not in inputs:
                inputs[given] = _digest(path, known, progress)
        graph = target.path.name if target.is_file else component.graph_name
        try:
            rewritten = _write_graph(component, graph, request, passes, known, sink, progress)
        except TraceError as error:
            refused = _refused(failed, component, error, refused)
            continue
        result = ComponentResult(component, rewritten)
        lossy = _write_weights(component, inputs, known, sink, progress)
        warnings += [f"{name}: parameter {p!r} has values too large for its type; they became infinite" for p in lossy]
        if root is not None and request.verify != "none":
            progress.stage(name, "verify")
            verification = _verify(request, result, passes, root / graph, work / name, request.verify)
            result = replace(result, verification=verification)
        results.append(result)
        entries.append(_manifest_component(result, graph))
    if refused is not None and not results:
        raise refused
    report = _report(request, results, failed, warnings)
    verified = None
    if request.verify != "none" and root is not None:
        verified = Verification(tuple(r.verification for r in results if r.verification is not None))
    if request.target.runtime == "lite":
        sink.write(target.beside(LITE_CONFIG), [LITE_CONFIG_TEXT.encode()])
    manifest = Manifest(
        versions=_versions(results),
        runtime=request.target.runtime,
        soc=request.target.soc,
        policy=tuple(
            RuleEntry(
                rule=r.label,
                match=r.match,
                flash=r.flash,
                force_cast_dtype=r.force_cast_dtype,
                masked_rows=r.masked_rows,
                min_sequence_length=r.min_sequence_length,
                head_dim=r.head_dim,
                dtype=r.dtype,
                attention=r.attention,
            )
            for r in request.policy.rules
        ),
        components=tuple(entries),
        inputs={name: _file_entry(found) for name, found in sorted(inputs.items())},
        outputs={name: _file_entry(found) for name, found in sorted(sink.files.items())},
    )
    sink.write(target.beside(REPORT), [report.to_bytes()])
    sink.write(target.beside(MANIFEST), [manifest.to_bytes()])
    if verified is not None:
        # Not in the manifest: figures of a run may differ in the last digit between machines, the output may not.
        sink.write(target.beside(VERIFICATION), [_json_bytes(verified)])
    return Outcome(report, tuple(results), _unmet(request, report), verified, sink.files)


def _components(
    source: Source, work: Path, progress: Progress, failed: dict[str, str], *, weights: bool
) -> Iterator[Component]:
    """Load one component after the other; one that cannot be traced goes into `failed`, with the reason.

    Raises TraceError, the first, where none can be traced.
    """
    first: TraceError | None = None
    loaded = 0
    for name in source.names:
        folder = work / name
        folder.mkdir()
        try:
            component = source.load(name, folder, progress, weights=weights)
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


def _write_graph(
    component: Component,
    name: str,
    request: CompileRequest,
    passes: Sequence[pipeline.Pass],
    known: Incremental,
    sink: Sink,
    progress: Progress,
) -> Rewritten:
    """Hand the component's graph to the sink as `name`: rewritten, or as it stands in the output."""
    standing = known.graph(component, name) if request.after is None else None
    if standing is not None:
        progress.stage(component.name, "unchanged")
        sink.adopt(name, known.standing(name), standing.file)
        return standing.rewritten
    progress.stage(component.name, "rewrite")
    rewritten, data = rewrite(component, request.policy, request.target, passes, request.after)
    known.keep_graph(component, KnownGraph(rewritten, sink.write(name, [data])))
    return rewritten


def _write_weights(
    component: Component, inputs: Mapping[str, FileDigest], known: Incremental, sink: Sink, progress: Progress
) -> tuple[str, ...]:
    """Hand the component's weights to the sink; the parameters that lost values to their type."""
    for location, path in component.adopted.items():
        sink.adopt(location, path, inputs[location])
    if component.streamed_name is None:
        return ()
    standing = known.weights(component)
    if standing is not None:
        sink.adopt(component.streamed_name, known.standing(component.streamed_name), standing.file)
        return standing.lossy
    progress.stage(component.name, "weights")
    lossy: list[str] = []
    written = sink.write(component.streamed_name, component.weight_chunks(progress, lossy))
    known.keep_weights(component, KnownWeights(written, tuple(lossy)))
    return tuple(lossy)


def _verify(
    request: CompileRequest,
    result: ComponentResult,
    passes: Sequence[pipeline.Pass],
    fused: Path,
    work: Path,
    level: Literal["static", "full"],
) -> ComponentVerification:
    """Check the staged graph against the source's; a traced one is put beside the same variables for it."""
    component = result.component
    folder = work / "verify"
    folder.mkdir()
    compute = _compute_asked(request.policy, result)
    if component.batches:
        pairs = {}
        graphs = at_batches(component, request.policy, request.target, passes, VERIFIED_BATCHES)
        for batch, (source, made) in graphs.items():
            place = work / f"at_{batch}"
            pairs[batch] = (
                _beside_weights(place / "original", component, source, fused.parent),
                _beside_weights(place / "fused", component, made, fused.parent),
            )
        return verify_batches(
            name=component.name,
            written=fused,
            pairs=pairs,
            level=level,
            seed=request.seed,
            work=folder,
            compute=compute,
        )
    original = component.original
    if original is None:
        original = _beside_weights(work / "original", component, component.data, fused.parent)
    return verify_component(
        name=component.name,
        original=original,
        fused=fused,
        level=level,
        seed=request.seed,
        work=folder,
        compute=compute,
    )


def _beside_weights(folder: Path, component: Component, data: bytes, variables: Path) -> Path:
    """The graph written into a new folder, beside links to the component's weights in `variables`."""
    folder.mkdir(parents=True)
    graph = folder / component.graph_name
    graph.write_bytes(data)
    for name in component.variables:
        linked = folder / name
        linked.parent.mkdir(parents=True, exist_ok=True)
        linked.hardlink_to(variables / name)
    return graph


def _compute_asked(policy: Policy, result: ComponentResult) -> dict[str, str]:
    """For the result of each formula that was fused: the dtype asked for where the source's own is none of 16 bits."""
    asked = {}
    for record in result.sites.values():
        if record.status != "fused" or record.form != "formula" or record.facts.dtype in ("float16", "bfloat16"):
            continue
        decision = policy.decide(SiteQuery(result.name, result.component.owner, record.module, record.facts))
        if decision.force_cast_dtype is not None:
            asked[record.anchor] = decision.force_cast_dtype.name
    return asked


def _report(
    request: CompileRequest,
    results: Sequence[ComponentResult],
    failed: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> Report:
    queries = [
        SiteQuery(result.name, result.component.owner, record.module, record.facts)
        for result in results
        for record in result.sites.values()
    ]
    told = [f"{result.name}: {warning}" for result in results for warning in result.component.warnings]
    slips = [f"the policy's {rule.label} matches no site" for rule in request.policy.unmatched(queries)]
    entries = [
        component_entry(r.name, made.nodes, list(made.sites.values()), made.legalised, made.outside)
        for r in results
        for made in (r.rewritten,)
    ]
    return build_report(request.target, entries, [*_untested(results), *slips, *told, *warnings], failed)


def _untested(results: Sequence[ComponentResult]) -> list[str]:
    """A warning for each MindSpore that graphs came from and the tests do not know."""
    found = {result.component.versions["mindspore"] for result in results if "mindspore" in result.component.versions}
    tested = " and ".join(TESTED_MINDSPORE)
    return [
        f"a graph of MindSpore {version}: attnfuse is tested with {tested}; verify the result (--verify full)"
        for version in sorted(found - {*TESTED_MINDSPORE})
    ]


def decisions(policy: Policy, outcome: Outcome) -> list[dict[str, Any]]:
    """What a policy says to each attention site of an outcome, with the deciding rules and what is known of the site.

    Sites that are no attention are left out: nobody asks about them.
    """
    shown = []
    for result in outcome.components:
        for name, record in result.sites.items():
            if record.status == "not_attention":
                continue
            decision = policy.decide(SiteQuery(result.name, result.component.owner, record.module, record.facts))
            cast = decision.force_cast_dtype
            shown.append(
                {
                    "id": name,
                    "flash": decision.flash,
                    "flash_rule": decision.flash_rule,
                    "force_cast_dtype": None if cast is None else cast.name,
                    "force_cast_dtype_rule": decision.cast_rule,
                    "masked_rows": "attended" if decision.rows_attended else "keep",
                    "masked_rows_rule": decision.rows_rule,
                    **asdict(record.facts),
                }
            )
    return shown


def _unmet(request: CompileRequest, report: Report) -> tuple[str, ...]:
    told = (requirement.unmet(report.totals) for requirement in request.require)
    return tuple(text for text in told if text is not None)


def _compare(target: Place, outcome: Outcome) -> None:
    """Hold what would be written against what is there; `files` of the outcome are what would be."""
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


def _file_entry(found: FileDigest) -> FileEntry:
    return FileEntry(sha256=found.sha256, bytes=found.bytes)


def _versions(results: Sequence[ComponentResult]) -> dict[str, str]:
    versions = {"attnfuse": __version__}
    for result in results:
        versions.update(result.component.versions)
    return dict(sorted(versions.items()))


def _manifest_component(result: ComponentResult, graph: str) -> ManifestComponent:
    component = result.component
    outputs = result.rewritten.outputs
    if component.outputs is not None:
        outputs = tuple(TensorEntry(name=o.name, shape=o.shape, dtype=o.dtype) for o in component.outputs)
    return ManifestComponent(
        name=component.name,
        owner=component.owner,
        graph=graph,
        variables=component.variables,
        inputs=result.rewritten.inputs,
        outputs=outputs,
    )


def _json_bytes(verification: Verification) -> bytes:
    return (json.dumps(verification.to_json(), indent=1, ensure_ascii=False) + "\n").encode()
