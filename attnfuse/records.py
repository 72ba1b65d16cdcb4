"""From what became of components to documents: report, manifest, certificate."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from attnfuse import pass_manager
from attnfuse.component import Component
from attnfuse.decisions import SiteRecord
from attnfuse.names import counted
from attnfuse.output import FileDigest, OutputPlace
from attnfuse.plugins import load as installed_extensions
from attnfuse.policy import DECISIONS_SCHEMA, Policy, PolicyDecision, SiteQuery
from attnfuse.report.build import component_entry, type_warnings
from attnfuse.report.build import report as build_report
from attnfuse.report.model import Manifest, ManifestComponent, ManifestInput, ManifestPipeline, ManifestVae, Report
from attnfuse.rewriting import Rewritten, original_at
from attnfuse.serialisation import to_json
from attnfuse.standing import STAYS, certificates, says_more, still_holds
from attnfuse.targets import Target
from attnfuse.targets.converter import converted_type
from attnfuse.targets.nodes import judged_by
from attnfuse.tracing.carried import Carried
from attnfuse.tracing.contract import TensorSpec
from attnfuse.verify import VERIFIED_BATCHES, ComponentVerification, Verification
from attnfuse.version import TESTED_MINDSPORE, __version__


@dataclass(frozen=True, slots=True)
class ComponentResult:
    """One component, and what became of its graph.

    `graph` is the file's name in the output, `lossy` the parameters that lost values to their type, `config` the file
    that MindSpore Lite is to be given with it.
    """

    component: Component
    rewritten: Rewritten
    graph: str = ""
    lossy: tuple[str, ...] = ()
    verification: ComponentVerification | None = None
    config: str | None = None

    @property
    def name(self) -> str:
        return self.component.name

    @property
    def variables(self) -> tuple[str, ...]:
        """The files beside the result's graph, relative to it."""
        beside = self.rewritten.edited_file
        if self.rewritten.files:
            return self.rewritten.files
        return (*self.component.variables, beside) if beside else self.component.variables

    @property
    def holds_others(self) -> bool:
        """Whether weights of a traced component were edited, or lie in another's file."""
        return self.component.original is None and bool(self.rewritten.edited or self.component.base)

    @property
    def sites(self) -> tuple[SiteRecord, ...]:
        """What became of each site."""
        return self.rewritten.sites


