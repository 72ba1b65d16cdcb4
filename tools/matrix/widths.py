"""Trace every configuration of the matrix in the widths of a published model, and write what became of its sites.

    python -m tools.matrix.widths [--only GLOB] [--again] [--seconds 150] [--page-only]
                                  [--results build/widths] [--out docs/real-widths.md]

There are no weights, and so no numbers: what is told is what the passes make of the graph, for both runtimes. What came
of each row is kept under `--results`, and made again where its configuration changed, or with --again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from tools.matrix.__main__ import ROOT, environment
from tools.matrix.published.rows import WideRow, file_of, wide_rows
from tools.matrix.published.table import render
from tools.matrix.rows import groups


@click.command()
@click.option("--only", multiple=True, help="Rows whose name matches the glob (repeatable).")
@click.option("--again", is_flag=True, help="Make rows again that are there.")
@click.option("--seconds", default=150, show_default=True, help="Seconds of a core that a row may take.")
@click.option("--page-only", is_flag=True, help="Make no rows, only the page of those that are there.")
@click.option("--results", type=click.Path(path_type=Path), default=ROOT / "build" / "widths")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs" / "real-widths.md")
def main(only: Sequence[str], again: bool, seconds: int, page_only: bool, results: Path, out: Path) -> None:
    """Make the rows that are wanted, then the page of all that are there."""
    results.mkdir(parents=True, exist_ok=True)
    rows = every_row()
    distinct = _distinct(rows)
    if not page_only:
        wanted = [
            row.name
            for row in distinct
            if (not only or any(fnmatchcase(row.name, glob) for glob in only)) and (again or read(results, row) is None)
        ]
        if wanted:
            command = [sys.executable, "-m", "tools.matrix.published.worker", str(results), str(seconds), *wanted]
            subprocess.run(command, cwd=ROOT, env=environment(), check=True)
    found = {row.traced: read(results, row) for row in distinct}
    out.write_text(render([(row, found.get(row.traced)) for row in rows]), encoding="utf-8")
    made = sum(one is not None for one in found.values())
    click.echo(f"{made} of {len(distinct)} graphs are in {out.name}", err=True)


def every_row() -> list[WideRow]:
    """All rows, in the order of the matrix."""
    with tempfile.TemporaryDirectory(prefix="widths-") as work:
        return [row for number, group in enumerate(groups()) for row in wide_rows(Path(work) / str(number), group)]


def read(results: Path, row: WideRow) -> dict[str, Any] | None:
    """What came of a row as it is now configured; None where nothing did yet."""
    place = results / file_of(row.name)
    if not place.is_file():
        return None
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found if found["traced"] == row.traced else None


def _distinct(rows: Iterable[WideRow]) -> list[WideRow]:
    """Each trace once, for pipelines share text encoders and autoencoders."""
    first: dict[str, WideRow] = {}
    for row in rows:
        if row.plan is not None:
            first.setdefault(row.traced, row)
    return list(first.values())


if __name__ == "__main__":
    main()
