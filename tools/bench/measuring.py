"""One run of a command: wall and CPU seconds, peak memory of all it starts, bytes written.

Memory is the largest sum, over the command and its children, of resident memory, looked at five times a second; a
shorter peak can be missed. A page that several processes share counts once (proc(5): Pss): a worker shares 300 MB with
the process it was forked from. In a process of more than 2 GiB it counts as its own, some tens of MB of libraries: to
tell pages apart takes the kernel seconds for one of 10 GB, in which that process waits.
Imports the standard library only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_INTERVAL = 0.2
_TELLS_APART = 2 << 30


@dataclass(frozen=True, slots=True)
class Figures:
    """One run: wall and CPU seconds, peak memory of the process tree in bytes, bytes written."""

    wall: float
    cpu: float
    peak: int
    written: int


def measure(command: Sequence[str], out: Path) -> Figures:
    """Run `command` in the folder `out`, where it writes. Raises CalledProcessError where it fails."""
    paths = f"{ROOT}{os.pathsep}{ROOT / 'passes'}"
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    started, before = time.monotonic(), os.times()
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, cwd=out, env=environment, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(_memory(pid) for pid in _tree(process.pid)))
            time.sleep(_INTERVAL)
        wall = time.monotonic() - started
        if process.returncode:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-3000:])
            raise subprocess.CalledProcessError(process.returncode, command)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Figures(wall, cpu, peak, sum(path.stat().st_size for path in out.rglob("*") if path.is_file()))


def table(results: Mapping[str, Sequence[Figures]]) -> str:
    """A Markdown table: medians of each command, and under it the first over each other, run by run, its median."""
    lines = ["| | wall s | CPU s | peak MiB | written MB |", "|---|---|---|---|---|"]
    for name, figures in results.items():
        wall, cpu, peak = (statistics.median(getattr(f, key) for f in figures) for key in ("wall", "cpu", "peak"))
        lines.append(f"| {name} | {wall:.1f} | {cpu:.1f} | {peak / 2**20:.0f} | {figures[0].written / 1e6:.0f} |")
    first, *others = results
    for other in others:
        pairs = list(zip(results[first], results[other], strict=True))
        ratios = [
            statistics.median(getattr(a, key) / max(getattr(b, key), 1e-9) for a, b in pairs)
            for key in ("wall", "cpu", "peak")
        ]
        lines.append(f"| {first} / {other} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " | |")
    return "\n".join(lines)


def _tree(pid: int) -> list[int]:
    """The process and all it started that still run."""
    found = [pid]
    for parent in found:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:  # it has ended
            continue
    return found


def _memory(pid: int) -> int:
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        if resident > _TELLS_APART:
            return resident
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (OSError, IndexError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), resident)
