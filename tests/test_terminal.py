"""Progress: plain lines in a log, a bar with bytes on a terminal."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from attnfuse.progress import STAGES, Progress, Silent
from attnfuse.terminal import BarProgress, LineProgress


def drive(progress: Progress) -> None:
    for stage in STAGES:
        progress.stage("unet", stage)
        progress.amount(5 * 2**20, 10 * 2**20)
    progress.stage("", "write")


def test_lines() -> None:
    file = StringIO()
    with LineProgress(Console(file=file)) as progress:
        drive(progress)
    lines = file.getvalue().splitlines()
    assert len(lines) == len(STAGES) + 1
    assert lines[1] == "unet: tracing"
    assert lines[-1] == "output: syncing"


def test_bars() -> None:
    file = StringIO()
    with BarProgress(Console(file=file, force_terminal=True, width=120)) as progress:
        progress.stage("unet", "weights")
        progress.amount(5 * 2**20, 10 * 2**20)
        progress._bars.refresh()
        shown = file.getvalue()
        drive(progress)
    assert "unet: writing weights" in shown
    assert "5.2/10.5 MB" in shown


def test_silence() -> None:
    drive(Silent())
