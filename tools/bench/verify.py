"""What verifying a graph of real size costs: rewritten, and verified against itself before, weights drawn.

    python -m tools.bench.verify GRAPH.mindir [--level static|sampled|full] [--max-memory SIZE] [--keep FOLDER]

GRAPH is one without weights as `tools.corpus.worker` writes it (`real_unet_sd15-float16.mindir`). Verification runs in
a process of its own, as the command. Prints wall and CPU seconds and peak memory, then the profile's table; --keep has
the result, the certificate and the whole profile written there. A profile itself costs some seconds: onnxruntime
writes down every node.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnfuse import pass_manager
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.policy import Policy
from attnfuse.targets import Target
from tools.bench.measuring import Figures, measure

_MOST = 25


def measured(
    graph: Path, level: str, folder: Path, target: Target, more: Sequence[str] = ()
) -> tuple[Figures, dict[str, Any]]:
    """The run's figures, and its profile; the folder gets what was compared and what came of it.

    Raises CalledProcessError where verification fails.
    """
    original, fused = rewritten(graph, folder, target)
    profile = folder / "profile.json"
    command = [sys.executable, "-m", "attnfuse", "verify", str(original), str(fused), "--level", level]
    figures = measure([*command, "--profile", str(profile), *more], folder)
    return figures, json.loads(profile.read_text(encoding="utf-8"))


def rewritten(graph: Path, folder: Path, target: Target) -> tuple[Path, Path]:
    """The graph, and what the passes make of it, as files in that folder."""
    data = codec.read_bytes(graph)
    model = Model(codec.parse(data, graph.name))
    name = graph.stem
    pass_manager.run(model, pass_manager.Context(name, name, Policy(), target), pass_manager.discover())
    original, fused = folder / "original.mindir", folder / f"{name}.mindir"
    original.write_bytes(data)
    fused.write_bytes(codec.serialise(model.proto))
    return original, fused


def table(figures: Figures, profile: dict[str, Any]) -> str:
    """Markdown: the whole, its stages, and the operators that took longest."""
    lines = ["| | CPU s | wall s | peak MiB |", "|---|---|---|---|"]
    lines.append(f"| whole | {figures.cpu:.0f} | {figures.wall:.0f} | {figures.peak / 2**20:.0f} |")
    lines += [
        f"| {stage} | {cost['cpu_seconds']:.0f} | {cost['wall_seconds']:.0f} | {cost['bytes'] / 2**20:.0f} |"
        for stage, cost in profile["stages"].items()
    ]
    lines += ["", "| stage | run | operator | CPU s | runs | largest MiB |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['stage']} | {row['run']} | {row['operator']} | {row['cpu_seconds']:.1f} | {row['runs']} | "
        f"{row['bytes'] / 2**20:.0f} |"
        for row in profile["operators"][:_MOST]
    ]
    return "\n".join(lines)


def main() -> int:
    """Verify one graph and print what it cost."""
    parser = argparse.ArgumentParser(description="What verifying a graph of real size costs.")
    parser.add_argument("graph", type=Path)
    parser.add_argument("--level", choices=["static", "sampled", "full"], default="full")
    parser.add_argument("--runtime", choices=["lite", "mindspore"], default="lite")
    parser.add_argument("--soc", default="ascend910b")
    parser.add_argument("--max-memory", help="as of attnfuse verify")
    parser.add_argument("--keep", type=Path, help="a folder for what was compared and what came of it")
    options = parser.parse_args()
    more = [] if options.max_memory is None else ["--max-memory", options.max_memory]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) if options.keep is None else options.keep.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        target = Target(options.runtime, options.soc)
        print(table(*measured(options.graph, options.level, folder, target, more)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
