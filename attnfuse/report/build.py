"""From site records and operators to the report, and the census: every site of the source has exactly one record."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from attnfuse.cost.records import Comparison
from attnfuse.decisions import Form, SiteRecord
from attnfuse.errors import InternalError
from attnfuse.ir.effects import Effects
from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, short_name
from attnfuse.ir.inline import occurrences
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.operators.table import operator
from attnfuse.ir.questions import role
from attnfuse.ir.values import Values
from attnfuse.modules import Modules
from attnfuse.pass_manager import Legalised, Simplified
from attnfuse.report.model import (
    AT_COMPILE_TIME,
    BesideEntry,
    ComponentEntry,
    FailedEntry,
    KernelEntry,
    LegalisedEntry,
    Report,
    SimplifiedEntry,
    Totals,
    UnsupportedEntry,
)
from attnfuse.targets import Target
from attnfuse.targets.ge import lists_kernels_of
from attnfuse.targets.nodes import deployment_refusals, judged_by, missing_kernel
from attnfuse.targets.support import unsupported_reason, unsupported_type
from attnfuse.tracing.contract import FLOAT_DTYPES, FixedValue, Traced

NO_ESTIMATE = Comparison()


def count_sites(model: Model) -> Counter[str]:
    """How many sites of each form the source holds, and how many formulas it may hold beyond its Softmax nodes.

    Those are softmaxes written with exponentials, and further products of the same attention weights. Those of a
    function count as often as it is called.
    """
    times, roles = occurrences(model), Counter[Role | None]()
    for node in model.nodes:
        roles[role(node)] += times[node.graph.name]
    softmaxes, exponentials = roles[Role.SOFTMAX], roles[Role.EXPONENTIAL]
    more = exponentials + roles[Role.PRODUCT] if softmaxes + exponentials else 0
    return Counter(formula=softmaxes, fused=roles[Role.FUSED_ATTENTION], more=more)


def check_census(component: str, counted: Counter[str], records: Sequence[SiteRecord]) -> None:
    """Raise InternalError unless the records are as many as the sites of each form, each with an anchor of its own.

    Of formulas there may be as many `more` as `count_sites` says.
    """
    found = Counter(record.form for record in records)
    forms: tuple[tuple[Form, int], ...] = (("formula", counted["more"]), ("fused", 0))
    for form, more in forms:
        if not counted[form] <= found[form] <= counted[form] + more:
            raise InternalError(
                f"component {component}: the census does not add up: {counted[form]} sites of form {form} in the "
                f"graph, {found[form]} on record."
            )
    anchors = Counter((record.graph, record.anchor) for record in records)
    twice = sorted(anchor for (_, anchor), times in anchors.items() if times > 1)
    if twice:
        raise InternalError(f"component {component}: the census does not add up: {twice[0]} is on record twice.")


def with_ids(component: str, records: Iterable[SiteRecord]) -> tuple[SiteRecord, ...]:
    """The records with the id `<component>/<module>`; of several sites in one module the later get `#2`, `#3`, …"""
    seen: Counter[str] = Counter()
    named = []
    for record in records:
        seen[record.module] += 1
        number = seen[record.module]
        named.append(replace(record, id=f"{component}/{record.module}" + (f"#{number}" if number > 1 else "")))
    return tuple(named)


def legalised_entries(nodes: Iterable[Legalised]) -> tuple[LegalisedEntry, ...]:
    """What became of which operators, by the operator's name."""
    counts: Counter[str] = Counter()
    into: dict[str, set[str]] = defaultdict(set)
    absorbed: dict[str, set[str]] = defaultdict(set)
    refused: dict[str, set[str]] = defaultdict(set)
    for node in nodes:
        counts[node.op] += 1
        into[node.op].update(node.into)
        absorbed[node.op].update(node.absorbed)
        refused[node.op].update({node.refused} - {""})
    return tuple(
        LegalisedEntry(
            op=op,
            count=counts[op],
            into=tuple(sorted(into[op])),
            absorbed=tuple(sorted(absorbed[op])),
            refused=tuple(sorted(refused[op])),
        )
        for op in sorted(counts)
    )


