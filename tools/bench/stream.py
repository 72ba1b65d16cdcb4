"""Streaming a checkpoint's weights into a variables file, next to `cp` of the same bytes and a sync.

    python tools/make_checkpoint.py FOLDER --model sd15
    python -m tools.bench.stream FOLDER/unet/diffusion_pytorch_model.safetensors [--dtype float16] [--runs N]

The product's own writer does it: every tensor at its place, converted where the types differ, the SHA-256 worked out
and the file synced. In turn with `cp` and `sync` of what it wrote, on the same disk. `--cold` drops the read file from
the page cache before each run; without it the file is in the cache, as far as memory reaches. Imports no MindSpore.

With `--into FILE` it only streams, once, and prints its own figures as JSON: that is what runs in the child.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from attnfuse.mindir import dtypes
from attnfuse.mindir.external import lay_out
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.stored import StoredWeights
from attnfuse.mindir.streaming import variables
from attnfuse.output import OutputStage, place
from attnfuse.processes import peak_memory

_ROOT = Path(__file__).resolve().parents[2]
_TYPES = {"float16": dtypes.FLOAT16, "bfloat16": dtypes.BFLOAT16, "float32": dtypes.FLOAT32}
_LOCATION = "data_0"


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor lies."""

    file: Path
    key: str
    taken: None = None


def stream(checkpoint: Path, dtype: str, out: Path) -> dict[str, float]:
    """Stream every tensor of `checkpoint` into the new folder `out`; wall and CPU seconds, memory added, in bytes."""
    model = ModelProto()
    model.graph.name = "bench"
    with safe_open(checkpoint, framework="numpy") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 - no mapping
    for key, shape in shapes.items():
        model.graph.parameter.add(name=f"bench:{key}", data_type=_TYPES[dtype].wire).dims.extend(shape)
    lay_out(model, _LOCATION)
    weights = StoredWeights(model, sources={key: Stored(checkpoint, key) for key in shapes})
    with OutputStage(place(out, [checkpoint])) as stage:
        before, wall, cpu = peak_memory(), time.monotonic(), time.process_time()
        stage.write(_LOCATION, variables(model, weights, _LOCATION, []))
        figures = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu, "added": peak_memory() - before}
        stage.publish()
    return figures


def _copy(source: Path, to: Path) -> dict[str, float]:
    wall, before = time.monotonic(), os.times()
    subprocess.run(["cp", source, to], check=True)
    subprocess.run(["sync", to], check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": time.monotonic() - wall, "cpu": cpu}


def _ready(path: Path, *, cold: bool) -> None:
    """Put the file in the page cache, or take it out."""
    with path.open("rb", buffering=0) as file:
        if cold:
            os.fsync(file.fileno())  # only what is on the disk can be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while file.read(2**20):
                pass


def main(arguments: list[str] | None = None) -> int:
    """Measure in turn, print the table."""
    parser = argparse.ArgumentParser(description="Streaming weights next to cp of the same bytes.")
    parser.add_argument("checkpoint", type=Path, help="a .safetensors file")
    parser.add_argument("--dtype", choices=sorted(_TYPES), default="float16")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--into", type=Path)
    options = parser.parse_args(arguments)
    checkpoint = options.checkpoint.resolve()
    if options.into is not None:
        print(json.dumps(stream(checkpoint, options.dtype, options.into)))
        return 0
    streamed, copied = [], []
    with tempfile.TemporaryDirectory(dir=checkpoint.parent) as folder:
        written, copy = Path(folder) / "out" / _LOCATION, Path(folder) / "copy"
        for _ in range(options.runs):
            _ready(checkpoint, cold=options.cold)
            command = ["-m", "tools.bench.stream", str(checkpoint), "--dtype", options.dtype]
            done = subprocess.run(
                [sys.executable, *command, "--into", str(written.parent)],
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'passes'}"},
                stdout=subprocess.PIPE,
                check=True,
            )
            streamed.append(json.loads(done.stdout))
            _ready(written, cold=options.cold)
            copied.append(_copy(written, copy))
            size = written.stat().st_size
            written.unlink()
            copy.unlink()
            print(f"stream {streamed[-1]}, cp {copied[-1]}", file=sys.stderr)
    kind = "cold" if options.cold else "warm"
    print(f"{size / 1e6:.0f} MB written, {options.dtype}, {options.runs} runs, {kind} cache\n")
    print("| | wall s: median | range | CPU s: median | memory added, MiB |\n|---|---|---|---|---|")
    for name, figures in (("stream, digest, sync", streamed), ("cp, sync", copied)):
        wall = sorted(f["wall"] for f in figures)
        cpu = statistics.median(f["cpu"] for f in figures)
        added = f"{max(f['added'] for f in figures) / 2**20:.0f}" if figures is streamed else ""
        print(f"| {name} | {statistics.median(wall):.2f} | {wall[0]:.2f}–{wall[-1]:.2f} | {cpu:.2f} | {added} |")
    pairs = list(zip(streamed, copied, strict=True))
    ratios = [statistics.median(s[key] / max(c[key], 1e-9) for s, c in pairs) for key in ("wall", "cpu")]
    print(f"| stream / cp, pair by pair | {ratios[0]:.2f} | | {ratios[1]:.2f} | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
