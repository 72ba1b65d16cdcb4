"""From a prompt to a picture: the loops of Stable Diffusion 1, 2, XL and 3 and of Flux, as mindone's pipelines go.

`model_index.json`, the scheduler's and the VAE's configurations and the tokenizers are read where the graphs are, or in
the folder of the pipeline that they were made of. Latents are float32 between steps, whatever the graphs take; mindone
keeps them in the model's type. The safety checker, if there is one, is not run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnfuse_runtime.asking import check_numbers, generators_of, negative_of, of_size, prompts_of, refuse_other_than
from attnfuse_runtime.backends import Backend, Devices
from attnfuse_runtime.errors import InputError
from attnfuse_runtime.families import FAMILIES, Canvas, Conditions, Family
from attnfuse_runtime.families.base import DECODER
from attnfuse_runtime.loading import families_of
from attnfuse_runtime.noise import Array, Generators
from attnfuse_runtime.pictures import Pictures, pictures
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.watching import Clock, Progress

Callback = Callable[[int, float, Array], None]
"""Called after each step with its number, its timestep and the latents."""

__all__ = ["Callback", "Pictures", "TextToImage"]


class TextToImage:
    """The loop over a folder's graphs."""

    def __init__(self, pipeline: Pipeline, source: Path | None = None) -> None:
        """`source` is the folder of the pipeline that the graphs were made of; None where their own holds all of it.

        Raises PipelineError where there is no loop for it, a graph is missing or graphs do not go together, FolderError
        where a file is missing, SchedulerError where its scheduler is not supported.
        """
        self.pipeline = pipeline
        self._families = families_of(pipeline, source, FAMILIES)
        self.scheduler = self._families[0].scheduler

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        source: str | os.PathLike[str] | None = None,
        backend: str | Backend = "lite",
        devices: Devices = None,
    ) -> TextToImage:
        """The loop over a folder that attnfuse wrote, of the pipeline in `source` where that is told.

        Raises as `Pipeline` and this do.
        """
        pipeline = Pipeline.from_folder(folder, backend, devices)
        return cls(pipeline, None if source is None else Path(source))

    def __call__(
        self,
        prompts: str | Sequence[str],
        negative_prompts: str | Sequence[str] | None = None,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        true_cfg_scale: float | None = None,
        height: int | None = None,
        width: int | None = None,
        seed: int | None = None,
        generator: Generators = None,
        latents: Array | None = None,
        eta: float = 0.0,
        weighted: bool = False,
        callback: Callback | None = None,
        progress: bool | None = None,
        **fixed: Any,
    ) -> Pictures:
        """A picture of each prompt.

        `steps` and `guidance_scale`, which is how strongly a picture follows its prompt, are the pipeline's own where
        nothing is said. At a scale of 1 or below there is no guidance, and negative prompts go unread, as in mindone.
        Flux has guidance as an input, and is guided away from negative prompts with `true_cfg_scale`.

        `height` and `width` are pixels, and needed where the graphs take any; where there are graphs for several sizes,
        they choose among them, and the number of pictures where those differ in the batch alone. Noise is drawn with
        `seed` or `generator`; `latents` take the place of the first. With `weighted` prompts have marks as
        `prompts.weighted` tells. `progress` shows a bar, or none; left out, it is shown on a terminal. `fixed` is for
        what graphs have fixed (`Component.fixed`), such as `clip_skip`: the value that they have, as any other is
        refused.

        Raises InputError for arguments that do not fit, SchedulerError as the scheduler does.
        """
        clock = Clock()
        texts = prompts_of(prompts, weighted=weighted)
        against = negative_of(negative_prompts, len(texts), weighted=weighted)
        family = self._families[of_size(self.pipeline.manifest.sizes, len(texts), height, width)]
        check_numbers(guidance_scale=guidance_scale, true_cfg_scale=true_cfg_scale)
        away = family.guidance(guidance_scale, true_cfg_scale, against is not None)
        generator = generators_of(seed, generator)
        refuse_other_than(self.pipeline.manifest.components.values(), fixed)
        canvas = self._canvas(family, len(texts), height, width)
        sides = family.sides(texts, against, clock, guided=away is not None)
        # Before noise is drawn: its size depends on the steps.
        family.begin(family.STEPS if steps is None else steps, canvas)
        latents = family.drawn(canvas, generator, latents)
        conditions = family.conditions(sides, canvas, guidance_scale)
        shown = Progress(len(self.scheduler.timesteps), progress)
        for number, timestep in enumerate(self.scheduler.timesteps):
            with clock(family.DENOISER):
                output = self._denoised(family, latents, timestep, conditions, away)
            with clock("scheduler"):
                latents = self.scheduler.step(output, timestep, latents, generator=generator, eta=eta)
            shown.step(number + 1)
            if callback is not None:
                callback(number, float(timestep), latents)
        with clock(DECODER):
            images = pictures(family.decoded(family.unscaled(family.unpacked(latents, canvas))))
        return Pictures(images, latents, sides[-1].cut, clock.milliseconds)

    def _canvas(self, family: Family, count: int, height: int | None, width: int | None) -> Canvas:
        """The size of pictures and of their latents. Raises InputError where the graphs do not take it."""
        decoder = family.setup.pipeline.manifest.components[DECODER]
        taken, made = decoder.inputs[0].shape, decoder.outputs[0].shape
        scale = family.scale
        latents, pixels = [], []
        for name, asked, latent, pixel in zip(("height", "width"), (height, width), taken[-2:], made[-2:]):
            size = asked if latent < 1 else (pixel if pixel > 0 else latent * scale)
            if size is None:
                raise InputError(f"the graphs take pictures of any {name}; give one.")
            if asked not in (None, size):
                raise InputError(f"the {name} is {asked}, and the graphs are for {size}; compile for another.")
            step = scale * family.multiple()
            if latent < 1 and (size < 1 or size % step):
                raise InputError(f"the {name} is {size}; give a multiple of {step}.")
            latents.append(latent if latent > 0 else size // scale)
            pixels.append(size)
        return Canvas((count, taken[1], *latents), (pixels[0], pixels[1]))

    def _denoised(
        self, family: Family, latents: Array, timestep: Any, conditions: Conditions, scale: float | None
    ) -> Array:
        """The model's output for the latents, guided where there is a scale."""
        sample = self.scheduler.scale_model_input(latents, timestep)
        rows = {family.SAMPLE: sample if scale is None else np.concatenate([sample, sample]), **conditions.rows}
        same = {"timestep": family.time(timestep), **conditions.same}
        output = run_rows(family.setup.pipeline[family.DENOISER], rows, **same)["sample"].astype(np.float32)
        if scale is None:
            return output
        away, towards = np.split(output, 2)
        return family.guided(away, towards, scale)
