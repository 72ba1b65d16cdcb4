"""What the unfused graphs of a pipeline were fed and gave, for `align.py` to hold a device to: `compile --golden`.

A few steps of one prompt are run through the source's graphs in their own types, on this machine's CPU, and what went
into each run of a component and came out is kept. Each run is then done in float64 from the same inputs. How far the
own types are from that gives the limits: a device rounds in other places, and so is allowed a few times as much.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnfuse.component import Component
from attnfuse.errors import SourceError
from attnfuse.ir.types import Array
from attnfuse.measured import measure
from attnfuse.mindir import dtypes
from attnfuse.output import ALIGN, GOLDEN, MEASURE, Sink
from attnfuse.pictures import align
from attnfuse.pictures.recording import Call, Recording, packed
from attnfuse.pictures.running import Asked, own_errors, run_pipeline
from attnfuse.pictures.unfused import write_unfused
from attnfuse.progress import Progress
from attnfuse.version import __version__
from attnfuse_runtime.backends import CpuBackend
from attnfuse_runtime.families import FAMILIES
from attnfuse_runtime.files import read_json
from attnfuse_runtime.manifest import Component as Unfused
from attnfuse_runtime.manifest import Manifest
from attnfuse_runtime.pipeline import Pipeline

ASKED = Asked(prompts=("a photo of an astronaut riding a horse",), negative=("blurry",), steps=2, seed=0)
"""Guided, and noise of a seed that mindone draws too."""

_TIMES = 4
"""How many times as far from the graphs' own numbers as those are from float64 a device may be."""
_MOST_PSNR = 60.0
"""What is asked of pictures at most: beyond, differences are below a quarter of one of 255 levels."""
_COSINE = 1e-12
"""What a cosine may be off that was worked out in float64."""
_PICTURES = ("vae_decoder", "image")


def check_loop(folder: Path) -> None:
    """Raise SourceError where the runtime has no loop for the pipeline in a folder."""
    with own_errors():
        kind = read_json(folder / "model_index.json").get("_class_name")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise SourceError(f"--golden makes a picture, and there is no loop for {kind}, but for {', '.join(FAMILIES)}.")
    if takes := FAMILIES[kind].TAKES:
        raise SourceError(f"--golden makes a picture of a prompt, and {kind} needs {' and '.join(takes)} too.")


def write_golden(components: Sequence[Component], source: Path, work: Path, sink: Sink, progress: Progress) -> None:
    """Run the components, and write `golden/` and its two scripts; `source` has their scheduler and tokenizers.

    `work` is a new folder for as much as the weights. Raises SourceError where the components make no picture here.
    """
    unfused = {one.name: write_unfused(one, work, progress) for one in components}
    manifest = Manifest(work, "lite", "", unfused)
    recording = Recording(CpuBackend())
    progress.stage("", "golden")
    ran = run_pipeline(Pipeline(manifest, recording), recording, source, ASKED)
    exact = Pipeline(manifest, CpuBackend(exact=True))
    runs = []
    for name, calls in ran.calls.items():
        for number, call in enumerate(calls):
            file = f"{name}_{number}.npz"
            arrays = {f"input.{key}": value for key, value in call.inputs.items()}
            content = packed(arrays | {f"output.{key}": value for key, value in call.outputs.items()})
            sink.write(f"{GOLDEN}/{file}", [content])
            with own_errors():
                finer = exact[name](**call.inputs)
            outputs = {key: _limits(unfused[name], key, call, finer) for key in call.outputs}
            digest = hashlib.sha256(content).hexdigest()
            runs.append({"file": file, "component": name, "sha256": digest, "outputs": outputs})
        exact.release(name)
    index = {
        "schema": align.SCHEMA,
        "attnfuse": __version__,
        "prompts": list(ASKED.prompts),
        "negative_prompts": list(ASKED.negative),
        "seed": ASKED.seed,
        "steps": len(ran.steps),
        "scheduler": ran.scheduler,
        "limits": f"{_TIMES} times as far as the graphs' own types are from float64, and a rounding of its type",
        "runs": runs,
    }
    text = json.dumps(index, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    sink.write(f"{GOLDEN}/{align.INDEX}", [text.encode()])
    for name, script in ((ALIGN, align), (MEASURE, measure)):
        sink.write(name, [Path(str(script.__file__)).read_bytes()])


def _limits(component: Unfused, output: str, call: Call, exact: Mapping[str, Array]) -> dict[str, Any]:
    """What a device's output is held to."""
    value = call.outputs[output]
    found = align.figures(value, exact[output])
    dtype = next(dtypes.from_name(one.dtype) for one in component.outputs if one.name == output)
    unit = dtype.unit_roundoff if dtype.is_float else 0.0
    limits = {
        "max_abs": _TIMES * found.max_abs + unit * float(abs(exact[output]).max()),
        # Of small angles 1 − cosine grows with the square of the error.
        "cosine": 1 - _TIMES**2 * (1 - found.cosine) - max(unit**2, _COSINE),
    }
    if (component.name, output) == _PICTURES:
        own = align.psnr(value.clip(-1, 1), exact[output].clip(-1, 1), 2)
        limits["psnr_db"] = min(own - 20 * math.log10(_TIMES), _MOST_PSNR)
    return limits
