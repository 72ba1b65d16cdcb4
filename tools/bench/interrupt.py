"""What a verification leaves behind that is asked to stop, at moments drawn at random, and how long it takes to end.

    python -m tools.bench.interrupt GRAPH.mindir [--runs 50] [--seed 0] [--level full]

GRAPH is rewritten and verified against itself before, weights drawn, as by `tools.bench.verify`: once to the end, and
then as often as is asked for, told to stop by SIGTERM and SIGINT in turns. Prints how long each took to end, and what
it left: files in the folder for temporary ones, and processes. A small graph does (`tests/corpus`, with `xz -d`).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnfuse.targets import Target
from tools.bench.measuring import ROOT
from tools.bench.verify import rewritten

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_MARK = "ATTNFUSE_BENCH_RUN"
_PATIENCE = 600.0
_ORPHANS = 2.0
"""Seconds in which a process ends by itself whose parent was told to stop while it was being started."""


@dataclass(frozen=True, slots=True)
class Ended:
    """One run: the signal, seconds from the start to it, seconds from it to the end, the exit code, and what was left.

    `files` are names in the folder for temporary files, `processes` what ran on of it.
    """

    signal: signal.Signals
    moment: float
    seconds: float
    code: int
    files: tuple[str, ...]
    processes: tuple[int, ...]
    said: str


def interrupted(command: Sequence[str], folder: Path, runs: int, seed: int) -> list[Ended]:
    """Run the command to its end, and then `runs` times to a moment that is drawn between its start and its end.

    `folder` is empty, and is what it takes for temporary files. Raises CalledProcessError where the first run fails.
    """
    drawn = random.Random(seed)
    # What a shell starts in the background ignores it, and so would all that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begin = time.monotonic()
    subprocess.run(command, env=environment(folder, "whole"), check=True, capture_output=True)
    whole = time.monotonic() - begin
    found: list[Ended] = []
    while len(found) < runs:
        ended = _one(command, folder, SIGNALS[len(found) % len(SIGNALS)], drawn.uniform(0, whole))
        if ended is not None:
            found.append(ended)
    return found


def _one(command: Sequence[str], folder: Path, number: signal.Signals, moment: float) -> Ended | None:
    """One run; None where it came to its end before the moment."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment(folder, mark), stdout=said, stderr=said)
        try:
            process.wait(moment)
            return None
        except subprocess.TimeoutExpired:
            pass
        begin = time.monotonic()
        process.send_signal(number)
        code = process.wait(_PATIENCE)
        seconds = time.monotonic() - begin
        files = tuple(sorted(path.name for path in folder.iterdir()))
        until = time.monotonic() + _ORPHANS
        while (processes := marked(mark)) and time.monotonic() < until:
            time.sleep(0.05)
        said.seek(0)
        return Ended(number, moment, seconds, code, files, tuple(processes), said.read().decode(errors="replace"))


def environment(folder: Path, mark: str) -> dict[str, str]:
    """That of a command of attnfuse, with temporary files in that folder; `mark` tells what it starts from others."""
    paths = f"{ROOT}{os.pathsep}{ROOT / 'passes'}"
    return {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(folder), _MARK: mark}


def marked(mark: str) -> list[int]:
    """The processes that run with that mark in what they were started with."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and f"{_MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def table(found: Sequence[Ended]) -> str:
    """Markdown: how long the runs took to end, by signal, and what they left."""
    lines = [
        "| signal | runs | s to the end, median | most | files left | processes left |",
        "|---|---|---|---|---|---|",
    ]
    for number in SIGNALS:
        runs = [ended for ended in found if ended.signal == number]
        seconds = [ended.seconds for ended in runs] or [0.0]
        files, processes = (sum(len(getattr(ended, what)) for ended in runs) for what in ("files", "processes"))
        lines.append(
            f"| {number.name} | {len(runs)} | {statistics.median(seconds):.2f} | {max(seconds):.2f} | {files} | "
            f"{processes} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Interrupt verifications of one graph and print what they leave; 1 where that is anything."""
    parser = argparse.ArgumentParser(description="What a verification leaves behind that is asked to stop.")
    parser.add_argument("graph", type=Path)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--level", choices=["static", "sampled", "full"], default="full")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        original, fused = rewritten(options.graph, folder, Target("lite", "ascend910b"))
        (folder / "temporary").mkdir()
        command = [sys.executable, "-m", "attnfuse", "verify", str(original), str(fused), "--level", options.level]
        found = interrupted(command, folder / "temporary", options.runs, options.seed)
    for ended in found:
        print(f"{ended.signal.name} at {ended.moment:.2f} s: {ended.seconds:.2f} s, exit code {ended.code}")
    print(table(found))
    return 1 if any(ended.files or ended.processes for ended in found) else 0


if __name__ == "__main__":
    sys.exit(main())
