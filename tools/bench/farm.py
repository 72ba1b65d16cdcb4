"""A batch of 24 small compiles, three pipelines in two sizes for four SoCs, cold and warm, with one worker and two.

    python -m tools.bench.farm [--workers 1,2]

Cold begins with an empty cache, and traces six graphs; warm writes all outputs anew with what the cold one left in the
cache; finished is the same again, with the outputs standing; apart are 24 single compiles without a cache. Prints a
Markdown table, and the load of the machine before each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from attnfuse.targets import SOCS
from tests.support.fluxes import LAYERS, write_fluxes
from tools.bench.measuring import Figures, measure

SIZES = ("64x64", "96x64")


def main(arguments: list[str] | None = None) -> int:
    """Run them, print the table."""
    parser = argparse.ArgumentParser(description="A batch of 24 small compiles, cold and warm.")
    parser.add_argument("--workers", default="1,2", help="numbers of workers")
    parser.add_argument("--apart", action="store_true", help="the same 24, one by one and without a cache, too")
    options = parser.parse_args(arguments)
    rows: list[tuple[str, str, float, Figures]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_fluxes(folder)
        (folder / "farm.toml").write_text(_batch())
        for workers in options.workers.split(","):
            batch = [
                sys.executable,
                "-m",
                "attnfuse",
                "batch",
                "farm.toml",
                "--cache-dir",
                "cache",
                "--workers",
                workers,
            ]
            for what in ("cold", "warm", "finished"):
                if what != "finished":
                    shutil.rmtree(folder / "out", ignore_errors=True)
                if what == "cold":
                    shutil.rmtree(folder / "cache", ignore_errors=True)
                (folder / "out").mkdir(exist_ok=True)
                rows.append((what, workers, os.getloadavg()[0], measure(batch, folder)))
                print(rows[-1], file=sys.stderr)
        if options.apart:
            shutil.rmtree(folder / "out")
            (folder / "out").mkdir()
            rows.append(("apart", "", os.getloadavg()[0], measure(["sh", "-c", _apart()], folder)))
    print("| | workers | load before | wall | CPU |\n| --- | --- | --- | --- | --- |")
    for what, workers, load, found in rows:
        print(f"| {what} | {workers} | {load:.1f} | {found.wall:.0f} s | {found.cpu:.0f} s |")
    return 0


def _batch() -> str:
    lines = ["[defaults]", "sequence-length = ['11']", f"each.size = {list(SIZES)}", f"each.soc = {list(SOCS)}"]
    for name in LAYERS:
        lines += ["[[compile]]", f"source = '{name}'", f"output = 'out/{name}-{{soc}}-{{size}}'"]
    return "\n".join(lines) + "\n"


def _apart() -> str:
    command = f"{sys.executable} -m attnfuse compile --progress never --sequence-length 11"
    return " && ".join(
        f"{command} --size {size} --soc {soc} {name} -o out/{name}-{soc}-{size}"
        for name in LAYERS
        for soc in SOCS
        for size in SIZES
    )


if __name__ == "__main__":
    sys.exit(main())
