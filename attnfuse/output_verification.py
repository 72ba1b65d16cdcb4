"""Verifies what a compile wrote, later: every component of an output, against its source or by itself.

With the source, each component is traced again and its graph held against the one that was written, as `--verify` does
it, with the policy that the manifest tells; its weights are held to the checkpoint's by their digest. Without, there
is nothing to compare with: files are held to the manifest's digests, graphs to their own rules and to MindSpore's
inference, and numbers are as verified as the certificate that stands there says.

What was verified is kept in the output's certificate. A component whose files, source, policy, level, seed and data are
those of a certificate is not verified again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from attnfuse import documents, pass_manager
from attnfuse.component import Component
from attnfuse.errors import OutputError, SourceError, UsageError, VerificationError
from attnfuse.incremental import Incremental, check_apart
from attnfuse.lora.fitting import baked_in
from attnfuse.lora.given import Given
from attnfuse.mindir import codec, external
from attnfuse.mindir.edits import edited_weight
from attnfuse.mindir.external import parameter_name
from attnfuse.output import (
    MANIFEST,
    REPORT,
    REPORT_PAGE,
    VERIFICATION,
    Digests,
    FileDigest,
    OutputPlace,
    OutputStage,
    digest,
    no_output,
    schema_of,
)
from attnfuse.policy import PassOption, Policy
from attnfuse.progress import Progress, Silent
from attnfuse.report.model import ComponentEntry, Manifest, ManifestComponent, Report
from attnfuse.report.page import page
from attnfuse.rewriting import original_at, rewrite
from attnfuse.shared_weights import with_places_in
from attnfuse.source_files import SUFFIX, check_same_vae
from attnfuse.sources import Load, Source, open_source
from attnfuse.staged_verification import Asked, Staged, answers, asked_of, is_as_full, recorded, verify_staged
from attnfuse.standing import STAYS, Certified, certificates, says_more, still_holds
from attnfuse.store.places import Place
from attnfuse.targets import Target
from attnfuse.tracing.contract import DEFAULT_WAY, NOTHING_NAMED, Fetch, ShapeOptions, Size, Way
from attnfuse.tracing.inputs import GivenCall
from attnfuse.tracing.parts import Terms
from attnfuse.verify import (
    VERIFIED_BATCHES,
    ComponentVerification,
    Level,
    Verification,
    data_files,
    require_executor,
    verify_alone,
)
from attnfuse.written_weights import streamed_chunks

NO_SOURCE = "nothing was compared with the source: attnfuse verify SOURCE OUT does that"
UNREAD = f"the certificate is damaged or of another version of attnfuse, so {NO_SOURCE}"
UNSOUND = f"the certificate does not count, so {NO_SOURCE}"
LESS = "the certificate tells of --level {0}, and this is of --level {1}: ask for {0}, or attnfuse verify SOURCE OUT"
_Document = TypeVar("_Document", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Written:
    """An output as its documents tell it."""

    place: OutputPlace
    manifest: Manifest
    report: Report

    def asked(self, component: ManifestComponent) -> Asked:
        """What the policy says to the component's sites."""
        name = component.base or component.name
        return asked_of(self.policy(component), name, component.owner, self.entry(component).sites)

    def policy(self, component: ManifestComponent) -> Policy:
        """The rules that it was compiled with, and the options of the passes."""
        rules = self.manifest.policy if component.policy is None else component.policy
        where, options = f"the {REPORT} of {self.place.path}", []
        for name, value in self.entry(component).options.items():
            step, _, option = name.partition(".")
            options.append(PassOption(where, step, option, value))
        return Policy(rules, tuple(options))

    def entry(self, component: ManifestComponent) -> ComponentEntry:
        """What the report says of it."""
        found = next((entry for entry in self.report.components if entry.name == component.name), None)
        if found is None:
            raise SourceError(f"{self.place.path} is damaged: its {REPORT} has no entry for {component.name}.")
        return found

    def files(self, component: ManifestComponent) -> dict[str, FileDigest]:
        """Its files by name, as they were written."""
        named = (component.graph, *component.variables)
        if missing := [name for name in named if name not in self.manifest.outputs]:
            raise SourceError(f"{self.place.path} is damaged: its {MANIFEST} has no entry for {missing[0]}.")
        return {name: self.manifest.outputs[name] for name in named}


def read_written(output: Path) -> Written:
    """The documents of an output folder, or of a graph file that has its own beside it.

    Raises SourceError where they are missing, damaged or of another version.
    """
    place = OutputPlace(Path(os.path.realpath(output)), output.suffix == SUFFIX and not output.is_dir())
    return Written(place, _read(Manifest, place, MANIFEST), _read(Report, place, REPORT))


