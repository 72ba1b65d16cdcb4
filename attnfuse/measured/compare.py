"""Holds a folder of measurements to an output: what was estimated of its graphs, and what the report says of nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from attnfuse import documents
from attnfuse.cost.kinds import FUSED_REGION, Kind, kind_of_operator, kind_of_type, strongest
from attnfuse.cost.program import NotEstimated
from attnfuse.cost.tally import Tally, tally
from attnfuse.errors import SourceError, UsageError
from attnfuse.ir.graph import Model, short_name
from attnfuse.measured.build_log import read_build_log
from attnfuse.measured.folder import (
    ALIGN_RESULT,
    BUILD_LOG,
    FUSION_RESULT,
    STATISTIC,
    SUMMARY,
    Measured,
    MeasuredComponent,
    read_aligned,
    read_folder,
)
from attnfuse.measured.fusions import read_fusions
from attnfuse.measured.places import Places
from attnfuse.measured.profile import Ran, read_statistics, read_summaries
from attnfuse.measured.records import (
    SCHEMA,
    Component,
    FusionLine,
    KindLine,
    Measurement,
    OnCpu,
    OtherFusion,
    Refused,
    UnknownType,
)
from attnfuse.mindir import codec
from attnfuse.names import counted
from attnfuse.output import MANIFEST
from attnfuse.report.model import ComponentEntry, Manifest, Report
from attnfuse.targets.names import soc_named
from attnfuse.version import __version__

_K = TypeVar("_K")

AI_CPU = "AI CPU"
"""Stands beside the kinds of kernels for what ran on none of the AI Cores."""
_CANN = "kernels"
"""The table of `judged_by` that CANN's version is in."""
_ALIKE = 0.01
"""How far two tables of one run may be apart in their times."""


def measurement(output: Path, report: Report, folder: Path) -> Measurement:
    """What the folder tells of the output whose report this is.

    Raises UsageError for an output that is no folder, SourceError where the folder, or a file of it, cannot be read, or
    was measured of other graphs.
    """
    if not (output / MANIFEST).is_file():
        raise UsageError(f"--measured needs the graphs of {output}: name the folder that attnfuse compile wrote.")
    manifest = _manifest(output / MANIFEST)
    measured = read_folder(folder)
    entries = {entry.name: entry for entry in report.components}
    graphs = {one.name: one.graph for one in manifest.components}
    components = []
    for one in measured.components:
        if one.name not in graphs or one.name not in entries:
            raise SourceError(f"{folder} was measured of {one.name}, which {output} does not have; name its own OUT.")
        if manifest.outputs[graphs[one.name]].sha256 != one.graph_sha256:
            raise SourceError(f"{folder} was measured of another {one.name} than that in {output}; measure it again.")
        model = Model(codec.parse(codec.read_bytes(output / graphs[one.name]), str(output / graphs[one.name])))
        components.append(_Compared(model, entries[one.name], report.soc, one, folder / one.name).component())
    return Measurement(
        SCHEMA,
        __version__,
        report.soc,
        measured.board,
        dict(measured.versions),
        tuple(components),
        tuple(_notes(report, measured)),
    )


