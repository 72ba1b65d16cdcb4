"""The report for people: what components cost, a row for each, why what was not fused, what Lite does not take."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnfuse.names import counted
from attnfuse.report.model import AT_COMPILE_TIME, ComponentEntry, Report, Totals, UnsupportedEntry

_SHOWN_IDS = 3


def render(report: Report, *, operators: bool = False) -> RenderableType:
    """The whole report as something rich can print; with `operators`, also what became of each that was legalised."""
    table = Table(title=f"attention sites for {report.runtime} on {report.soc}", title_justify="left")
    table.add_column("component")
    for heading in ("sites", "fused", "kept", "missed", "not attention", "casts", "padded heads"):
        table.add_column(heading, justify="right")
    for component in report.components:
        table.add_row(component.name, *_cells(component.totals))
    if len(report.components) > 1:
        table.add_section()
        table.add_row("total", *_cells(report.totals))
    return Group(
        *([costs] if (costs := _costs(report)) else []),
        table,
        *_types(report),
        *_not_estimated(report),
        *_reasons(report),
        *(_beside(report) if operators else []),
        *_operators(report, every=operators),
        *(Text(f"warning: {w}", style="yellow") for w in report.warnings),
    )


def _cells(totals: Totals) -> list[str]:
    return [
        *(str(n) for n in (totals.sites, totals.fused, totals.kept, totals.missed, totals.not_attention)),
        str(totals.casts),
        str(totals.padded_heads),
    ]


def _costs(report: Report) -> Table | None:
    """What each component costs, source → result; None where nothing is estimated."""
    estimated = [component for component in report.components if component.cost.before is not None]
    if not estimated:
        return None
    title = f"estimate for {report.soc}, source → result (docs/cost.md; not measured)"
    table = Table(title=title, title_justify="left")
    table.add_column("component")
    for heading in ("bytes moved", "kernels", "peak activations", "time at least"):
        table.add_column(heading, justify="right")
    for component in estimated:
        cost = component.cost
        assert cost.before is not None
        assert cost.after is not None
        table.add_row(
            component.name,
            _change(cost.before.bytes_moved, cost.after.bytes_moved, _BYTES),
            _change(cost.before.kernels, cost.after.kernels),
            _change(cost.before.peak_bytes, cost.after.peak_bytes, _BYTES),
            _change(cost.before.seconds, cost.after.seconds, _SECONDS),
        )
    return table


_BYTES = (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("B", 1.0))
_SECONDS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def _change(before: float, after: float, units: Sequence[tuple[str, float]] = ()) -> str:
    """Both in the unit that the first fills, and their ratio: `97.4 → 55.7 GiB (× 0.57)`."""
    message = f"{before} → {after}"
    if units:
        unit, size = next((one for one in units if before >= one[1]), units[-1])
        message = f"{before / size:.1f} → {after / size:.1f} {unit}"
    return f"{message} (× {after / before:.2f})" if before else message


def _not_estimated(report: Report) -> list[Text]:
    """One line for each reason why there is no estimate, with the components."""
    groups: dict[str, list[str]] = {}
    for component in report.components:
        if component.cost.before is None:
            groups.setdefault(component.cost.not_estimated, []).append(component.name)
    return [Text(f"not estimated: {', '.join(names)}: {reason}") for reason, names in groups.items()]


def _types(report: Report) -> list[Text]:
    """One line for each type that components were traced in, and where it comes from."""
    groups: dict[tuple[str, str], list[str]] = {}
    for component in report.components:
        if component.dtype is not None:
            groups.setdefault((component.dtype, component.dtype_from), []).append(component.name)
    return [Text(f"in {dtype} ({source}): {', '.join(names)}") for (dtype, source), names in groups.items()]


def _reasons(report: Report) -> list[Text]:
    """One line for each code and reason, with how many sites it holds for and the first of them."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for component in report.components:
        for site in component.sites:
            if site.status in ("kept", "missed"):
                groups.setdefault((site.status, site.code, site.reason), []).append(site.id)
    lines = []
    for (status, code, reason), ids in sorted(groups.items()):
        lines.append(Text(f"{status} {len(ids)} ({code}): {reason}: {_some(ids)}"))
    warned = Counter(warning for c in report.components for site in c.sites for warning in site.warnings)
    return lines + [Text(f"warning: {w} ({counted(n, 'site')})", style="yellow") for w, n in sorted(warned.items())]


