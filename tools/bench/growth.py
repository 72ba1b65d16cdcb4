"""Time per node as graphs grow: should be flat.

    python -m tools.bench.growth [--sizes 1000,10000,…] [--runtime lite|mindspore]

Makes graphs of attention blocks by hand, each size in a fresh process, and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support.graphs import transformer
from tools.bench.rewrite import TOTAL, measure

SIZES = (1_000, 5_000, 20_000, 50_000, 100_000, 200_000)


def main() -> int:
    """Measure every size, print the table."""
    parser = argparse.ArgumentParser(description="Time per node of rewriting, over graphs of growing size.")
    parser.add_argument("--sizes", type=lambda text: tuple(map(int, text.split(","))), default=SIZES)
    parser.add_argument("--runtime", choices=("lite", "mindspore"), default="lite")
    options = parser.parse_args()
    few, more = (len(transformer(sites=sites, weights=False).model().nodes) for sites in (2, 12))
    per_site = (more - few) / 10
    print("| nodes | sites | wall s | CPU s | CPU µs a node | peak MiB |\n|---|---|---|---|---|---|")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / "graph.mindir"
            transformer(sites=max(1, round(size / per_site)), weights=False).write(graph)
            figures = measure(graph, options.runtime)
        wall, cpu = figures["stages"][TOTAL]  # type: ignore[index]
        nodes = int(str(figures["nodes"]))
        peak = int(str(figures["peak"])) / 2**20
        print(
            f"| {nodes} | {figures['sites']} | {wall:.2f} | {cpu:.2f} | {cpu / nodes * 1e6:.0f} | {peak:.0f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