def _manifest(file: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(documents.read_bytes(file))
    except (OSError, ValidationError):
        raise SourceError(f"{file} is damaged, or of another version of attnfuse; compile again.") from None


def _notes(report: Report, measured: Measured) -> Iterator[str]:
    """What differs between the host and what was compiled for."""
    if measured.board is not None:
        try:
            soc = soc_named(measured.board)
        except UsageError:
            yield f"the board {measured.board} is none that attnfuse knows, and the graphs are for {report.soc}"
        else:
            if soc != report.soc:
                yield f"the board {measured.board} is of {soc}, and the graphs are for {report.soc}"
    cann, tables = measured.versions.get("cann"), report.judged_by.get(_CANN, "")
    if cann is not None and tables and cann not in tables:
        yield f"the host has CANN {cann}, and the tables here are of {tables}"
    left = [entry.name for entry in report.components if entry.name not in {one.name for one in measured.components}]
    if left:
        yield f"not measured: {', '.join(left)}"


class _Compared:
    """One component: its graph, what the report says, and its part of the folder."""

    def __init__(self, model: Model, entry: ComponentEntry, soc: str, measured: MeasuredComponent, folder: Path):
        self.entry, self.measured, self.folder = entry, measured, folder
        self.places = Places(model, entry)
        self.missing: list[str] = []
        self.notes: list[str] = []
        self.estimate: Tally | None = None
        try:
            self.estimate = tally(model, soc)
        except NotEstimated as reason:
            self.notes.append(f"not estimated: {reason}")

    def component(self) -> Component:
        source, rows = self.profile()
        log, fusions, aligned = (self.folder / name for name in (BUILD_LOG, FUSION_RESULT, ALIGN_RESULT))
        times = read_fusions(fusions) if self.has(fusions) else None
        return Component(
            name=self.entry.name,
            runs=self.measured.runs,
            source=source,
            kinds=tuple(self.kinds(rows)),
            unknown=tuple(self.unknown(rows)),
            refused=tuple(self.refused(log)) if self.has(log) else (),
            on_cpu=tuple(self.on_cpu(rows)),
            fusions=None if times is None else tuple(self.fusions(times)),
            other_fusions=None if times is None else tuple(self.others(times)),
            aligned=read_aligned(aligned) if self.has(aligned) else None,
            missing=tuple(self.missing),
            notes=tuple(self.notes),
        )

    def has(self, file: Path) -> bool:
        """Whether the folder has the file; where it has not, that is told."""
        if file.exists():
            return True
        self.missing.append(file.name)
        return False

    # --- times

    def profile(self) -> tuple[str, tuple[Ran, ...]]:
        """What ran, by the table that tells most: op_summary knows nodes, op_statistic operators."""
        summaries, statistics = (sorted(self.folder.glob(pattern)) for pattern in (SUMMARY, STATISTIC))
        self.missing += [name for name, found in ((STATISTIC, statistics), (SUMMARY, summaries)) if not found]
        by_operator = read_statistics(statistics)
        if not summaries:
            return ("op_statistic" if statistics else ""), by_operator
        by_node = read_summaries(summaries)
        if statistics:
            self.notes += _apart(by_node, by_operator)
        return "op_summary", by_node

    def kind(self, row: Ran) -> str:
        """The kind that a row counts as; of a region that the engine made, that of the nodes it is named by."""
        if row.is_on_ai_cpu:
            return AI_CPU
        if row.type == FUSED_REGION and (nodes := self.places.named(row.name)):
            return strongest(kind_of_operator(node.op) for node in nodes).value
        return (kind_of_type(row.type) or Kind.OTHER).value

    def kinds(self, rows: Sequence[Ran]) -> Iterator[KindLine]:
        """A line for each kind that was estimated or measured, in their order."""
        counts: dict[str, int] = defaultdict(int)
        seconds: dict[str, float] = defaultdict(float)
        for row in rows:
            kind = self.kind(row)
            counts[kind] += row.count
            seconds[kind] += row.seconds
        estimated = {} if self.estimate is None else {kind.value: one for kind, one in self.estimate.kinds.items()}
        runs = self.measured.runs
        for kind in (*(one.value for one in Kind), AI_CPU):
            of = estimated.get(kind)
            if of is not None or kind in counts:
                yield KindLine(
                    kind,
                    None if of is None else of.kernels,
                    None if of is None else of.bytes_moved,
                    None if of is None else of.seconds,
                    counts[kind] / runs if rows else None,
                    seconds[kind] / runs if rows else None,
                )

    def unknown(self, rows: Sequence[Ran]) -> Iterator[UnknownType]:
        for kind, of_kind in _by(rows, lambda row: row.type).items():
            if kind_of_type(kind) is None and any(self.kind(row) == Kind.OTHER.value for row in of_kind):
                yield UnknownType(kind, *self.each_run(of_kind))

    def each_run(self, rows: Sequence[Ran]) -> tuple[float, float]:
        """Kernels and seconds of one run."""
        runs = self.measured.runs
        return sum(row.count for row in rows) / runs, sum(row.seconds for row in rows) / runs

    # --- nodes

    def refused(self, log: Path) -> Iterator[Refused]:
        expected = {node: entry.otherwise for entry in self.entry.without_kernel for node in entry.nodes}
        expected |= {node: entry.reason for entry in self.entry.unsupported for node in entry.nodes}
        by_operator = {entry.op: entry.reason for entry in self.entry.unsupported}
        for refusal in read_build_log(log):
            nodes = self.places.named(refusal.node)
            told = next((expected[name] for node in nodes if (name := short_name(node.name)) in expected), "")
            if not nodes:
                told = by_operator.get(refusal.type, "")
            place = self.places.of(refusal.node)
            yield Refused(place, refusal.node, refusal.type, refusal.reason, told)

    def on_cpu(self, rows: Sequence[Ran]) -> Iterator[OnCpu]:
        """Nodes that ran on the AI CPU, by place and operator; by operator alone where no table names nodes."""
        expected = {node: entry.otherwise for entry in self.entry.without_kernel for node in entry.nodes}
        fell = [row for row in rows if row.is_on_ai_cpu]
        for (place, kind), of_place in _by(fell, lambda row: (self.places.of(row.name), row.type)).items():
            names = {short_name(node.name) for row in of_place for node in self.places.named(row.name)}
            told = next((expected[name] for name in sorted(names) if name in expected), "")
            yield OnCpu(place, kind, *self.each_run(of_place), told)

    # --- fusions

    def fusions(self, times: Mapping[str, tuple[int, int]]) -> Iterator[FusionLine]:
        """A line for each rule that counts on a fusion, or whose passes the engine tells of."""
        if self.estimate is None:
            return
        for fusion in self.estimate.fusions:
            found = [times.get(name, (0, 0)) for name in fusion.passes]
            matched, done = (sum(one[at] for one in found) for at in (0, 1))
            if fusion.assumed or matched:
                seen = tuple(name for name in fusion.passes if name in times) or fusion.passes
                yield FusionLine(fusion.rule, fusion.what, seen, fusion.assumed, matched, done)

    def others(self, times: Mapping[str, tuple[int, int]]) -> Iterator[OtherFusion]:
        counted_on = {name for fusion in self.estimate.fusions for name in fusion.passes} if self.estimate else set()
        for name, (matched, done) in times.items():
            if name not in counted_on:
                yield OtherFusion(name, matched, done)


def _by(rows: Iterable[Ran], key: Callable[[Ran], _K]) -> dict[_K, list[Ran]]:
    """Rows by what the key says of them, in the order in which each is first met."""
    found: dict[_K, list[Ran]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _apart(by_node: Sequence[Ran], by_operator: Sequence[Ran]) -> Iterator[str]:
    """A sentence where the two tables are not of the same runs."""
    one, other = (sum(row.seconds for row in rows) for rows in (by_node, by_operator))
    counts = sum(row.count for row in by_node), sum(row.count for row in by_operator)
    if counts[0] != counts[1] or abs(one - other) > _ALIKE * max(one, other):
        told = f"op_summary has {counted(counts[0], 'task')} and op_statistic {counted(counts[1], 'task')}"
        yield f"{told}: they are not of the same runs, or one is cut off; times are those of op_summary"
