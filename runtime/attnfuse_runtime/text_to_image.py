"""From a prompt to a picture: the loops of Stable Diffusion 1, 2, XL and 3, Flux and PixArt, as mindone's pipelines go.

Those of Stable Diffusion 1, 2 and XL begin with a picture too, paint part of one anew, and go by ControlNets.

`model_index.json`, the scheduler's and the VAE's configurations and the tokenizers are read where the graphs are, or in
the folder of the pipeline that they were made of. Latents are float32 between steps, whatever the graphs take; mindone
keeps them in the model's type. The safety checker, if there is one, is not run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attnfuse_runtime import given
from attnfuse_runtime.asking import check_numbers, generators_of, negative_of, of_size, prompts_of, refuse_other_than
from attnfuse_runtime.errors import InputError
from attnfuse_runtime.families import FAMILIES, Canvas, Conditions, Family, Moment, Start, kind_for, picture_prompt
from attnfuse_runtime.families.base import DECODER
from attnfuse_runtime.families.control import Controlled
from attnfuse_runtime.families.courses import Course
from attnfuse_runtime.files import read_json
from attnfuse_runtime.given import Given, Images, Number
from attnfuse_runtime.loading import Loop, check_graphs
from attnfuse_runtime.noise import Array, Generators
from attnfuse_runtime.pictures import Pictures, pictures
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.watching import Clock, Progress

Callback = Callable[[int, float, Array], None]
"""Called after each step with its number, its timestep and the latents."""

__all__ = ["Callback", "Pictures", "TextToImage"]


class TextToImage(Loop[Family]):
    """The loop over a folder's graphs."""

    KINDS = FAMILIES

    def __init__(self, pipeline: Pipeline, source: Path | None = None) -> None:
        """As of any loop."""
        super().__init__(pipeline, source)
        self._name = self._families[0].setup.index["_class_name"]
        processor = self._families[0].setup.folder / "feature_extractor" / "preprocessor_config.json"
        self._processor = read_json(processor) if processor.is_file() else {}

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
        image: Images = None,
        mask: Images = None,
        strength: float | None = None,
        control_image: Images = None,
        control_scale: Number = None,
        control_start: Number = None,
        control_end: Number = None,
        weighted: bool = False,
        ip_adapter_image: Image.Image | None = None,
        ip_adapter_scale: float | None = None,
        callback: Callback | None = None,
        progress: bool | None = None,
        **fixed: Any,
    ) -> Pictures:
        """A picture of each prompt.

        `steps` and `guidance_scale`, which is how strongly a picture follows its prompt, are the pipeline's own where
        nothing is said. At a scale of 1 or below there is no guidance, and negative prompts go unread, as in mindone.
        Flux has guidance as an input, and is guided away from negative prompts with `true_cfg_scale`.

        With an `image`, or one for each prompt, the run begins with that, and takes the share `strength` of the steps,
        from 0 to 1; with a `mask` it makes that part anew where the mask is white. Pipelines with ControlNets take a
        `control_image`: one for all prompts or one for each, and of several ControlNets one for each of those, like
        `control_scale`, which their outputs are multiplied with, and the shares of the steps `control_start` and
        `control_end` that they are there from and to. Pictures are Pillow's, of the size that the graphs make.

        `height` and `width` are pixels, and needed where the graphs take any; where there are graphs for several sizes,
        they choose among them, and the number of pictures where those differ in the batch alone. Noise is drawn with
        `seed` or `generator`; `latents` take the place of the first. With `weighted` prompts have marks as
        `prompts.weighted` tells. With an IP-Adapter the denoiser looks at `ip_adapter_image` too, with
        `ip_adapter_scale`, or what it was compiled with where nothing is said. `progress` shows a bar, or none; left
        out, it is shown on a terminal. `fixed` is for what graphs have fixed (`Component.fixed`), such as `clip_skip`:
        the value that they have, as any other is refused.

        Raises InputError for arguments that do not fit, SchedulerError as the scheduler does.
        """
        clock = Clock()
        texts = prompts_of(prompts, weighted=weighted)
        against = negative_of(negative_prompts, len(texts), weighted=weighted)
        pictured = given.taken(
            len(texts),
            image=image,
            mask=mask,
            strength=strength,
            control_image=control_image,
            controls=self._controls,
            control_scale=control_scale,
            control_start=control_start,
            control_end=control_end,
        )
        if height is None and width is None and pictured.size is not None and self._has_choice:
            height, width = pictured.size
        at = of_size(self.pipeline.manifest.sizes, len(texts), height, width)
        family = self._taking(self._families[at], pictured)
        check_numbers(guidance_scale=guidance_scale, true_cfg_scale=true_cfg_scale)
        away = family.guidance(guidance_scale, true_cfg_scale, against is not None)
        generator = generators_of(seed, generator)
        refuse_other_than(self.pipeline.manifest.components.values(), fixed)
        canvas = self._canvas(family, len(texts), height, width)
        pictured.check(*canvas.pixels)
        looked_at = picture_prompt(
            family.setup.pipeline, family.denoiser, self._processor, ip_adapter_image, ip_adapter_scale, clock
        )
        sides = family.sides(texts, against, clock, guided=away is not None)
        # Before noise is drawn: its size depends on the steps.
        steps = family.STEPS if steps is None else steps
        family.begin(steps, canvas)
        course = family.course(Start(pictured, canvas, steps, generator, latents, clock))
        latents = course.latents
        conditions = family.conditions(sides, canvas, guidance_scale)
        if looked_at is not None:
            rows = looked_at.rows(len(texts), guided=away is not None)
            conditions = Conditions({**conditions.rows, **rows}, {**conditions.same, **looked_at.same()})
        timesteps = self.scheduler.timesteps[course.skipped :]
        shown = Progress(len(timesteps), progress)
        for number, timestep in enumerate(timesteps):
            moment = Moment(pictured, number, len(timesteps), clock)
            output = family.predicted(
                self._denoised(family, course, latents, timestep, conditions, away, moment), canvas
            )
            with clock("scheduler"):
                latents = self.scheduler.step(output, timestep, latents, generator=generator, eta=eta)
                latents = course.after(latents, self.scheduler, course.skipped + number)
            shown.step(number + 1)
            if callback is not None:
                callback(number, float(timestep), latents)
        with clock(DECODER):
            images = pictures(family.decoded(family.unscaled(family.unpacked(latents, canvas))))
        return Pictures(images, latents, sides[-1].cut, clock.milliseconds)

    @property
    def _controls(self) -> int:
        """How many ControlNets there are."""
        family = self._families[0]
        return len(family.controlnets) if isinstance(family, Controlled) else 0

    @property
    def _has_choice(self) -> bool:
        """Whether a size may be asked for: there are graphs of several, or they take any."""
        decoder = self.pipeline.manifest.components[DECODER]
        return bool(self.pipeline.manifest.sizes) or any(size < 1 for size in decoder.inputs[0].shape[2:])

    def _taking(self, family: Family, pictured: Given) -> Family:
        """The loop over the same graphs that begins with what is given.

        Raises InputError where that is not what it takes, PipelineError where a graph is missing for it.
        """
        kind = kind_for(self._name, pictured.names)
        if kind is not type(family):
            check_graphs(self.pipeline, kind.GRAPHS)
            family = kind(family.setup)
        lacking = [name for name in kind.TAKES if name not in pictured.names]
        extra = [name for name in pictured.names if name not in kind.TAKES]
        if lacking:
            raise InputError(
                f"{self._name} needs {' and '.join(kind.TAKES)}, and was given no {' and no '.join(lacking)}; give one."
            )
        if extra:
            raise InputError(f"{self._name} takes no {' and no '.join(extra)}; leave it out.")
        return family

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
        self,
        family: Family,
        course: Course,
        latents: Array,
        timestep: Any,
        conditions: Conditions,
        scale: float | None,
        moment: Moment,
    ) -> Array:
        """The model's output for the latents, guided where there is a scale."""
        sample = self.scheduler.scale_model_input(latents, timestep)
        rows = {family.SAMPLE: sample if scale is None else np.concatenate([sample, sample]), **conditions.rows}
        same = {"timestep": family.time(timestep), **conditions.same}
        rows |= family.residuals(rows, same, moment)
        rows[family.SAMPLE] = course.sample(rows[family.SAMPLE])
        with moment.clock(family.DENOISER):
            output = run_rows(family.setup.pipeline[family.DENOISER], rows, **same)["sample"].astype(np.float32)
        if scale is None:
            return output
        away, towards = np.split(output, 2)
        return family.guided(away, towards, scale)
