"""A whole compile of a full-size UNet next to a plain export of the same model: wall time and peak memory.

    python tools/make_checkpoint.py FOLDER --model sd15
    python -m tools.bench.compile FOLDER [--dtype float16] [--runs N]

Both are measured by the same code, in turn: wall time from start to exit, and the largest sum of resident memory
(proportional: a page shared by two processes counts once) of the command and all it starts. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_INTERVAL = 0.2


@dataclass(frozen=True, slots=True)
class Figures:
    """One run: wall and CPU seconds, peak memory of the process tree in bytes, bytes written."""

    wall: float
    cpu: float
    peak: int
    written: int


def measure(command: list[str], out: Path) -> Figures:
    """Run `command`, which writes into `out`. Raises CalledProcessError where it fails."""
    paths = f"{_ROOT}{os.pathsep}{_ROOT / 'passes'}"
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
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def main() -> int:
    """Run both in turn, print the table."""
    parser = argparse.ArgumentParser(description="A whole compile next to a plain mindspore.export of the same UNet.")
    parser.add_argument("pipeline", type=Path, help="what tools/make_checkpoint.py wrote")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    pipeline = str(options.pipeline.resolve())
    results: dict[str, list[Figures]] = {"attnfuse compile": [], "mindspore.export": []}
    for _ in range(options.runs):
        for name, figures in results.items():
            with tempfile.TemporaryDirectory(dir=options.pipeline.resolve().parent) as folder:
                out = Path(folder)
                if name == "attnfuse compile":
                    arguments = ["compile", pipeline, "-o", str(out / "out"), "--component", "unet"]
                    run = "from attnfuse.cli import main; main()"
                    command = [sys.executable, "-c", run, *arguments, "--dtype", options.dtype]
                else:
                    command = [sys.executable, "-m", "tools.bench.plain_export", pipeline, folder, options.dtype]
                figures.append(measure(command, out))
                print(f"{name}: {figures[-1]}", file=sys.stderr)
    print("| | wall s | CPU s | peak MiB | written MB |\n|---|---|---|---|---|")
    medians = []
    for name, figures in results.items():
        wall, cpu, peak = (statistics.median(getattr(f, key) for f in figures) for key in ("wall", "cpu", "peak"))
        medians.append((wall, cpu, peak))
        print(f"| {name} | {wall:.0f} | {cpu:.0f} | {peak / 2**20:.0f} | {figures[0].written / 1e6:.0f} |")
    ratios = [b / a for a, b in zip(*medians, strict=True)]
    print(f"| export / compile | {ratios[0]:.1f} | {ratios[1]:.1f} | {ratios[2]:.1f} | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
