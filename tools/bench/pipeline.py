"""A whole pipeline compiled three times into one output, with a cache: cold, with one policy rule changed, unchanged.

    python tools/make_checkpoint.py FOLDER --model sdxl --whole
    python -m tools.bench.pipeline FOLDER [--jobs 1,2] [--dtype float16] [--rule 'unet.mid_block.*'] [--trace blocks]

For each number of jobs in a folder of its own, beside FOLDER, each run a process from start to exit (`measuring.py`).
The rule keeps the formula of the attention that it matches. Prints a Markdown table; the outputs of different numbers
of jobs are compared, and are the same or the tool fails.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from attnfuse.tracing.contract import Way
from tools.bench.measuring import Figures, measure

RUNS = ("cold", "one policy rule changed", "unchanged")


def main(arguments: list[str] | None = None) -> int:
    """Run all of it, print the table."""
    parser = argparse.ArgumentParser(description="A whole pipeline: cold, with one policy rule changed, unchanged.")
    parser.add_argument("pipeline", type=Path, help="a pipeline folder")
    parser.add_argument("--jobs", type=lambda text: tuple(map(int, text.split(","))), default=(1, 2))
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument("--rule", default="unet.mid_block.*", help="attention that the changed rule is about")
    parser.add_argument("--trace", choices=get_args(Way))
    options = parser.parse_args(arguments)
    pipeline = options.pipeline.resolve()
    shared = [] if options.trace is None else ["--trace", options.trace]
    shared += ["--dtype", options.dtype, "--cache-dir", "cache", "-o", "out"]
    results: dict[int, list[Figures]] = {}
    with tempfile.TemporaryDirectory(dir=pipeline.parent) as place:
        folders = {jobs: Path(place) / str(jobs) for jobs in options.jobs}
        for jobs, folder in folders.items():
            folder.mkdir()
            results[jobs] = []
            for name, rule in zip(RUNS, ([], ["--no-flash", options.rule], ["--no-flash", options.rule]), strict=True):
                results[jobs].append(measure(_command(pipeline, [*shared, "--jobs", str(jobs), *rule]), folder))
                print(f"{jobs} jobs, {name}: {results[jobs][-1]}", file=sys.stderr)
        first, *others = folders.values()
        for other in others:
            _compare(first / "out", other / "out")
    print(table(results))
    return 0


def _command(pipeline: Path, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "attnfuse", "compile", str(pipeline), *arguments]


def _compare(one: Path, other: Path) -> None:
    """Raise ValueError where two outputs are not the same byte for byte."""
    names = [sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) for out in (one, other)]
    _, differing, missing = filecmp.cmpfiles(one, other, sorted({*names[0], *names[1]}), shallow=False)
    if differing or missing:
        raise ValueError(f"the outputs differ in {', '.join([*differing, *missing])}")


def table(results: Mapping[int, Sequence[Figures]]) -> str:
    """A Markdown table: a row for each run, wall and CPU seconds and the peak for each number of jobs."""
    head = [f"{jobs} job{'s' * (jobs > 1)}: {what}" for jobs in results for what in ("wall s", "CPU s", "peak MiB")]
    lines = ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, *runs in zip(RUNS, *results.values(), strict=True):
        cells = [f"{run.wall:.1f} | {run.cpu:.1f} | {run.peak / 2**20:.0f}" for run in runs]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
