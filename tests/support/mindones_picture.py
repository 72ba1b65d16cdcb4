"""mindone's own pipeline, run: `python -m tests.support.mindones_picture FOLDER SIZE STEPS SEED PROMPT NEGATIVE FILE`.

In float32 on a CPU, with stand-ins for the kernels that one lacks (`demo_loops`). Writes an .npz file: the latents
after each step, `latents_0` and on, and `image`, one of 8 bits a level.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def main(folder: str, size: int, steps: int, seed: int, prompt: str, negative: str, file: str) -> None:
    """Make the picture."""
    import mindspore as ms
    from mindone import diffusers

    from tests.support.demo_loops import kernels

    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.mint.zeros_like = lambda value: value * 0
    found: dict[str, Any] = {}

    def keep(pipe: Any, number: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        found[f"latents_{number}"] = values["latents"].asnumpy()
        return {}

    with kernels():
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, mindspore_dtype=ms.float32)
        pipe.set_progress_bar_config(disable=True)
        (image,) = pipe(
            prompt,
            negative_prompt=negative,
            height=size,
            width=size,
            num_inference_steps=steps,
            generator=np.random.default_rng(seed),
            output_type="np",
            callback_on_step_end=keep,
        )[0]
    np.savez(file, image=(image * 255).round().astype(np.uint8), **found)


if __name__ == "__main__":
    where, pixels, number, chosen, *texts = sys.argv[1:]
    main(where, int(pixels), int(number), int(chosen), *texts)
