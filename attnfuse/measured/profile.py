"""msprof's tables: op_statistic (by operator) and op_summary (by node), as CANN 8 exports them.

Their columns are those that "Profiling Tool" of CANN 8.0 to 8.5 documents under op_statistic and op_summary (`OP Type`,
`Core Type`, `Count`, `Total Time(us)`; `Op Name`, `OP Type`, `Task Type`, `Task Duration(us)`), and whose headings
msprof's own tests hold (op_summary_assembler_utest.cpp). Which further columns there are depends on the SoC and on what
was collected; they are not looked at. CANN 6 wrote the same without units, in nanoseconds for some, and is refused.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnfuse import documents
from attnfuse.errors import SourceError

_STATISTIC = ("OP Type", "Core Type", "Count", "Total Time(us)")
_SUMMARY = ("Op Name", "OP Type", "Task Type", "Task Duration(us)")
_MICROSECOND = 1e-6
_NOT_COLLECTED = "N/A"
_AI_CPU = ("AICPU", "AI_CPU")


@dataclass(frozen=True, slots=True)
class Ran:
    """Tasks of one operator type: how many, in seconds all together; `name` is the node's, where the table has one."""

    type: str
    core: str
    count: int
    seconds: float
    name: str = ""

    @property
    def is_on_ai_cpu(self) -> bool:
        """Whether it is no work of an AI Core: documents write AI_CPU and AI CPU."""
        return re.sub(r"[ _-]+", "_", self.core.strip().upper()) in _AI_CPU


def read_statistics(files: Sequence[Path]) -> tuple[Ran, ...]:
    """The rows of op_statistic, of all files. Raises SourceError where one is damaged, cut off or of another msprof."""
    return tuple(
        Ran(kind, core, _whole(at, "Count", count), _seconds(at, "Total Time(us)", total))
        for file in files
        for at, (kind, core, count, total) in _rows(file, _STATISTIC)
    )


def read_summaries(files: Sequence[Path]) -> tuple[Ran, ...]:
    """The rows of op_summary, each a task. Raises as `read_statistics`, and where types were not collected."""
    found = []
    for file in files:
        for at, (name, kind, core, duration) in _rows(file, _SUMMARY):
            if kind == _NOT_COLLECTED:
                raise SourceError(f"{at} has no operator type; collect with msprof's --task-time=on, not l0.")
            found.append(Ran(kind, core, 1, _seconds(at, "Task Duration(us)", duration), name))
    return tuple(found)


def _rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Where each row stands, and its cells of these columns."""
    try:
        text = documents.read_text(file).removeprefix("\ufeff")
    except (OSError, ValueError) as error:
        raise SourceError(f"{file} cannot be read: {documents.reason(error)}.") from None
    lines = _parsed(file, text)
    heading = [cell.strip() for cell in next(lines, [])]
    lacking = [name for name in columns if name not in heading]
    if lacking:
        known = "it is empty" if not any(heading) else f"it has no column {lacking[0]!r}"
        raise SourceError(f"{file} is no such table of msprof: {known}; export it with the msprof of CANN 8.")
    if not text.endswith("\n"):
        raise SourceError(f"{file} is cut off: its last line does not end; copy it again.")
    places = [heading.index(name) for name in columns]
    for number, cells in enumerate(lines, 2):
        if not cells:
            continue
        if len(cells) != len(heading):
            raise SourceError(f"{file}:{number} has {len(cells)} cells, and its heading {len(heading)}; copy it again.")
        yield f"{file}:{number}", [cells[at].strip() for at in places]


def _parsed(file: Path, text: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(text.splitlines(), strict=True)
    except csv.Error as error:
        raise SourceError(f"{file} is no table: {error}.") from None


def _whole(at: str, column: str, cell: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", cell):
        raise SourceError(f"{at} has {cell!r} for {column}, which is no count.")
    return int(cell)


def _seconds(at: str, column: str, cell: str) -> float:
    """Of microseconds. msprof puts a tab behind numbers that a spreadsheet would round."""
    try:
        found = float(cell)
    except ValueError:
        found = math.nan
    if not math.isfinite(found) or found < 0:
        raise SourceError(f"{at} has {cell!r} for {column}, which is no time.")
    return found * _MICROSECOND
