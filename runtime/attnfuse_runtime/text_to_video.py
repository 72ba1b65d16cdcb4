"""From a prompt, or a picture, to a film: the loops of Wan and LTX-Video, as mindone's pipelines go.

What is read where is as for pictures: see `text_to_image`. Latents are float32 between steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from attnfuse_runtime.asking import check_numbers, generators_of, negative_of, of_size, prompts_of, refuse_other_than
from attnfuse_runtime.families import VIDEOS, Conditions, Decoding, Shown, Start, VideoFamily
from attnfuse_runtime.families.base import DECODER
from attnfuse_runtime.films import Films, films
from attnfuse_runtime.given import Given
from attnfuse_runtime.loading import Loop
from attnfuse_runtime.noise import Array, Generators
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.watching import Clock, Progress

Callback = Callable[[int, float, Array], None]
"""Called after each step with its number, its timestep and the latents."""

__all__ = ["Callback", "Films", "TextToVideo"]


class TextToVideo(Loop[VideoFamily]):
    """The loop over a folder's graphs."""

    KINDS = VIDEOS

    def __call__(
        self,
        prompts: str | Sequence[str],
        negative_prompts: str | Sequence[str] | None = None,
        *,
        image: Image.Image | None = None,
        last_image: Image.Image | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_scale_2: float | None = None,
        decode_timestep: float | None = None,
        decode_noise_scale: float | None = None,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        seed: int | None = None,
        generator: Generators = None,
        latents: Array | None = None,
        callback: Callback | None = None,
        progress: bool | None = None,
        **fixed: Any,
    ) -> Films:
        """A film of each prompt.

        `image` is the picture that all of them begin with, in the pipelines that take one, and `last_image` the one
        that they end with; of another size they are made as large as the film, whatever their proportions.
        `guidance_scale_2` is the scale of Wan 2.2's second transformer, the first one's by default. `decode_timestep`
        and `decode_noise_scale` are how much noise latents are given before LTX-Video's later VAEs decode them.

        `frames`, `height` and `width` are needed where the graphs take any. All else is as in `TextToImage`, and so is
        what is raised.
        """
        clock = Clock()
        texts = prompts_of(prompts)
        against = negative_of(negative_prompts, len(texts))
        family = self._families[of_size(self.pipeline.manifest.sizes, len(texts), height, width, frames)]
        scales = {"guidance_scale": guidance_scale, "guidance_scale_2": guidance_scale_2}
        check_numbers(**scales, decode_timestep=decode_timestep, decode_noise_scale=decode_noise_scale)
        stages = family.stages(family.guidance(guidance_scale, None, against is not None), guidance_scale_2)
        decoding = Decoding(decode_timestep, decode_noise_scale, generators_of(seed, generator))
        family.check_decoding(decoding)
        refuse_other_than(self.pipeline.manifest.components.values(), fixed)
        canvas, shown = family.canvas(len(texts), frames, height, width), Shown(image, last_image)
        sides = family.sides(texts, against, clock, guided=stages.scale is not None)
        steps = family.STEPS if steps is None else steps
        family.begin(steps, canvas)
        held = family.held(shown, canvas, decoding.generator, clock)
        begun = family.noise(Start(Given(), canvas, steps, decoding.generator, latents, clock))
        latents = family.first(begun, held) if latents is None else begun
        conditions = family.conditions(sides, canvas, guidance_scale)
        total = len(texts) * len(sides)
        seen = family.seen(shown, family.at_once(total), clock)
        bar = Progress(len(self.scheduler.timesteps), progress)
        for number, timestep in enumerate(self.scheduler.timesteps):
            name, scale = stages.at(float(timestep))
            with clock(name):
                told = family.inputs(latents, timestep, held)
                output = _denoised(family, name, told, Conditions(conditions.rows, {**conditions.same, **seen}), scale)
            with clock("scheduler"):
                latents = family.stepped(output, timestep, latents, canvas, held)
            bar.step(number + 1)
            if callback is not None:
                callback(number, float(timestep), latents)
        latents = family.finished(latents, held)
        with clock(DECODER):
            made = family.filmed(family.unscaled(family.unpacked(latents, canvas)), decoding)
        return Films(films(made), family.FRAME_RATE, latents, sides[-1].cut, clock.milliseconds)


def _denoised(family: VideoFamily, name: str, told: Conditions, conditions: Conditions, scale: float | None) -> Array:
    """The model's output for the latents, guided where there is a scale."""
    component = family.setup.pipeline[name]
    twice = told.rows if scale is None else {of: np.concatenate([one, one]) for of, one in told.rows.items()}
    same: Mapping[str, Array] = {**told.same, **conditions.same}
    takes = {one.name for one in component.component.inputs}
    found = run_rows(component, {**twice, **conditions.rows}, **{of: one for of, one in same.items() if of in takes})
    output = found["sample"].astype(np.float32)
    if scale is None:
        return output
    away, towards = np.split(output, 2)
    return family.guided(away, towards, scale)
