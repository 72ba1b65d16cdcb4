"""The measurement for people: a table of each component, and a line for all that is not as it was estimated."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnfuse.measured.records import Aligned, Component, KindLine, Measurement, OnCpu, Refused
from attnfuse.names import counted
from attnfuse.report.units import SECONDS, human_seconds, ratio, three_digits

_NONE = "–"
_PARTS = {
    "build.log": "what was refused",
    "fusion_result.json": "fusions",
    "align.json": "numbers",
    "op_statistic_*.csv": "times",
    "op_summary_*.csv": "nodes on the AI CPU by place",
}
"""What is not known without a file."""
_NAMES = {"cann": "CANN", "mindspore_lite": "MindSpore Lite"}


def render(found: Measurement, folder: str) -> Group:
    """The whole as something rich can print; `folder` is what the user calls it."""
    host: list[str] = [] if found.board is None else [found.board]
    host += [f"{_NAMES.get(name, name)} {version}" for name, version in found.versions.items()]
    parts: list[RenderableType] = [
        Text(f"{folder} as its files tell it{_of(host)}; nothing was measured here (docs/measured.md)"),
        *(Text(f"note: {note}", style="yellow") for note in found.notes),
    ]
    for component in found.components:
        parts += _component(component, found.soc)
    return Group(*parts)


def _of(host: list[str]) -> str:
    return f", of {', '.join(host)}" if host else ""


def _component(found: Component, soc: str) -> Iterator[RenderableType]:
    if found.kinds:
        source = f"measured ({found.source}, {counted(found.runs, 'run')})" if found.source else "not measured"
        yield Text(f"{found.name}: estimate for {soc} → {source}, of one run")
        yield _times(found)
    for unknown in found.unknown:
        what = f"{_count(unknown.kernels)} of {unknown.type}, {human_seconds(unknown.seconds)}"
        yield Text(f"{found.name}: no kind is known for {what}: they count as other")
    yield from map(Text, _refused(found))
    yield from map(Text, _on_cpu(found))
    yield from map(Text, _fusions(found))
    yield from map(Text, _aligned(found))
    for note in found.notes:
        yield Text(f"{found.name}: {note}", style="yellow")
    if found.missing:
        lacking = ", ".join(f"{name} ({_PARTS[name]})" for name in found.missing)
        yield Text(f"{found.name}: the folder has no {lacking}")


def _times(found: Component) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("kind", no_wrap=True)
    for heading in ("kernels", "time at least", "", "GB/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in found.kinds:
        table.add_row(line.kind, *_cells(line))
    if len(found.kinds) > 1:
        table.add_row("all", *_cells(_all(found.kinds)))
    return table


def _all(kinds: tuple[KindLine, ...]) -> KindLine:
    """The sum, of what is known of all kinds."""
    counts = [line.estimated_kernels for line in kinds if line.estimated_kernels is not None]
    moved = [line.estimated_bytes for line in kinds if line.estimated_bytes is not None]
    least = [line.estimated_seconds for line in kinds if line.estimated_seconds is not None]
    ran = [line.measured_kernels for line in kinds if line.measured_kernels is not None]
    took = [line.measured_seconds for line in kinds if line.measured_seconds is not None]
    return KindLine(
        "all",
        sum(counts) if counts else None,
        sum(moved) if moved else None,
        sum(least) if least else None,
        sum(ran) if ran else None,
        sum(took) if took else None,
    )


def _cells(line: KindLine) -> tuple[str, str, str, str]:
    estimated, measured = line.estimated_seconds, line.measured_seconds
    kernels = f"{_or_none(line.estimated_kernels)} → {_or_none(line.measured_kernels)}"
    larger = max(estimated or 0.0, measured or 0.0)
    unit, size = next((one for one in SECONDS if larger >= one[1]), SECONDS[-1])
    told = [_NONE if one is None else three_digits(one / size) for one in (estimated, measured)]
    times = f"{' → '.join(told)} {unit}"
    rate = ""
    if line.estimated_bytes is not None and measured:
        rate = three_digits(line.estimated_bytes / measured / 1e9)
    return kernels, times, "" if estimated is None or measured is None else ratio(estimated, measured), rate


def _or_none(count: float | None) -> str:
    return _NONE if count is None else _count(count)


def _count(count: float) -> str:
    """A whole number, or one decimal where runs differ."""
    return f"{count:.0f}" if count == int(count) else f"{count:.1f}"


def _refused(found: Component) -> Iterator[str]:
    for one in found.refused:
        where = one.place or found.name
        yield f"refused: {where}: {one.type}: {one.reason}; {_expected(one)}"


def _on_cpu(found: Component) -> Iterator[str]:
    for one in found.on_cpu:
        where = one.place or found.name
        what = f"{_count(one.kernels)} {one.type}, {human_seconds(one.seconds)}"
        yield f"on the AI CPU: {where}: {what}; {_expected(one)}"


def _expected(one: Refused | OnCpu) -> str:
    return f"the report says: {one.expected}" if one.expected else "the report says nothing of it"


def _fusions(found: Component) -> Iterator[str]:
    for one in found.fusions or ():
        passes = ", ".join(one.passes)
        if one.assumed == one.done:
            verdict = "as assumed"
        elif one.matched > one.done:
            verdict = f"assumed {one.assumed}, found {one.matched} and given up {one.matched - one.done}"
        else:
            verdict = f"assumed {one.assumed}"
        yield f"fused: {found.name}: {one.what} (rule {one.rule}), {counted(one.done, 'time')} by {passes}: {verdict}"
    others = [f"{one.name} {one.done}" for one in found.other_fusions or () if one.done]
    others += [f"{one.name} {one.done} of {one.matched}" for one in found.other_fusions or () if not one.done]
    if others:
        yield f"fused beyond the rules: {found.name}: {', '.join(others)}"


def _aligned(found: Component) -> Iterator[str]:
    for one in found.aligned or ():
        yield f"numbers: {one.file} {one.output}{_figures(one)}: {'; '.join(one.findings) or 'within its limits'}"


def _figures(one: Aligned) -> str:
    if one.max_abs is None or one.cosine is None:
        return ""
    return f", largest difference {one.max_abs:.3g}, cosine {one.cosine:.9f}"