def unsupported_entries(model: Model, target: Target, reasons: Mapping[str, str]) -> tuple[UnsupportedEntry, ...]:
    """The nodes of a finished graph that the target does not take as they stand, by operator and reason.

    `reasons` are those that a pass gave, by the node's value. A type that is not on the SoC comes before all else; of
    what the converter loses and what no device launches, the first is told.
    """
    values, found = model.remembered(Values), []
    for node in model.nodes:
        if (missing := unsupported_type(target, model, node)) is not None:
            found.append((node, "target.dtype", missing))
        elif refusals := deployment_refusals(target, values, node):
            why = unsupported_reason(target, model, node)
            told = refusals[0].message(node.op, target.soc)
            reason = told if why is None else reasons.get(node.name, f"{why}; no rule replaces it")
            found.append((node, refusals[0].code, reason))
    return _entries(model, found)


def not_rewritten_entries(model: Model, target: Target, reasons: Mapping[str, str]) -> tuple[UnsupportedEntry, ...]:
    """The nodes of a finished graph that a pass gave a reason for and the target takes, by operator and reason."""
    left = [node for node in model.nodes if node.name in reasons]
    taken = (node for node in left if unsupported_reason(target, model, node) is None)
    return _entries(
        model, [(node, "", reasons[node.name]) for node in taken if unsupported_type(target, model, node) is None]
    )


def _entries(model: Model, found: Iterable[tuple[Node, str, str]]) -> tuple[UnsupportedEntry, ...]:
    """Nodes with code and reason why each stays, by operator and reason."""
    groups: dict[tuple[str, str, str], list[Node]] = defaultdict(list)
    for node, code, reason in found:
        groups[node.op, reason, code].append(node)
    modules = Modules(model)
    return tuple(
        UnsupportedEntry(
            op=op,
            count=len(nodes),
            reason=reason,
            code=code,
            nodes=tuple(short_name(node.name) for node in nodes),
            modules=_modules_of(modules, nodes),
        )
        for (op, reason, code), nodes in sorted(groups.items())
    )


def simplified_entries(nodes: Iterable[Simplified]) -> tuple[SimplifiedEntry, ...]:
    """What was simplified, by operator and reason; of each the largest error."""
    groups: dict[tuple[str, str], list[float]] = {}
    for node in nodes:
        groups.setdefault((node.op, node.what), []).append(node.error)
    return tuple(
        SimplifiedEntry(op=op, what=what, count=len(errors), error=max(errors))
        for (op, what), errors in sorted(groups.items())
    )


def kernel_entries(model: Model, target: Target) -> tuple[KernelEntry, ...]:
    """The nodes of a finished graph for MindSpore Lite that have no AI Core kernel, by operator, types and outcome.

    What is made of weights and constants alone CANN computes when it compiles the graph (docs/cost.md, rule 1).
    None for a SoC whose kernels were not read: `judged_by` names no list then.
    """
    if target.runtime != "lite" or not lists_kernels_of(target.soc):
        return ()
    values, groups = model.remembered(Values), dict[tuple[str, str, str, str, str], list[Node]]()
    computed = _computed(model)
    for node in model.nodes:
        found = missing_kernel(target, values, node)
        if found is None:
            continue
        types, _, otherwise = found.found.rpartition(": ")
        types = "any" if found.code == "kernel.none" else types
        if node.name not in computed:
            otherwise = AT_COMPILE_TIME
        key = (node.op, types, otherwise, found.code, found.source)
        groups.setdefault(key, []).append(node)
    modules = Modules(model)
    return tuple(
        KernelEntry(
            op=op,
            count=len(nodes),
            code=code,
            types=types,
            otherwise=otherwise,
            source=source,
            nodes=tuple(short_name(node.name) for node in nodes),
            modules=_modules_of(modules, nodes),
        )
        for (op, types, otherwise, code, source), nodes in sorted(groups.items())
    )


