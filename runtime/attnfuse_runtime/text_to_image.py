"""From a prompt to a picture: the loops of Stable Diffusion 1, 2 and XL, as mindone's pipelines go.

`model_index.json`, the scheduler's and the VAE's configurations and the tokenizers are read where the graphs are, or in
the folder of the pipeline that they were made of. Latents are float32 between steps, whatever the graphs take; mindone
keeps them in the model's type. The safety checker, if there is one, is not run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attnfuse_runtime import noise, schedulers
from attnfuse_runtime.backends import Backend, Devices
from attnfuse_runtime.errors import FolderError, InputError, PipelineError
from attnfuse_runtime.files import read_json
from attnfuse_runtime.noise import Array, Generators
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.tokenizer import Tokenizer

Callback = Callable[[int, float, Array], None]
"""Called after each step with its number, its timestep and the latents."""

_GUIDANCE: Mapping[str, float] = {"StableDiffusionPipeline": 7.5, "StableDiffusionXLPipeline": 5.0}
"""The pipelines there is a loop for, and how strongly each is guided where nothing else is asked for."""

_ENCODERS = (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))


@dataclass(frozen=True)
class Pictures:
    """What came of prompts: pictures, and the latents they were decoded from.

    `cut` is what no text encoder saw of each prompt; `milliseconds` what each stage took, all its runs together.
    """

    images: list[Image.Image]
    latents: Array
    cut: tuple[str, ...]
    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class _Text:
    """What a denoiser is told of texts: `states` [texts, tokens, width], and for XL `pooled` [texts, width]."""

    states: Array
    pooled: Array | None
    cut: tuple[str, ...]


@dataclass
class _Clock:
    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + 1000 * (time.perf_counter() - begun)


class TextToImage:
    """The loop over a folder's graphs."""

    def __init__(self, pipeline: Pipeline, source: Path | None = None) -> None:
        """`source` is the folder of the pipeline that the graphs were made of; None where their own holds all of it.

        Raises PipelineError where there is no loop for it or a graph is missing, FolderError where a file is,
        SchedulerError where its scheduler is not supported.
        """
        self.pipeline = pipeline
        source = _own(pipeline) if source is None else source
        index = read_json(source / "model_index.json")
        kind = index.get("_class_name")
        if not isinstance(kind, str) or kind not in _GUIDANCE:
            raise PipelineError(
                f"there is no loop for {kind}, but for {' and '.join(sorted(_GUIDANCE))}; call the components of "
                "attnfuse_runtime.Pipeline one by one."
            )
        self._guidance = _GUIDANCE[kind]
        self._zeros = bool(index.get("force_zeros_for_empty_prompt", kind == "StableDiffusionXLPipeline"))
        self._encoders = [
            (encoder, Tokenizer.from_folder(source / folder))
            for encoder, folder in _ENCODERS
            if index.get(encoder, [None])[0] is not None
        ]
        needed = ("unet", "vae_decoder", *(name for name, _ in self._encoders))
        missing = [name for name in needed if name not in pipeline.names]
        if missing:
            raise PipelineError(f"{pipeline.manifest.folder} lacks {', '.join(missing)}; compile those too.")
        self.scheduler = schedulers.from_config(read_json(source / "scheduler" / "scheduler_config.json"))
        self._vae = read_json(source / "vae" / "config.json")

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
        steps: int = 50,
        guidance_scale: float | None = None,
        seed: int | None = None,
        generator: Generators = None,
        latents: Array | None = None,
        eta: float = 0.0,
        callback: Callback | None = None,
    ) -> Pictures:
        """A picture of each prompt.

        `guidance_scale` is how strongly a picture follows its prompt (default: the pipeline's own); at 1 or below there
        is no guidance, and negative prompts go unread, as in mindone. Noise is drawn with `seed` or `generator`;
        `latents` take the place of the first. Raises InputError for arguments that do not fit, SchedulerError as the
        scheduler does.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if seed is not None and generator is not None:
            raise InputError("a seed and a generator were given; give one of them.")
        generator = noise.generator(seed) if seed is not None else generator
        scale = self._guidance if guidance_scale is None else guidance_scale
        clock = _Clock()
        text = self._encoded(texts, clock)
        against = self._negative(negative_prompts, text, clock) if scale > 1 else None
        # Before noise is drawn: its size depends on the steps.
        self.scheduler.set_timesteps(steps)
        latents = self._first(len(texts), generator, latents)
        conditions = self._conditions(text, against)
        for number, timestep in enumerate(self.scheduler.timesteps):
            with clock("unet"):
                output = self._denoised(latents, timestep, conditions, scale if against is not None else None)
            with clock("scheduler"):
                latents = self.scheduler.step(output, timestep, latents, generator=generator, eta=eta)
            if callback is not None:
                callback(number, float(timestep), latents)
        with clock("vae_decoder"):
            images = _pictures(self._decoded(latents))
        return Pictures(images, latents, text.cut, clock.milliseconds)

    def _encoded(self, texts: Sequence[str], clock: _Clock) -> _Text:
        """What the text encoders make of texts, side by side."""
        states, pooled, cut = [], None, tuple("" for _ in texts)
        for name, tokenizer in self._encoders:
            encoder = self.pipeline[name]
            length = encoder.component.inputs[0].shape[-1]
            with clock("tokenizer"):
                tokens = tokenizer(texts, max(length, 0))
            with clock(name):
                found = run_rows(encoder, {"input_ids": tokens.ids})
            states.append(next(found[one] for one in ("penultimate_hidden_state", "last_hidden_state") if one in found))
            pooled = found.get("text_embeds", pooled)
            cut = max(cut, tokens.cut, key=lambda one: sum(map(len, one)))
        return _Text(np.concatenate(states, axis=-1), pooled, cut)

    def _negative(self, given: str | Sequence[str] | None, text: _Text, clock: _Clock) -> _Text:
        """What the picture is guided away from: XL takes zeros where nothing was said."""
        count = len(text.states)
        if given is None and self._zeros:
            return _Text(np.zeros_like(text.states), None if text.pooled is None else np.zeros_like(text.pooled), ())
        texts = [given or ""] * count if given is None or isinstance(given, str) else list(given)
        if len(texts) != count:
            raise InputError(f"{len(texts)} negative prompts were given for {count} prompts; give one for each.")
        return self._encoded(texts, clock)

    def _first(self, count: int, generator: Generators, latents: Array | None) -> Array:
        """The first latents, float32, of noise rounded to the type that the denoiser takes texts in, as in mindone."""
        inputs = {one.name: one for one in self.pipeline["unet"].component.inputs}
        shape = (count, *inputs["sample"].shape[1:])
        if latents is None:
            latents = noise.randn(shape, generator, inputs["encoder_hidden_states"].dtype)
        if latents.shape != shape:
            raise InputError(f"the latents are {list(latents.shape)}, and the graph takes {list(shape)}; give those.")
        return np.asarray(latents.astype(np.float32) * np.float32(self.scheduler.init_noise_sigma))

    def _conditions(self, text: _Text, against: _Text | None) -> dict[str, Array]:
        """What the denoiser takes beside latents and timestep; with guidance, first what is guided away from."""
        sides = [text] if against is None else [against, text]
        found = {"encoder_hidden_states": np.concatenate([one.states for one in sides])}
        pooled = [one.pooled for one in sides if one.pooled is not None]
        if "text_embeds" in {one.name for one in self.pipeline["unet"].component.inputs} and pooled:
            size = self.pipeline["vae_decoder"].component.outputs[0].shape[2:]
            found["text_embeds"] = np.concatenate(pooled)
            # Original size, where the picture was cut out of it, and the size it is to have.
            found["time_ids"] = np.tile(np.asarray([*size, 0, 0, *size], np.float32), (len(found["text_embeds"]), 1))
        return found

    def _denoised(self, latents: Array, timestep: Any, conditions: dict[str, Array], scale: float | None) -> Array:
        """The model's output for the latents, guided where there is a scale."""
        sample = self.scheduler.scale_model_input(latents, timestep)
        rows = {"sample": sample if scale is None else np.concatenate([sample, sample]), **conditions}
        output = run_rows(self.pipeline["unet"], rows, timestep=np.asarray(timestep))["sample"].astype(np.float32)
        if scale is None:
            return output
        away, towards = np.split(output, 2)
        return np.asarray(away + np.float32(scale) * (towards - away))

    def _decoded(self, latents: Array) -> Array:
        mean, deviation = self._vae.get("latents_mean"), self._vae.get("latents_std")
        latents = latents / np.float32(self._vae.get("scaling_factor", 0.18215))
        if mean is not None and deviation is not None:
            deviation, mean = (np.asarray(one, np.float32).reshape(1, -1, 1, 1) for one in (deviation, mean))
            latents = latents * deviation + mean
        return run_rows(self.pipeline["vae_decoder"], {"latents": latents})["image"]


def _own(pipeline: Pipeline) -> Path:
    """The folder of the graphs, for one that holds the pipeline's configuration."""
    folder = pipeline.manifest.folder
    if not (folder / "model_index.json").is_file():
        raise FolderError(
            f"{folder} has graphs and no pipeline: it lacks model_index.json; give the folder of the pipeline that was "
            "compiled as `source`."
        )
    return folder


def _pictures(images: Array) -> list[Image.Image]:
    """Pictures of arrays [pictures, 3, height, width] from −1 to 1."""
    levels = np.clip(images.astype(np.float32) * 0.5 + 0.5, 0, 1).transpose(0, 2, 3, 1)
    return [Image.fromarray(one) for one in (levels * 255).round().astype(np.uint8)]
