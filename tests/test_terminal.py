"""Progress: plain lines in a log; on a terminal a bar with bytes, and a line per component that stays."""

from __future__ import annotations

import re
from io import StringIO

from rich.console import Console

from attnfuse.progress import STAGES, Progress, Silent
from attnfuse.terminal import BarProgress, LineProgress

SIZE = r"\d+\.\d [KMG]iB"
TIME = r"\d+\.\d s"


def drive(progress: Progress) -> None:
    for component in ("unet", "vae"):
        for stage in STAGES[:-1]:
            progress.stage(component, stage)
            progress.amount(5 * 2**20, 10 * 2**20)
            if stage == "trace":
                progress.worker(3600, 3 * 2**40)
    progress.stage("", "write")


def test_lines() -> None:
    file = StringIO()
    with LineProgress(Console(file=file)) as progress:
        drive(progress)
    lines = file.getvalue().splitlines()
    assert len(lines) == 2 * len(STAGES) + 1
    assert lines[1] == "unet: tracing"
    assert re.fullmatch(rf"unet: {TIME}, peak memory 3072\.0 GiB", lines[len(STAGES) - 1])
    assert lines[-2].startswith("vae: ")
    assert lines[-1] == "output: syncing"


def test_what_was_not_finished_is_not_summed_up() -> None:
    file = StringIO()
    progress = LineProgress(Console(file=file))
    progress.stage("unet", "trace")
    progress.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert file.getvalue() == "unet: tracing\n"


def test_bars() -> None:
    file = StringIO()
    with BarProgress(Console(file=file, force_terminal=True, width=120)) as progress:
        progress.stage("unet", "weights")
        progress._bars.refresh()
        assert "/" not in file.getvalue(), "nobody knows yet of how many bytes"
        progress.amount(5 * 2**20, 10 * 2**20)
        progress._bars.refresh()
        shown = file.getvalue()
        drive(progress)
    assert "unet: writing weights" in shown
    assert "5.2/10.5 MB" in shown


def test_a_line_per_component_stays() -> None:
    file = StringIO()
    with BarProgress(Console(file=file, force_terminal=True, width=40)) as progress:
        drive(progress)
    stays = [line for line in file.getvalue().splitlines() if "peak memory" in line]
    assert [line.partition(":")[0].rpartition("\x1b")[2].lstrip("[0123456789K") for line in stays] == ["unet", "vae"]
    message = ", ".join(
        [
            rf"reading {TIME} \({SIZE}\)",
            rf"tracing {TIME} \(3072\.0 GiB\)",
            rf"trace from cache {TIME} \({SIZE}\)",
            rf"hashing inputs {TIME} \({SIZE}\)",
        ]
    )
    assert re.search(message, stays[0])
    assert stays[1].endswith("peak memory 3072.0 GiB")


def test_silence() -> None:
    drive(Silent())
