"""From a prompt to a picture: the loops of Stable Diffusion 1, 2, XL and 3 and of Flux, as mindone's pipelines go.

`model_index.json`, the scheduler's and the VAE's configurations and the tokenizers are read where the graphs are, or in
the folder of the pipeline that they were made of. Latents are float32 between steps, whatever the graphs take; mindone
keeps them in the model's type. The safety checker, if there is one, is not run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnfuse_runtime import noise, prompts, schedulers
from attnfuse_runtime.backends import Backend, Devices
from attnfuse_runtime.errors import FolderError, InputError, PipelineError
from attnfuse_runtime.families import FAMILIES, Canvas, Conditions, Family, Setup, Text, TextEncoder
from attnfuse_runtime.files import read_json, read_vae
from attnfuse_runtime.manifest import Component, Size
from attnfuse_runtime.noise import Array, Generators
from attnfuse_runtime.pictures import Pictures, pictures
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.tokenizer import Tokenizer
from attnfuse_runtime.watching import Clock, Progress

Callback = Callable[[int, float, Array], None]
"""Called after each step with its number, its timestep and the latents."""

__all__ = ["Callback", "Pictures", "TextToImage"]

_DECODER = "vae_decoder"


class TextToImage:
    """The loop over a folder's graphs."""

    def __init__(self, pipeline: Pipeline, source: Path | None = None) -> None:
        """`source` is the folder of the pipeline that the graphs were made of; None where their own holds all of it.

        Raises PipelineError where there is no loop for it, a graph is missing or graphs do not go together, FolderError
        where a file is missing, SchedulerError where its scheduler is not supported.
        """
        self.pipeline = pipeline
        source = _own(pipeline) if source is None else source
        index = read_json(source / "model_index.json")
        kind = _kind(index)
        encoders = [name for name in kind.ENCODERS if _has(index, name)]
        missing = [name for name in (kind.DENOISER, _DECODER, *encoders) if name not in pipeline.names]
        if missing:
            raise PipelineError(f"{pipeline.manifest.folder} lacks {', '.join(missing)}; compile those too.")
        _check_graphs(pipeline.manifest.components[kind.DENOISER], pipeline.manifest.components[_DECODER])
        self.scheduler = schedulers.from_config(read_json(source / "scheduler" / "scheduler_config.json"))
        self._vae = read_vae(source / "vae" / "config.json")
        tokenizers = {
            name: Tokenizer.from_folder(source / name.replace("text_encoder", "tokenizer")) for name in encoders
        }

        def family(of: Pipeline) -> Family:
            made = {name: TextEncoder(of, name, tokenizer) for name, tokenizer in tokenizers.items()}
            return kind(Setup(of, index, self.scheduler, self._vae, made))

        self._families = [family(pipeline.at(size)) for size in pipeline.manifest.sizes] or [family(pipeline)]

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
        texts = _prompts([prompts] if isinstance(prompts, str) else prompts, weighted=weighted)
        if not texts:
            raise InputError("no prompt was given; give one.")
        against = _negative(negative_prompts, len(texts), weighted=weighted)
        family = self._of_size(len(texts), height, width)
        for name, scale in (("guidance_scale", guidance_scale), ("true_cfg_scale", true_cfg_scale)):
            if scale is not None and not math.isfinite(scale):
                raise InputError(f"{name} is {scale}; give a number.")
        away = family.guidance(guidance_scale, true_cfg_scale, against is not None)
        if seed is not None and generator is not None:
            raise InputError("a seed and a generator were given; give one of them.")
        self._refuse_other_than(fixed)
        canvas = self._canvas(family, len(texts), height, width)
        sides = self._sides(family, texts, against, clock, guided=away is not None)
        # Before noise is drawn: its size depends on the steps.
        family.begin(family.STEPS if steps is None else steps, canvas)
        generator = noise.generator(seed) if seed is not None else generator
        latents = self._first(family, canvas, generator, latents)
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
        with clock(_DECODER):
            unpacked = family.unscaled(family.unpacked(latents, canvas))
            images = pictures(run_rows(family.setup.pipeline[_DECODER], {"latents": unpacked})["image"])
        return Pictures(images, latents, sides[-1].cut, clock.milliseconds)

    def _refuse_other_than(self, settings: Mapping[str, Any]) -> None:
        """Raise InputError for a setting that no graph has, or that one has fixed to another value."""
        components = self.pipeline.manifest.components.values()
        for name, value in settings.items():
            having = [one for one in components if name in one.fixed]
            if not having:
                raise InputError(f"there is no argument {name}, and no graph has fixed it; leave it out.")
            for one in having:
                if one.fixed[name] != value:
                    raise InputError(
                        f"{name} is {value!r}, and the graph {one.name} has it fixed to {one.fixed[name]!r}; leave it "
                        "out, or compile for another."
                    )

    def _of_size(self, count: int, height: int | None, width: int | None) -> Family:
        """The loop over the graphs of a size: the first, where nothing is asked for.

        Of those that differ in the batch, the smallest that makes all pictures at once, or else the largest. Raises
        InputError where there are graphs for several sizes, and for none that is asked for.
        """
        sizes = self.pipeline.manifest.sizes
        if not sizes:
            return self._families[0]
        of = sizes[0] if height is None and width is None else Size(height, width, None, {})
        wanted = [
            (size.batch is not None and size.batch < count, abs((size.batch or count) - count), at)
            for at, size in enumerate(sizes)
            if of.height in (None, size.height) and of.width in (None, size.width)
        ]
        if not wanted:
            there = ", ".join(dict.fromkeys(f"{size.width}x{size.height}" for size in sizes))
            raise InputError(
                f"pictures of {width}x{height} were asked for, and the graphs are for {there}; ask for one of those."
            )
        return self._families[min(wanted)[2]]

    def _canvas(self, family: Family, count: int, height: int | None, width: int | None) -> Canvas:
        """The size of pictures and of their latents. Raises InputError where the graphs do not take it."""
        decoder = family.setup.pipeline.manifest.components[_DECODER]
        taken, made = decoder.inputs[0].shape, decoder.outputs[0].shape
        scale = 2 ** (len(self._vae.get("block_out_channels", range(4))) - 1)
        latents, pixels = [], []
        for name, asked, latent, pixel in zip(("height", "width"), (height, width), taken[2:], made[2:]):
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

    def _sides(
        self, family: Family, texts: Sequence[Prompt], against: Sequence[Prompt] | None, clock: Clock, *, guided: bool
    ) -> list[Text]:
        """What the denoiser is told; with guidance, first what is guided away from."""
        chunks = family.chunks([*texts, *(against or () if guided else ())])
        text = family.text(texts, chunks, clock)
        if not guided:
            return [text]
        away = family.negative(text) if against is None else None
        if away is None:
            away = family.text([Prompt("")] * len(texts) if against is None else against, chunks, clock)
        return [away, text]

    def _first(self, family: Family, canvas: Canvas, generator: Generators, latents: Array | None) -> Array:
        """The first latents, float32, of noise rounded to the type that the denoiser takes texts in, as in mindone."""
        shape = family.packed_shape(canvas)
        if latents is None:
            latents = family.packed(noise.randn(canvas.latents, generator, family.texts.dtype))
        if latents.shape != shape:
            raise InputError(f"the latents are {list(latents.shape)}, and the graph takes {list(shape)}; give those.")
        return np.asarray(latents.astype(np.float32) * np.float32(self.scheduler.init_noise_sigma))

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
        return np.asarray(away + np.float32(scale) * (towards - away))


