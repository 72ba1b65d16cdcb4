"""Streaming weights with a LoRA over all attention, next to streaming them without.

    python -m tools.bench.lora [--rank N] [--blocks N] [--dtype float16] [--stored float16] [--runs N]

A checkpoint of random numbers is made first: transformer blocks as wide as those of SDXL's UNet, ten of which are a
tenth of its parameters, and in the same proportion what no LoRA changes. The product's own writer streams it: read,
merged, converted, the SHA-256 worked out, written and synced; in turn with and without, each in a process of its own.
BLAS has one thread, so that CPU seconds are work. Imports no MindSpore.

With `--into FOLDER` it only streams what lies in `--work`, once, and prints its own figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from attnfuse.mindir import dtypes
from attnfuse.mindir.external import lay_out
from attnfuse.mindir.low_rank import LowRank
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.stored import StoredWeights
from attnfuse.mindir.streaming import variables
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.output import OutputStage, place
from tools.bench.stream import Stored

_ROOT = Path(__file__).resolve().parents[2]
_TYPES = {"float16": dtypes.FLOAT16, "bfloat16": dtypes.BFLOAT16, "float32": dtypes.FLOAT32}
_NUMPY = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
_LOCATION, _MODEL, _LORA = "data_0", "model.safetensors", "lora.safetensors"
_WIDE, _TEXT = 1280, 2048
_SELF, _CROSS = (_WIDE, _WIDE), (_WIDE, _TEXT)
_ATTENTION = {
    **{f"attn1.{name}": _SELF for name in ("to_q", "to_k", "to_v", "to_out")},
    "attn2.to_q": _SELF,
    "attn2.to_k": _CROSS,
    "attn2.to_v": _CROSS,
    "attn2.to_out": _SELF,
}
#: Of SDXL's 2.57 G parameters, 0.95 G are of attention: feed-forward layers, and convolutions in one piece.
_OTHERS = {"ff.0": (8 * _WIDE, _WIDE), "ff.2": (_WIDE, 4 * _WIDE), "convolutions": (3840, _WIDE)}


def make(folder: Path, blocks: int, rank: int, stored: str) -> None:
    """Write the checkpoint and the LoRA."""
    random = np.random.default_rng(1)
    tensors, factors = {}, {}
    for block in range(blocks):
        for name, shape in {**_ATTENTION, **_OTHERS}.items():
            values = random.standard_normal(shape, np.float32) * np.float32(0.03)
            tensors[f"{block}.{name}"] = values.astype(_NUMPY[stored])
        for name, (rows, columns) in _ATTENTION.items():
            for factor, shape in (("u", (rows, rank)), ("d", (rank, columns))):
                values = random.standard_normal(shape, np.float32) * np.float32(0.02)
                factors[f"{block}.{name}.{factor}"] = values.astype(np.float16)
    save_file(tensors, folder / _MODEL)
    save_file(factors, folder / _LORA)


def stream(folder: Path, dtype: str, out: Path, *, with_lora: bool) -> dict[str, float]:
    """Stream every tensor into the new folder `out`; wall and CPU seconds, bytes."""
    file, lora = folder / _MODEL, folder / _LORA
    model = ModelProto()
    model.graph.name = "bench"
    sources, added = {}, {}
    for key, entry in TensorFile(file).tensors.items():
        model.graph.parameter.add(name=f"bench:{key}", data_type=_TYPES[dtype].wire).dims.extend(entry.shape)
        sources[key] = Stored(file, key)
        if with_lora and "attn" in key:
            added[key] = [LowRank(lora, f"{key}.u", f"{key}.d", 0.8)]
    lay_out(model, _LOCATION)
    weights = StoredWeights(model, sources=sources, added=added)
    with OutputStage(place(out, [file])) as stage:
        wall, cpu = time.monotonic(), time.process_time()
        size = stage.write(_LOCATION, variables(model, weights, _LOCATION, [])).bytes
        return {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu, "bytes": size}


def main(arguments: list[str] | None = None) -> int:
    """Measure in turn, print the table."""
    parser = argparse.ArgumentParser(description="Streaming weights with a LoRA next to without.")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--dtype", choices=sorted(_TYPES), default="float16")
    parser.add_argument("--stored", choices=sorted(_TYPES), default="float16")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--with-lora", action="store_true")
    options = parser.parse_args(arguments)
    if options.into is not None:
        print(json.dumps(stream(options.work, options.dtype, options.into, with_lora=options.with_lora)))
        return 0
    figures: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        make(folder, options.blocks, options.rank, options.stored)
        for _ in range(options.runs):
            for with_lora, runs in figures.items():
                command = ["-m", "tools.bench.lora", "--work", str(folder), "--into", str(folder / "out")]
                command += ["--dtype", options.dtype, *(["--with-lora"] if with_lora else [])]
                paths = f"{_ROOT}{os.pathsep}{_ROOT / 'passes'}"
                environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
                done = subprocess.run(
                    [sys.executable, *command], cwd=_ROOT, env=environment, stdout=subprocess.PIPE, check=True
                )
                runs.append(json.loads(done.stdout))
    size = figures[False][0]["bytes"]
    print(f"{size / 1e6:.0f} MB, {options.stored} to {options.dtype}, rank {options.rank}, {options.runs} runs\n")
    print("| | wall s: median | CPU s: median | CPU s: least |\n|---|---|---|---|")
    for with_lora, runs in figures.items():
        wall, cpu = (median(run[key] for run in runs) for key in ("wall", "cpu"))
        least = min(run["cpu"] for run in runs)
        print(f"| {'with' if with_lora else 'without'} a LoRA | {wall:.2f} | {cpu:.2f} | {least:.2f} |")
    ratios = [median(a[k] / b[k] for a, b in zip(figures[True], figures[False], strict=True)) for k in ("wall", "cpu")]
    print(f"| with / without, pair by pair | {ratios[0]:.2f} | {ratios[1]:.2f} | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
