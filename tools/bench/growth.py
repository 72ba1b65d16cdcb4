"""Time per node as graphs grow: should be flat. And what more equal blocks cost beside few.

    python -m tools.bench.growth [--sizes 1000,10000,…] [--blocks 8,16,…] [--runtime lite|mindspore]

Makes graphs of attention blocks by hand, each size in a fresh process, and prints two Markdown tables. A block is a
self and a cross attention. Its ratios are CPU seconds of one run over those of the fewest blocks, imports left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support.graphs import transformer
from tools.bench.rewrite import TOTAL, measure

BLOCKS = (8, 16, 32, 64, 128)
SIZES = (1_000, 5_000, 20_000, 50_000, 100_000, 200_000)


def main() -> int:
    """Measure every size, print the table."""
    parser = argparse.ArgumentParser(description="Time per node of rewriting, over graphs of growing size.")
    parser.add_argument("--sizes", type=lambda text: tuple(map(int, text.split(","))), default=SIZES)
    parser.add_argument("--runtime", choices=("lite", "mindspore"), default="lite")
    parser.add_argument("--blocks", type=lambda text: tuple(map(int, text.split(","))), default=BLOCKS)
    options = parser.parse_args()
    few, more = (len(transformer(sites=sites, weights=False).model().nodes) for sites in (2, 12))
    per_site = (more - few) / 10
    print("| nodes | sites | wall s | CPU s | CPU µs a node | peak MiB |\n|---|---|---|---|---|---|")
    for size in options.sizes:
        figures = _measured(max(1, round(size / per_site)), options.runtime)
        wall, cpu = figures["stages"][TOTAL]  # type: ignore[index]
        nodes = int(str(figures["nodes"]))
        peak = int(str(figures["peak"])) / 2**20
        print(
            f"| {nodes} | {figures['sites']} | {wall:.2f} | {cpu:.2f} | {cpu / nodes * 1e6:.0f} | {peak:.0f} |",
            flush=True,
        )
    print("\n| blocks | nodes | CPU s | beside the fewest |\n|---|---|---|---|")
    first = 0.0
    for blocks in options.blocks:
        figures = _measured(2 * blocks, options.runtime)
        cpu = figures["stages"][TOTAL][1]  # type: ignore[index]
        first = first or cpu
        print(f"| {blocks} blocks | {figures['nodes']} | {cpu:.3f} | {cpu / first:.1f} × |", flush=True)
    return 0


def _measured(sites: int, runtime: str) -> dict[str, object]:
    """What `measure` tells of a graph of so many attentions."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph.mindir"
        transformer(sites=sites, weights=False).write(graph)
        return measure(graph, runtime)


if __name__ == "__main__":
    sys.exit(main())
