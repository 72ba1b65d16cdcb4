"""Tracing block by block next to tracing the whole: CPU time and peak memory of a real model, and growth with blocks.

    python tools/make_checkpoint.py FOLDER --model sdxl --zeros
    python -m tools.bench.trace FOLDER [--component unet] [--dtype float16] [--only blocks]
    python -m tools.bench.trace --growth 8,16,32,64,128 [--only blocks]

Of a model, both ways in turn, each in fresh processes from start to exit, imports included: nothing is rewritten and no
weight is read. Growth is of Flux's transformer with that many equal blocks, small, which takes the same time as large:
CPU seconds without the imports of MindSpore and mindone, and what they are of the first size's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from attnfuse.serialisation import from_json, to_json
from attnfuse.tracing.assembly import assemble
from attnfuse.tracing.contract import ComponentPlan, ShapeOptions, TracedComponent, Way
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.plan import plan_all
from attnfuse.tracing.random_weights import write_zeros
from attnfuse.tracing.runner import environment, trace_component
from tools.bench.measuring import Figures, measure, table
from tools.make_checkpoint import CONFIGS, MODELS

_SMALL = {
    "attention_head_dim": 16,
    "axes_dims_rope": [4, 6, 6],
    "in_channels": 16,
    "joint_attention_dim": 32,
    "num_attention_heads": 2,
    "num_layers": 1,
    "pooled_projection_dim": 32,
}
_CHILD = """
import json, sys, time
import mindspore
from mindone import diffusers, transformers
from mindone.diffusers import FluxTransformer2DModel
from attnfuse.tracing import worker
begun = time.process_time()
code = worker.main(sys.argv[1:])
print(json.dumps(time.process_time() - begun))
sys.exit(code)
"""


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for, print the table."""
    parser = argparse.ArgumentParser(description="Tracing block by block next to tracing the whole.")
    parser.add_argument("pipeline", type=Path, nargs="?", help="what tools/make_checkpoint.py wrote, or any pipeline")
    parser.add_argument("--component", default="unet")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument("--only", choices=get_args(Way))
    parser.add_argument("--growth", type=lambda text: tuple(map(int, text.split(","))))
    parser.add_argument("--one", choices=get_args(Way), help="trace once, here: what runs in the child")
    options = parser.parse_args(arguments)
    ways: tuple[Way, ...] = get_args(Way) if options.only is None else (options.only,)
    if options.growth:
        print(growth_table({way: {n: growth(n, way) for n in options.growth} for way in ways}))
        return 0
    if options.pipeline is None:
        parser.error("name a pipeline folder, or --growth")
    if options.one is not None:
        (plan,) = plan_all(options.pipeline, options.dtype, ShapeOptions(), [options.component]).plans
        print(trace_component(replace(plan, way=options.one), Path.cwd()).traced)
        return 0
    results: dict[str, list[Figures]] = {}
    for way in ways:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tools.bench.trace", str(options.pipeline.resolve())]
            command += ["--component", options.component, "--dtype", options.dtype, "--one", way]
            results[way] = [measure(command, Path(folder))]
            print(f"{way}: {results[way][-1]}", file=sys.stderr)
    print(table(results))
    return 0


def growth(blocks: int, way: Way) -> float:
    """CPU seconds of a trace of that many blocks, putting together included, imports left out."""
    with tempfile.TemporaryDirectory() as folder:
        plan = _plan(Path(folder) / "model", blocks)
        work = Path(folder) / "work"
        work.mkdir()
        request = {"plan": to_json(plan), "way": way, "why_whole": "", "work": str(work), "parent": os.getpid()}
        (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(work / "request.json")],
            cwd=work,
            env=environment(),
            stdout=subprocess.PIPE,
            check=True,
        )
        seconds: float = json.loads(done.stdout.splitlines()[-1])
        traced = from_json(TracedComponent, json.loads((work / "trace.json").read_text(encoding="utf-8")))
        begun = time.process_time()
        if traced.traced.how == "blocks":
            assemble(traced, work)
        print(f"{blocks} blocks, {way}: {seconds:.1f} s; {traced.traced}", file=sys.stderr)
        return seconds + time.process_time() - begun


def _plan(folder: Path, blocks: int) -> ComponentPlan:
    """Write a small Flux of that many single blocks, and plan its trace."""
    made, config = MODELS["flux"], {**CONFIGS["flux"], **_SMALL, "num_single_layers": blocks}
    inner = folder / made.attribute
    inner.mkdir(parents=True)
    write_json(
        folder / "model_index.json", {"_class_name": made.pipeline, made.attribute: ["diffusers", made.class_name]}
    )
    write_json(inner / "config.json", config)
    write_zeros(inner / "diffusion_pytorch_model.safetensors", made.tensors(config), "float16")
    (plan,) = plan_all(folder, "float16", ShapeOptions(), [made.attribute]).plans
    return plan


def growth_table(seconds: Mapping[str, Mapping[int, float]]) -> str:
    """A Markdown table: for each way and number of blocks the CPU seconds, and what they are of the first number's."""
    sizes: Sequence[int] = next(list(found) for found in seconds.values())
    lines = ["| blocks | " + " | ".join(map(str, sizes)) + " |", "|---" * (len(sizes) + 1) + "|"]
    for way, found in seconds.items():
        lines.append(f"| {way}, CPU s | " + " | ".join(f"{found[size]:.1f}" for size in sizes) + " |")
        first = found[sizes[0]]
        lines.append(f"| {way}, of the first | " + " | ".join(f"{found[size] / first:.2f}" for size in sizes) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