def _computed(model: Model) -> set[str]:
    """The values that are known at run time only.

    Made of an input of the graph, of memory that is written, or by an operator of which nothing is known.
    """
    effects = Effects.of(model)
    found = {value.name for graph in model.graphs for value in graph.input} | effects.mutated | effects.written
    for node in model.nodes:
        unknown = node.op == CALL or (node.op != CONSTANT and operator(node.op).is_opaque)
        if unknown or not found.isdisjoint(node.inputs):
            found.add(node.name)
    return found


def _modules_of(modules: Modules, nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(sorted({name for node in nodes if (name := modules.of(node))}))


def type_warnings(target: Target, component: str, unsupported: Iterable[UnsupportedEntry]) -> list[str]:
    """A warning for each type that the component computes in and the SoC does not."""
    missing = {entry.reason for entry in unsupported if entry.reason in map(target.cure_of, FLOAT_DTYPES)}
    return [f"{component}: not deployable: {reason}" for reason in sorted(missing)]


def component_entry(
    name: str,
    nodes: int,
    sites: tuple[SiteRecord, ...],
    legalised: tuple[LegalisedEntry, ...] = (),
    unsupported: tuple[UnsupportedEntry, ...] = (),
    cost: Comparison = NO_ESTIMATE,
    beside: tuple[BesideEntry, ...] = (),
    fixed: tuple[FixedValue, ...] = (),
    dtype: str | None = None,
    dtype_from: str = "",
    traced: Traced | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    plugins: Mapping[str, str] = MappingProxyType({}),
    not_rewritten: tuple[UnsupportedEntry, ...] = (),
    simplified: tuple[SimplifiedEntry, ...] = (),
    without_kernel: tuple[KernelEntry, ...] = (),
) -> ComponentEntry:
    """The report of one component; `options` are those of all passes, `plugins` versions by name."""
    return ComponentEntry(
        name=name,
        dtype=dtype,
        dtype_from=dtype_from,
        traced=traced,
        options=dict(options),
        plugins=dict(plugins),
        nodes=nodes,
        fixed=fixed,
        sites=sites,
        legalised=legalised,
        unsupported=unsupported,
        not_rewritten=not_rewritten,
        simplified=simplified,
        without_kernel=without_kernel,
        cost=cost,
        beside=beside,
        totals=totals(sites, legalised, unsupported),
    )


def report(
    target: Target,
    components: Iterable[ComponentEntry],
    warnings: Iterable[str],
    failed: Mapping[str, str] | None = None,
) -> Report:
    """The whole report; `failed` are the components that could not be had, with the reasons."""
    entries = tuple(components)
    failures = tuple(FailedEntry(name=name, reason=reason) for name, reason in (failed or {}).items())
    return Report(
        runtime=target.runtime,
        soc=target.soc,
        judged_by=judged_by(target),
        components=entries,
        failed=failures,
        totals=totals_of(entries, len(failures)),
        warnings=tuple(warnings),
    )


def totals_of(entries: Sequence[ComponentEntry], failed: int) -> Totals:
    """Count over several components."""
    return totals(
        [site for entry in entries for site in entry.sites],
        [operator for entry in entries for operator in entry.legalised],
        [operator for entry in entries for operator in entry.unsupported],
        failed,
    )


def totals(
    sites: Sequence[SiteRecord],
    legalised: Sequence[LegalisedEntry] = (),
    unsupported: Sequence[UnsupportedEntry] = (),
    failed: int = 0,
) -> Totals:
    """Count the sites, and the nodes of the operators; `failed` is the number of components that are not there."""
    status = Counter(site.status for site in sites)
    form = Counter(site.form for site in sites)
    return Totals(
        softmax=form["formula"],
        already_fused=form["fused"],
        sites=len(sites) - status["not_attention"],
        fused=status["fused"],
        kept=status["kept"],
        missed=status["missed"],
        not_attention=status["not_attention"],
        casts=sum(site.casts for site in sites),
        padded_heads=sum(1 for site in sites if site.head_dim_padding),
        score_bytes_saved=sum(site.score_bytes_saved for site in sites),
        largest_score_bytes=max((site.score_bytes_saved for site in sites), default=0),
        legalised=sum(entry.count for entry in legalised),
        unsupported=sum(entry.count for entry in unsupported),
        failed=failed,
    )