def _read(kind: type[_Document], place: OutputPlace, name: str) -> _Document:
    path = place.folder / place.beside(name)
    try:
        content = documents.read_bytes(path)
        return kind.model_validate_json(content)
    except FileNotFoundError:
        raise SourceError(_missing(place, name)) from None
    except NotADirectoryError:
        raise SourceError(f"{no_output(place.path)}.") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValidationError:
        found, wanted = schema_of(content), kind.model_fields["schema_"].default
        what = f"is {found}, and this attnfuse reads {wanted}" if found not in (None, wanted) else "is damaged"
        raise SourceError(f"{path} {what}; compile again.") from None


def _missing(place: OutputPlace, name: str) -> str:
    """What is wrong where a document is not there."""
    if name == MANIFEST:
        return f"{no_output(place.path)}."
    return f"{place.path} is damaged: its {place.beside(name)} is missing; compile again."


def asked_beside(graph: Path) -> Asked:
    """What the output that a graph file lies in tells of its sites; nothing where no output of ours has that graph."""
    for output in (graph.parent, graph):
        with contextlib.suppress(SourceError, OSError):
            written = read_written(output)
            for component in written.manifest.components:
                path = written.place.folder / component.graph
                if path == Path(os.path.realpath(graph)) and digest(path) == written.files(component)[component.graph]:
                    return written.asked(component)
    return Asked()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """The source that an output was compiled from, and the options that shaped its graphs; see `CompileRequest`."""

    source: str
    components: tuple[str, ...] = ()
    dtype: str | None = None
    shapes: ShapeOptions = field(default_factory=ShapeOptions)
    sizes: tuple[Size, ...] = ()
    given: tuple[GivenCall, ...] = ()
    loras: tuple[Given, ...] = ()
    fetch: Fetch = NOTHING_NAMED
    cache: Place | None = None
    cache_key: Path | None = None
    strict_config: bool = False
    trace: Way = DEFAULT_WAY


