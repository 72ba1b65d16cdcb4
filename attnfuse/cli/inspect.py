"""`attnfuse inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from attnfuse import compiler
from attnfuse.cli.destinations import check_apart, check_writable
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import PATH, source_options
from attnfuse.cli.outcome import report_outcome
from attnfuse.cli.request import SourceOptions
from attnfuse.output import write_file
from attnfuse.report.page import page


@click.command(
    "inspect",
    cls=HelpfulCommand,
    examples=(
        "attnfuse inspect unet.mindir --soc 310P3",
        "attnfuse inspect SOURCE --require deployable --html report.html",
    ),
    codes=(1, 3, 70, 130),
)
@source_options
@click.option("--html", "html_file", type=PATH, help="Also write the report (HTML) to this file.")
def inspect_command(html_file: Path | None, **options: Any) -> int:
    """Explain what compile would do with every attention site and operator of SOURCE; nothing is written.

    For --runtime lite: the operators that would be legalised, and those of the result that MindSpore Lite does not
    take, with why and where.
    """
    shared = SourceOptions(**options)
    if html_file is not None:
        check_apart("report", html_file, Path(shared.source), None)
        check_writable(html_file)
    outcome = shared.execute(compiler.inspect, shared.request())
    if html_file is not None:
        write_file(html_file, page(outcome.report))
    return report_outcome(outcome, shared, operators=True, writes=False)