def _kind(index: Mapping[str, Any]) -> type[Family]:
    name = index.get("_class_name")
    if not isinstance(name, str) or name not in FAMILIES:
        raise PipelineError(
            f"there is no loop for {name}, but for {', '.join(sorted(FAMILIES))}; call the components of "
            "attnfuse_runtime.Pipeline one by one."
        )
    return FAMILIES[name]


def _check_graphs(denoiser: Component, decoder: Component) -> None:
    """Raise PipelineError where the two have other inputs or outputs than a loop feeds and takes."""
    latents, image = decoder.inputs, [one for one in decoder.outputs if one.name == "image"]
    if len(latents) != 1 or len(image) != 1 or any(len(one.shape) != 4 for one in (*latents, *image)):
        raise PipelineError(
            f"the graph {decoder.name} is none from latents to an image, of [rows, channels, height, width]; compile "
            "it for this pipeline."
        )
    if not any(one.name == "sample" for one in denoiser.outputs):
        raise PipelineError(f"the graph {denoiser.name} has no output sample; compile it for this pipeline.")


def _has(index: Mapping[str, Any], name: str) -> bool:
    """Whether a pipeline has this part: a pair of a library and a class, of nothing where it does without."""
    part = index.get(name)
    return isinstance(part, list) and bool(part) and part[0] is not None


def _own(pipeline: Pipeline) -> Path:
    """The folder of the graphs, for one that holds the pipeline's configuration."""
    folder = pipeline.manifest.folder
    if not (folder / "model_index.json").is_file():
        raise FolderError(
            f"{folder} has graphs and no pipeline: it lacks model_index.json; give the folder of the pipeline that was "
            "compiled as `source`."
        )
    return folder


def _prompts(texts: Sequence[str], *, weighted: bool) -> list[Prompt]:
    for text in texts:
        # What a terminal of another encoding hands over: Python keeps its bytes as halves of surrogate pairs.
        if text != text.encode(errors="ignore").decode():
            raise InputError(f"the prompt {text!r} holds bytes that are no text in UTF-8; give it in that encoding.")
    return [prompts.weighted(text) if weighted else Prompt(text) for text in texts]


def _negative(given: str | Sequence[str] | None, count: int, *, weighted: bool) -> list[Prompt] | None:
    """One for each prompt, None where nothing was said."""
    if given is None:
        return None
    texts = [given] * count if isinstance(given, str) else given
    if len(texts) != count:
        raise InputError(f"{len(texts)} negative prompts were given for {count} prompts; give one for each.")
    return _prompts(texts, weighted=weighted)