def open_for(output: Path, request: SourceRequest) -> Source:
    """The source for the components of an output; nothing is traced yet. Raises as `open_source` does, and as
    `read_written`."""
    written = read_written(output)
    if request.cache is not None:
        check_apart(request.cache, output, Path(request.source))
    components = written.manifest.components
    bases = {component.name: component.base or component.name for component in components}
    names = tuple(dict.fromkeys(bases.get(name, name) for name in request.components or bases))
    target = Target(written.manifest.runtime, written.manifest.soc)
    return open_source(
        request.source,
        names,
        request.dtype,
        request.shapes,
        request.given,
        Incremental(request.cache, request.cache_key).traces,
        Terms(floats=target.floats, strict_config=request.strict_config, fetch=request.fetch),
        request.trace,
        request.loras,
        request.sizes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """What to verify of an output. `source` is the one it was compiled from, None for none; `again` verifies what a
    certificate holds for, too."""

    output: Path
    source: Source | None = None
    components: tuple[str, ...] = ()
    level: Level = "full"
    seed: int = 0
    data: Path | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of it. `kept` are components that were verified before, of the same files; `remarks` are sentences
    about certificates that do not count, or say more than what was verified now and stay; `unwritten` is why the
    certificate could not be written, or nothing."""

    verification: Verification
    kept: tuple[str, ...] = ()
    unwritten: str = ""
    remarks: tuple[str, ...] = ()


def verify_output(request: VerifyRequest, progress: Progress | None = None) -> Verified:
    """Verify an output, component by component; those that passed are in its certificate then.

    Raises UsageError for components that it does not have, SourceError where its documents or the source cannot be
    read, VerificationError where a check cannot be carried out, and where a file that a loop reads, a tokenizer's or a
    configuration, is not what was written.
    """
    progress = progress or Silent()
    written = read_written(request.output)
    chosen = _chosen(written, request)
    _check_carried(written)
    if request.source is not None:
        require_executor(request.level)
    data = {} if request.data is None else data_files(request.data, [component.name for component in chosen])
    found = certificates(written.place)
    stood = found or Certified()
    known = {} if request.again else stood.entries
    results: dict[str, ComponentVerification] = {}
    kept = []
    with _work_folder(written.place) as work, _loading(request, chosen, work) as load:
        for component in chosen:
            progress.stage(component.name, "digest")
            unknown = UNREAD if found is None else UNSOUND if component.name in stood.faults else NO_SOURCE
            job = _Job(written, component, request, data.get(component.name, ()), work, progress, load, unknown)
            results[component.name], is_kept = job.run(known.get(component.name))
            kept += [component.name] if is_kept else []
    verification = Verification(tuple(results.values()))
    then = "no source is named to verify it with anew" if request.source is None else "it was verified anew"
    remarks = [*stood.said(then)]
    fresh: dict[str, Mapping[str, Any] | None] = {}
    for name, result in results.items():
        if name in kept or request.source is None:
            continue
        fresh[name] = result.to_json() if result.passed else None
        before, after = stood.entries.get(name), fresh[name]
        if before is not None and after is not None and says_more(before, after):
            fresh[name] = before
            remarks.append(STAYS.format(name))
    unwritten = _keep(written, fresh, stood.entries) if fresh else ""
    return Verified(verification, tuple(kept), unwritten, tuple(remarks))


def _chosen(written: Written, request: VerifyRequest) -> list[ManifestComponent]:
    names = [component.name for component in written.manifest.components]
    for name in request.components:
        if name not in names:
            raise UsageError(f"{request.output} has no component {name!r}; it has {', '.join(names)}.")
    if request.source is not None:
        for name in request.components or names:
            if name not in request.source.names:
                other = any(component.name == name and component.base for component in written.manifest.components)
                cure = "; give every --size that it was compiled with, in order" if other else ""
                raise UsageError(f"the source has no component {name!r}, which {request.output} holds{cure}.")
    return [c for c in written.manifest.components if not request.components or c.name in request.components]


def _check_carried(written: Written) -> None:
    """Raise VerificationError where a file of the pipeline is not what was written: it belongs to no component."""
    pipeline, outputs = written.manifest.pipeline, written.manifest.outputs
    for name in () if pipeline is None else pipeline.files:
        if name not in outputs:
            raise SourceError(f"{written.place.path} is damaged: its {MANIFEST} has no entry for {name}.")
        path = written.place.folder / name
        if _difference(path, outputs[name]):
            raise VerificationError(f"{path} is not what attnfuse wrote there; compile again.")


@contextlib.contextmanager
def _work_folder(place: OutputPlace) -> Iterator[Path]:
    """Beside the output, so that its weights can be linked; elsewhere where nothing can be written there."""
    try:
        stage = OutputStage(place)
    except OutputError:
        with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    with stage:
        yield stage.work


@contextlib.contextmanager
def _loading(request: VerifyRequest, chosen: Sequence[ManifestComponent], work: Path) -> Iterator[Load | None]:
    """What loads components of the source, if there is one; each has an empty folder of its name in `work`."""
    for component in chosen:
        (work / component.name).mkdir()
    if request.source is None:
        yield None
        return
    with request.source.opened(work, 1) as load:
        yield load


@dataclass(frozen=True, slots=True)
class _Job:
    """One component of an output."""

    written: Written
    component: ManifestComponent
    request: VerifyRequest
    data: Sequence[Path]
    work: Path
    progress: Progress
    load: Load | None
    unknown: str = NO_SOURCE
    """Why its numbers are not known where no certificate tells of them."""

    @property
    def folder(self) -> Path:
        return self.written.place.folder

    def run(self, stood: Mapping[str, Any] | None) -> tuple[ComponentVerification, bool]:
        """What was found, and whether that was known before."""
        files, asked = self.written.files(self.component), self.written.asked(self.component)
        differing = [text for name, found in files.items() if (text := _difference(self.folder / name, found))]
        if differing:
            failed = ComponentVerification(
                name=self.component.name, level=self.request.level, seed=self.request.seed, findings=tuple(differing)
            )
            return failed, False
        work = self.work / self.component.name
        if self.load is None:
            return self._alone(files, stood)
        source = self.load(self.component.name, self.progress, weights=True)
        if baked_in(source.fixed) != baked_in(self.component.fixed):
            raise UsageError(
                f"{self.component.name} of {self.request.output} was compiled with other LoRAs, textual inversions or "
                f"IP-Adapters than --lora, --textual-inversion and --ip-adapter give (see fixed in its {MANIFEST}); "
                "give the same."
            )
        fixed = ([one.name for one in of] for of in (source.fixed, self.component.fixed))
        check_same_vae(f"{self.component.name} of {self.request.output}", *fixed)
        changed = self._changed_inputs(source)
        if (
            stood is not None
            and not changed
            and answers(stood, asked, self.request.level, self.request.seed, self.data)
            and still_holds(stood, files, _original(source, files, holds_others=self._holds_others(source)))
        ):
            return recorded(stood), True
        return self._against(source, work, changed), False

    def _alone(
        self, files: Mapping[str, FileDigest], stood: Mapping[str, Any] | None
    ) -> tuple[ComponentVerification, bool]:
        """By the certificate where there is one of these files; else what the graph itself tells."""
        unknown = self.unknown
        if stood is not None and still_holds(stood, files, None):
            if is_as_full(stood, self.request.level):
                return recorded(stood), True
            if (level := recorded(stood).level) != "static":
                unknown = LESS.format(level, self.request.level)
        self.progress.stage(self.component.name, "verify")
        entry = self.written.entry(self.component)
        work = self.work / self.component.name
        fused = sum(record.status == "fused" for record in entry.sites)
        found = verify_alone(self.component.name, self.folder / self.component.graph, work)
        findings = list(found.findings)
        if found.fused_nodes < (1 if fused else 0):
            findings.append(f"the report tells of {fused} fused sites, and the graph has no fused node.")
        return replace(found, findings=tuple(findings), not_verified=(*found.not_verified, unknown)), False

    def _changed_inputs(self, source: Component) -> list[str]:
        """The source's files that are not those that the component was compiled from."""
        known = self.written.manifest.inputs
        return [name for name, path in source.inputs.items() if name not in known or digest(path) != known[name]]

    def _holds_others(self, source: Component) -> bool:
        """Whether the graph has weights that are made of the source's, or lie in another component's file."""
        if source.base:
            return True
        names = {parameter_name(p) for p in external.parameters(source.parse())}
        path = self.folder / self.component.graph
        graph = codec.parse(codec.read_bytes(path), str(path))
        return any(edited_weight(parameter_name(p), names) is not None for p in external.parameters(graph))

    def _against(self, source: Component, work: Path, changed: Sequence[str]) -> ComponentVerification:
        manifest, policy = self.written.manifest, self.written.policy(self.component)
        target, passes = Target(manifest.runtime, manifest.soc), pass_manager.chosen(policy.options)
        fused = self.folder / self.component.graph
        source = replace(with_places_in(source, fused), graph_name=self.component.graph)
        findings = self._weights(source)
        if source.batches and rewrite(source, policy, target, passes)[1] != codec.read_bytes(fused):
            raise UsageError(f"{fused} is for any batch and not what this attnfuse writes; compile it again.")
        self.progress.stage(self.component.name, "verify")
        staged = Staged(
            source, self.written.entry(self.component).sites, self.component.variables, self._holds_others(source)
        )
        found = verify_staged(
            staged,
            fused,
            work,
            policy=policy,
            target=target,
            passes=passes,
            level=self.request.level,
            seed=self.request.seed,
            data=self.data,
        )
        notes = [f"{name} of the source is not what the component was compiled from" for name in changed]
        return replace(found, findings=(*findings, *found.findings), notes=(*found.notes, *notes))

    def _weights(self, source: Component) -> list[str]:
        """Whether streamed weights are the checkpoint's, and adopted ones the source's files."""
        known = self.written.files(self.component)
        findings = [
            f"{name} does not hold the source's weights: its digest differs."
            for name, path in source.adopted.items()
            if name in known and digest(path) != known[name]
        ]
        location = source.streamed_name
        if location is None or location not in known:
            return findings
        self.progress.stage(self.component.name, "weights")
        path = self.folder / self.component.graph
        graph = codec.parse(codec.read_bytes(path), str(path)) if self._holds_others(source) else source.parse()
        if Digests().write(location, streamed_chunks(source, graph, location, self.progress, [])) != known[location]:
            findings.append(f"{location} does not hold the source's weights: its digest differs.")
        return findings


def _difference(path: Path, known: FileDigest) -> str:
    """What is wrong with a file of the output, or nothing."""
    try:
        return "" if digest(path) == known else f"{path.name} is not what was written: its digest differs."
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror or error}."