def report_of(
    policy: Policy,
    target: Target,
    passes: Sequence[pass_manager.Pass],
    results: Sequence[ComponentResult],
    failed: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> Report:
    """The report of a compile by these passes.

    `failed` are the components that could not be had, with the reasons, `warnings` what else is to be told.
    """
    options, plugins = pass_manager.options_of(passes), _plugin_versions()
    unmatched = [f"the policy's {rule.label} matches no site" for rule in policy.unmatched(queries_of(results))]
    entries = [
        component_entry(
            r.name,
            made.nodes,
            made.sites,
            made.legalised,
            made.unsupported,
            made.cost,
            made.beside,
            r.component.fixed,
            r.component.dtype,
            r.component.dtype_from,
            r.component.traced,
            options,
            plugins,
            made.not_rewritten,
            made.simplified,
            made.without_kernel,
        )
        for r in results
        for made in (r.rewritten,)
    ]
    own = [text for result in results for text in _warnings(result, target)]
    return build_report(target, entries, [*_untested(results), *warnings, *unmatched, *own], failed)


def _warnings(result: ComponentResult, target: Target) -> Iterator[str]:
    """Those about one component, each beginning with its name."""
    yield from (f"{result.name}: {warning}" for warning in result.component.warnings)
    yield from type_warnings(target, result.name, result.rewritten.unsupported)
    restored = Counter(site.reason for site in result.sites if _was_fused(site))
    for reason, count in restored.items():
        yield f"{result.name}: of the source, {counted(count, 'fused node')} did not stay fused: {reason}"
    for parameter in result.lossy:
        yield f"{result.name}: parameter {parameter!r} has values too large for its type; they became infinite"


def _was_fused(site: SiteRecord) -> bool:
    """Whether a fused node of the source is a formula now, because of the target: the result is slower than it was."""
    is_formula = site.form == "fused" and site.status == "kept" and site.operator is None
    return is_formula and site.code.startswith("target.")


def _untested(results: Sequence[ComponentResult]) -> list[str]:
    """A warning for each MindSpore that graphs came from and the tests do not know."""
    found = {result.component.versions["mindspore"] for result in results if "mindspore" in result.component.versions}
    tested = " and ".join(TESTED_MINDSPORE)
    return [
        f"a graph of MindSpore {version}: attnfuse is tested with {tested}; verify the result (--verify full)"
        for version in sorted(found - {*TESTED_MINDSPORE})
    ]


def policy_decisions(policy: Policy, results: Sequence[ComponentResult]) -> dict[str, Any]:
    """The document of what a policy says to each attention site, with the deciding rules and what is known of the site.

    Sites that are no attention are left out: nobody asks about them.
    """
    return {
        "schema": DECISIONS_SCHEMA,
        "sites": [
            {
                "id": record.id,
                "decision": _plain_decision(policy.decide(_query(result, record))),
                "facts": to_json(record.facts),
            }
            for result in results
            for record in result.sites
            if record.status != "not_attention"
        ],
    }


def queries_of(results: Sequence[ComponentResult]) -> list[SiteQuery]:
    """What rules may ask of each site."""
    return [_query(result, record) for result in results for record in result.sites]


def _query(result: ComponentResult, record: SiteRecord) -> SiteQuery:
    return SiteQuery(result.component.asked_as, result.component.owner, record.module, record.facts)


def _plain_decision(decision: PolicyDecision) -> dict[str, Any]:
    """By setting; a type by its name."""
    values = {field.name: getattr(decision, field.name) for field in fields(decision)}
    return values | {"force_cast_dtype": None if decision.force_cast_dtype is None else decision.force_cast_dtype.name}


def manifest_of(
    policy: Policy,
    target: Target,
    results: Sequence[ComponentResult],
    inputs: Mapping[str, FileDigest],
    outputs: Mapping[str, FileDigest],
    carried: Carried | None = None,
) -> Manifest:
    """The manifest of a compile; the files read and written are by name, relative to the source and to the output."""
    components = tuple(_manifest_component(result, target) for result in results)
    return Manifest(
        versions=_versions(results),
        runtime=target.runtime,
        soc=target.soc,
        judged_by=judged_by(target),
        policy=policy.rules,
        pipeline=None if carried is None else _pipeline(carried, components),
        components=components,
        inputs=dict(sorted(inputs.items())),
        outputs=dict(sorted(outputs.items())),
    )


def _pipeline(carried: Carried, components: Sequence[ManifestComponent]) -> ManifestPipeline:
    vae = None if carried.facts.vae is None else ManifestVae(**dataclasses.asdict(carried.facts.vae))
    facts = {**to_json(carried.facts), "vae": vae, "sizes": carried.facts.sizes, "files": tuple(carried.files)}
    made = ManifestPipeline.model_validate(facts)
    return made.told_of(components)


def with_output(manifest: Manifest, name: str, found: FileDigest) -> Manifest:
    """The manifest with one more file of the output."""
    outputs = {**manifest.outputs, name: found}
    return manifest.model_copy(update={"outputs": dict(sorted(outputs.items()))})


def _plugin_versions() -> dict[str, str]:
    return {plugin.name: plugin.version for plugin in installed_extensions().plugins}


def _versions(results: Sequence[ComponentResult]) -> dict[str, str]:
    versions = {**_plugin_versions(), "attnfuse": __version__}
    for result in results:
        versions.update(result.component.versions)
    return dict(sorted(versions.items()))


def _manifest_component(result: ComponentResult, target: Target) -> ManifestComponent:
    component = result.component
    return ManifestComponent(
        name=component.name,
        owner=component.owner,
        base=component.base or None,
        dtype=component.dtype,
        dtype_from=component.dtype_from,
        warnings=component.warnings,
        graph=result.graph,
        variables=result.variables,
        config=result.config,
        inputs=tuple(_manifest_input(one, target) for one in result.rewritten.inputs),
        outputs=result.rewritten.outputs if component.outputs is None else component.outputs,
        fixed=component.fixed,
        sources=tuple(sorted(component.inputs)),
    )


def _manifest_input(spec: TensorSpec, target: Target) -> ManifestInput:
    made = converted_type(target, spec.dtype)
    return ManifestInput(name=spec.name, shape=spec.shape, dtype=spec.dtype, converted_dtype=made)


def certificate(
    place: OutputPlace,
    manifest: Manifest,
    results: Sequence[ComponentResult],
    inputs: Mapping[str, FileDigest],
    files: Mapping[str, FileDigest],
) -> tuple[bytes | None, str]:
    """What was verified of the components of a manifest, now or, of files that are the same, before; and a warning.

    None where nothing was. The warning tells of certificates that stood at the place and hold no longer, or say more
    than what was verified now and stay. `files` are those of the output by name.
    """
    stood = certificates(place)
    by_name = {result.name: result for result in results}
    entries: list[Mapping[str, Any]] = []
    lost: list[str] = []
    stays: list[str] = []
    for component in manifest.components:
        result = by_name.get(component.name)
        fresh = None if result is None or result.verification is None else result.verification.to_json()
        before = None if stood is None else stood.entries.get(component.name)
        if before is not None:
            own = {name: files[name] for name in (component.graph, *component.variables)}
            original = None if result is None else original_files(result, inputs, files)
            if not still_holds(before, own, original):
                lost += [component.name] if fresh is None else []
                before = None
        if before is not None and (fresh is None or says_more(before, fresh)):
            entries.append(before)
            stays += [] if fresh is None or fresh == before else [component.name]
        elif fresh is not None:
            entries.append(fresh)
    if stood is None:
        said = ["the verification that stood there cannot be read, or is of another version: it was dropped"]
    else:
        said = [*stood.said("it was dropped")]
    if lost:
        said.append(f"what was verified of {', '.join(lost)} is of other files now, and was dropped: verify again")
    said += [STAYS.format(name) for name in stays]
    warning = "; ".join(said)
    if not entries:
        return None, warning
    complete = not any(entry.get("not_verified") for entry in entries)
    document = {**Verification(()).to_json(), "complete": complete, "components": entries}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode(), warning


def original_files(
    result: ComponentResult, inputs: Mapping[str, FileDigest], files: Mapping[str, FileDigest]
) -> tuple[str, dict[str, FileDigest]]:
    """The digest of the graph that a verification holds the result against, and its weights."""
    component = result.component
    weights = component.variables
    if result.holds_others:
        weights = ()  # those of the output are not the original's, which are in no file of one graph
    data = original_at(component, VERIFIED_BATCHES[0]) if component.batches else component.data
    read = inputs if component.original is not None else files
    return hashlib.sha256(data).hexdigest(), {name: read[name] for name in weights}
