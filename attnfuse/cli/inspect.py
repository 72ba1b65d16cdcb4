"""`attnfuse inspect`."""

from __future__ import annotations

from typing import Any

import click

from attnfuse import compiler
from attnfuse.cli.options import source_options
from attnfuse.cli.outcome import report_outcome
from attnfuse.cli.request import SourceOptions


@click.command("inspect")
@source_options
def inspect_command(**options: Any) -> int:
    """Explain what compile would do with every attention site and operator of SOURCE; nothing is written.

    For --runtime lite: the operators that would be legalised, and those of the result that MindSpore Lite does not
    take, with why and where.
    """
    shared = SourceOptions(**options)
    return report_outcome(shared.execute(compiler.inspect, shared.request()), shared, operators=True, writes=False)