def _original(
    source: Component, files: Mapping[str, FileDigest], *, holds_others: bool
) -> tuple[str, dict[str, FileDigest]]:
    """What a certificate says of the source's side, as `verify_staged` has it."""
    data = original_at(source, VERIFIED_BATCHES[0]) if source.batches else source.data
    if source.original is not None:
        weights = {name: digest(path) for name, path in source.adopted.items()}
    else:
        weights = {} if holds_others else {name: files[name] for name in source.variables}
    return hashlib.sha256(data).hexdigest(), weights


def _keep(written: Written, fresh: Mapping[str, Any], stood: Mapping[str, Any]) -> str:
    """Put what is `fresh` into the certificate, None where it failed, beside what holds there; why it could not be
    written, or nothing."""
    names = [component.name for component in written.manifest.components]
    entries = [entry for name in names if (entry := fresh.get(name, stood.get(name))) is not None]
    place = written.place
    complete = not any(entry.get("not_verified") for entry in entries)
    document = {**Verification(()).to_json(), "complete": complete, "components": entries}
    content = (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode() if entries else None
    shown = page(written.report, None if content is None else json.loads(content))
    for name, made in ((VERIFICATION, content), (REPORT_PAGE, shown)):
        path = place.folder / place.beside(name)
        try:
            _replace(path, made)
        except OSError as error:
            return f"{path} cannot be written: {error.strerror or error}"
    return ""


def _replace(path: Path, content: bytes | None) -> None:
    """Give a file that content, whole or not at all; take it away where there is none."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(path)