def _beside(report: Report) -> list[Text]:
    """What is left beside the fused nodes of each component, with who needs it; a line for each component with any."""
    lines = []
    for component in report.components:
        groups: dict[tuple[str, str, tuple[str, ...]], int] = {}
        for entry in component.beside:
            # Of a node only its operator: the same is needed in each block.
            needed_by = tuple(dict.fromkeys(node.partition(" ")[0] for node in entry.needed_by))
            key = (entry.op, entry.of, needed_by)
            groups[key] = groups.get(key, 0) + 1
        told = [f"{n} {op} of {of} for {', '.join(needed_by)}" for (op, of, needed_by), n in groups.items()]
        if component.totals.fused:
            lines.append(Text(f"beside the fused nodes of {component.name}: {'; '.join(told) or 'nothing'}"))
    return lines


def _operators(report: Report, *, every: bool) -> list[Text]:
    """What was legalised, and one line for each reason that keeps the graphs from the target, with its operators."""
    counts: Counter[str] = Counter()
    into: dict[str, set[str]] = defaultdict(set)
    absorbed: dict[str, set[str]] = defaultdict(set)
    for legalised in (entry for component in report.components for entry in component.legalised):
        counts[legalised.op] += legalised.count
        into[legalised.op].update(legalised.into)
        absorbed[legalised.op].update(legalised.absorbed)
    total = f"legalised {counted(counts.total(), 'node')} of {counted(len(counts), 'operator')}"
    lines = [Text(total)] if counts else []
    for op, n in sorted(counts.items()) if every else ():
        others = f" with {', '.join(sorted(absorbed[op]))}" if absorbed[op] else ""
        lines.append(Text(f"  {op} {n}{others}: {', '.join(sorted(into[op])) or 'nothing left'}"))
    left = _left(report, "unsupported", lambda component: component.unsupported)
    lines += left
    if every:
        lines += _left(report, "not rewritten", lambda component: component.not_rewritten)
    lines += _without_kernel(report)
    if not left and report.runtime == "lite":
        lines.append(Text(f"deployable: MindSpore Lite takes every node of the result, {_tables_asked(report)}"))
    return lines


def _tables_asked(report: Report) -> str:
    if "kernels" in report.judged_by:
        return "by its converter's, CANN's and the kernels' tables (docs/targets.md)"
    return f"by its converter's and CANN's tables (docs/targets.md); which kernels {report.soc} has is not known"


def _left(report: Report, what: str, entries_of: Callable[[ComponentEntry], Iterable[UnsupportedEntry]]) -> list[Text]:
    """One line for each reason why nodes stay, with their operators and some of the places."""
    places: dict[str, list[str]] = defaultdict(list)
    nodes: dict[str, Counter[str]] = defaultdict(Counter)
    for component in report.components:
        for entry in entries_of(component):
            nodes[entry.reason][entry.op] += entry.count
            places[entry.reason] += [f"{component.name}/{place}" for place in entry.modules or entry.nodes]
    lines = []
    for reason, found in sorted(nodes.items(), key=lambda item: (sorted(item[1]), item[0])):
        several = sorted(found) if len(found) == 1 else [f"{op} {n}" for op, n in sorted(found.items())]
        where = _some(list(dict.fromkeys(places[reason])))
        lines.append(Text(f"{what} {found.total()} ({', '.join(several)}): {reason}: {where}"))
    return lines


def _without_kernel(report: Report) -> list[Text]:
    """One line for each outcome of nodes that have no AI Core kernel, with their operators."""
    groups: dict[str, Counter[str]] = {}
    for component in report.components:
        for entry in (entry for entry in component.without_kernel if entry.otherwise != AT_COMPILE_TIME):
            operators = groups.setdefault(entry.otherwise, Counter())
            operators[f"{component.name}: {entry.op} of {entry.types}"] += entry.count
    lines = []
    for otherwise, found in sorted(groups.items()):
        what = f"no AI Core kernel on {report.soc} for {counted(found.total(), 'node')}"
        lines.append(Text(f"{what}: {otherwise}: {_some(sorted(found))}"))
    return lines


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN_IDS]) + (", …" if len(names) > _SHOWN_IDS else "")
