"""The report for people: what components cost, a row for each, why what was not fused, what Lite does not take."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from attnfuse.names import counted
from attnfuse.report.figures import ComponentFigures
from attnfuse.report.model import AT_COMPILE_TIME, ComponentEntry, Report, Totals, UnsupportedEntry
from attnfuse.report.rows import reasons_of, some
from attnfuse.report.units import BYTES, SECONDS, Units, both, ratio

_NONE: Mapping[str, ComponentFigures] = MappingProxyType({})
_LEAST_OF_A_NAME = 12
"""Columns of a terminal that the name of a component has to itself; a longer one may go on in the next line."""
_UNBROKEN = ("bytes moved", "peak activations", "time at least", "kernels", "error")
_ALWAYS = (("sites", "sites"), ("fused", "fused"), ("kept", "kept"), ("missed", "missed"))
_IF_ANY = (("not attention", "not_attention"), ("casts", "casts"), ("padded heads", "padded_heads"))
"""Heading and count of `Totals`."""


def render(report: Report, figures: Mapping[str, ComponentFigures] = _NONE, *, operators: bool = False) -> Group:
    """The whole report as something rich can print, its tables within 80 columns.

    With `figures`, by component, errors as well; with `operators`, also what became of each that was legalised.
    """
    return Group(
        *([costs] if (costs := _costs(report)) else []),
        _sites(report, figures),
        *_types(report),
        *_not_estimated(report),
        *_reasons(report),
        *(_beside(report) if operators else []),
        *_operators(report, every=operators),
        *(Text(f"warning: {w}", style="yellow") for w in report.warnings),
    )


def _table(title: str, *headings: str) -> Table:
    """Names on the left, folded and never cut; figures on the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("component", overflow="fold", min_width=_LEAST_OF_A_NAME)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=heading in _UNBROKEN, overflow="fold")
    return table


def _sites(report: Report, figures: Mapping[str, ComponentFigures]) -> Table:
    """What became of the sites of each component; counts that are nothing everywhere are left out."""
    columns = [*_ALWAYS, *(column for column in _IF_ANY if getattr(report.totals, column[1]))]
    has_kernels = any(component.cost.before is not None for component in report.components)
    errors = {name: found.worst for name, found in figures.items() if found.worst is not None}
    table = _table(
        f"attention sites for {report.runtime} on {report.soc}",
        *(["error"] if errors else []),
        *(heading for heading, _ in columns),
        *(["kernels"] if has_kernels else []),
    )

    def row(name: str, totals: Totals, error: str, kernels: str) -> None:
        cells = [str(getattr(totals, column)) for _, column in columns]
        table.add_row(name, *([error] if errors else []), *cells, *([kernels] if has_kernels else []))

    for component in report.components:
        error, cost = errors.get(component.name), component.cost
        kernels = "" if not (cost.before and cost.after) else both(cost.before.kernels, cost.after.kernels)
        row(component.name, component.totals, "" if error is None else f"{error.fused:.2e}", kernels)
    if len(report.components) > 1:
        row("total", report.totals, "", "")
    return table


def _costs(report: Report) -> Table | None:
    """What each component costs, source → result; None where nothing is estimated."""
    estimated = [component for component in report.components if component.cost.before is not None]
    if not estimated:
        return None
    title = f"estimate for {report.soc}, source → result (docs/cost.md; not measured)"
    table = _table(title, "bytes moved", "peak activations", "time at least")
    for component in estimated:
        cost = component.cost
        assert cost.before is not None
        assert cost.after is not None
        table.add_row(
            component.name,
            _change(cost.before.bytes_moved, cost.after.bytes_moved, BYTES),
            _change(cost.before.peak_bytes, cost.after.peak_bytes, BYTES),
            _change(cost.before.seconds, cost.after.seconds, SECONDS),
        )
    return table


def _change(before: float, after: float, units: Units) -> str:
    """`97.1 → 35.9 GiB ×0.37`."""
    return f"{both(before, after, units)} {ratio(before, after)}".rstrip()


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
    lines = [
        Text(f"{found.status} {len(found.ids)} ({found.code}): {found.reason}: {found.places}")
        for found in reasons_of(report)
    ]
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
        where = some(list(dict.fromkeys(places[reason])))
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
        lines.append(Text(f"{what}: {otherwise}: {some(sorted(found))}"))
    return lines
