"""The demo pipeline with an IP-Adapter in mindone, and the runtime's loop over what was compiled of both:
`python -m tests.support.adapted_loops FOLDER OUT ADAPTER PICTURE`.

OUT is of float32, unfused, with a scale of `SCALE`. Prints, as its last line, as JSON: how far the latents of the
graphs are from mindone's, and mindone's from those of the graphs in float64, each as a share of the largest; and how
far they are from latents without the picture.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attnfuse_runtime.backends import CpuBackend
from attnfuse_runtime.noise import Array
from attnfuse_runtime.text_to_image import TextToImage
from tests.support.demo_loops import kernels

SCALE, SEED, STEPS = 0.5, 7, 2
PROMPT, NEGATIVE = "a cat", "rain"


def _mindones(folder: Path, adapter: Path, picture: Image.Image) -> Array:
    import mindspore as ms
    from mindone import diffusers

    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.mint.zeros_like = lambda value: value * 0
    with kernels():
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(str(folder), mindspore_dtype=ms.float32)
        pipe.load_ip_adapter(str(adapter.parents[1]), subfolder=adapter.parent.name, weight_name=adapter.name)
        pipe.set_ip_adapter_scale(SCALE)
        pipe.set_progress_bar_config(disable=True)
        found = pipe(
            PROMPT,
            negative_prompt=NEGATIVE,
            height=64,
            width=64,
            num_inference_steps=STEPS,
            generator=np.random.default_rng(SEED),
            output_type="latent",
            ip_adapter_image=picture,
        )[0]
    return np.asarray(found.asnumpy())


def main(folder: Path, out: Path, adapter: Path, picture: Image.Image) -> None:
    """The figures."""
    theirs = _mindones(folder, adapter, picture)

    def run(backend: Any, **given: Any) -> Array:
        loop = TextToImage.from_folder(out, backend=backend)
        return loop(PROMPT, NEGATIVE, steps=STEPS, seed=SEED, ip_adapter_image=picture, **given).latents

    def apart(one: Array, other: Array) -> float:
        return float(np.abs(one - other).max() / np.abs(other).max())

    mine = run("cpu")
    exact = run(CpuBackend(exact=True))
    found = {
        "latents": apart(mine, theirs),
        "exact": apart(theirs, exact),
        "effect": apart(run("cpu", ip_adapter_scale=0.0), mine),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    pipeline, compiled, file, seen = map(Path, sys.argv[1:])
    main(pipeline, compiled, file, Image.open(seen))
