"""A whole compile of one component next to a plain export of the same model: wall and CPU time, peak memory.

    python tools/make_checkpoint.py FOLDER --model sd15
    python -m tools.bench.compile FOLDER [--component unet] [--dtype float16] [--runs N] [--only compile]

In turn, each run from start to exit (`measuring.py`). Prints a Markdown table; what is not to be run, because it would
not fit the machine, is left out with `--only`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tools.bench.measuring import Figures, measure, table

COMPILE, EXPORT = "attnfuse compile", "mindspore.export"


def main(arguments: list[str] | None = None) -> int:
    """Run both in turn, print the table."""
    parser = argparse.ArgumentParser(description="A whole compile next to a plain mindspore.export of the same model.")
    parser.add_argument("pipeline", type=Path, help="what tools/make_checkpoint.py wrote, or any pipeline folder")
    parser.add_argument("--component", default="unet")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", choices=("compile", "export"))
    options = parser.parse_args(arguments)
    pipeline = options.pipeline.resolve()
    commands = {COMPILE: _compile, EXPORT: _export}
    chosen = {"compile": [COMPILE], "export": [EXPORT], None: list(commands)}[options.only]
    results: dict[str, list[Figures]] = {name: [] for name in chosen}
    message = ""
    for _ in range(options.runs):
        for name, figures in results.items():
            with tempfile.TemporaryDirectory(dir=pipeline.parent) as folder:
                command = commands[name](str(pipeline), options.component, folder, options.dtype)
                figures.append(measure(command, Path(folder)))
                print(f"{name}: {figures[-1]}", file=sys.stderr)
                if name == COMPILE:
                    totals = json.loads((Path(folder) / "out" / "report.json").read_bytes())["totals"]
                    message = (
                        f"{totals['fused']} of {totals['sites']} sites fused, {options.dtype}, {options.runs} runs\n\n"
                    )
    print(message + table(results))
    return 0


def _compile(pipeline: str, component: str, folder: str, dtype: str) -> list[str]:
    arguments = ["compile", pipeline, "-o", f"{folder}/out", "--component", component, "--dtype", dtype]
    return [sys.executable, "-m", "attnfuse", *arguments]


def _export(pipeline: str, component: str, folder: str, dtype: str) -> list[str]:
    return [sys.executable, "-m", "tools.bench.plain_export", pipeline, component, folder, dtype]


if __name__ == "__main__":
    sys.exit(main())
