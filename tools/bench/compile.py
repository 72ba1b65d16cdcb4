"""A whole compile of one component next to a plain export of the same model, and `cp`: wall and CPU time, peak memory.

    python tools/make_checkpoint.py FOLDER --model sd15
    python -m tools.bench.compile FOLDER [--component unet] [--dtype float16] [--runs N] [--only compile]

In turn, each run from start to exit (`measuring.py`); `cp` and a sync are of what the compile wrote. `--trace` is
handed on to the compile. Prints a Markdown table; what is not to be run, because it would not fit the machine, is left
out with `--only`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from attnfuse.tracing.contract import Way
from tools.bench.measuring import Figures, measure, table

COMPILE, EXPORT, COPY = "attnfuse compile", "mindspore.export", "cp, sync"

_COPY = ["sh", "-c", "cp -r ../out . && find out -type f -exec sync {} +"]


def main(arguments: list[str] | None = None) -> int:
    """Run both in turn, print the table."""
    parser = argparse.ArgumentParser(description="A whole compile next to a plain mindspore.export of the same model.")
    parser.add_argument("pipeline", type=Path, help="what tools/make_checkpoint.py wrote, or any pipeline folder")
    parser.add_argument("--component", default="unet")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", choices=("compile", "export"))
    parser.add_argument("--trace", choices=get_args(Way))
    options = parser.parse_args(arguments)
    pipeline = options.pipeline.resolve()
    chosen = {"compile": [COMPILE, COPY], "export": [EXPORT], None: [COMPILE, COPY, EXPORT]}[options.only]
    results: dict[str, list[Figures]] = {name: [] for name in chosen}
    message = ""

    def add(name: str, command: Sequence[str], folder: Path) -> None:
        results[name].append(measure(command, folder))
        print(f"{name}: {results[name][-1]}", file=sys.stderr)

    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(dir=pipeline.parent) as name:
            folder = Path(name)
            if COMPILE in results:
                command = _compile(str(pipeline), options.component, name, options.dtype)
                add(COMPILE, command if options.trace is None else [*command, "--trace", options.trace], folder)
                totals = json.loads((folder / "out" / "report.json").read_bytes())["totals"]
                message = (
                    f"{totals['fused']} of {totals['sites']} sites fused, {options.dtype}, {options.runs} runs\n\n"
                )
                (folder / "copy").mkdir()
                add(COPY, _COPY, folder / "copy")
        if EXPORT in results:
            with tempfile.TemporaryDirectory(dir=pipeline.parent) as name:
                add(EXPORT, _export(str(pipeline), options.component, name, options.dtype), Path(name))
    print(message + table(results))
    return 0


def _compile(pipeline: str, component: str, folder: str, dtype: str) -> list[str]:
    arguments = ["compile", pipeline, "-o", f"{folder}/out", "--component", component, "--dtype", dtype]
    return [sys.executable, "-m", "attnfuse", *arguments]


def _export(pipeline: str, component: str, folder: str, dtype: str) -> list[str]:
    return [sys.executable, "-m", "tools.bench.plain_export", pipeline, component, folder, dtype]


if __name__ == "__main__":
    sys.exit(main())
