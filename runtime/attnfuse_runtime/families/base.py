"""What all kinds of pipelines have in common, and where they may differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from attnfuse_runtime import noise
from attnfuse_runtime.errors import InputError, PipelineError
from attnfuse_runtime.families.courses import Course
from attnfuse_runtime.families.texts import TextEncoder
from attnfuse_runtime.given import Given
from attnfuse_runtime.manifest import Component, Tensor
from attnfuse_runtime.noise import Array, Generators
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.schedulers import FlowMatchEulerDiscreteScheduler, Scheduler
from attnfuse_runtime.watching import Clock

DECODER: Final = "vae_decoder"


@dataclass(frozen=True)
class Setup:
    """What a folder holds of a pipeline: graphs, `model_index.json`, scheduler, the VAE's configuration, encoders.

    `folder` is where other configurations are read.
    """

    pipeline: Pipeline
    index: Mapping[str, Any]
    scheduler: Scheduler[Any]
    vae: Mapping[str, Any]
    encoders: Mapping[str, TextEncoder]
    folder: Path = Path()


@dataclass(frozen=True)
class Canvas:
    """Sizes: of the VAE's latents, [pictures, channels, height, width], and of a picture, height and width.

    Of films latents are [films, channels, frames, height, width].
    """

    latents: tuple[int, ...]
    pixels: tuple[int, int]


@dataclass(frozen=True)
class Text:
    """What a denoiser is told of texts: `states` [texts, tokens, width] and, where it takes them, `pooled`.

    `cut` is what was left out of each text, `mask` [texts, tokens] 1 for a token and 0 for padding, of those that tell.
    """

    states: Array
    pooled: Array | None
    cut: tuple[str, ...]
    mask: Array | None = None


@dataclass(frozen=True)
class Conditions:
    """What the denoiser takes beside latents and timestep: `rows`, one for each of latents, and what all rows share."""

    rows: Mapping[str, Array]
    same: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """What a run of so many steps begins with: pictures, generators, and latents in the place of the first noise."""

    given: Given
    canvas: Canvas
    steps: int
    generator: Generators
    latents: Array | None
    clock: Clock


@dataclass(frozen=True)
class Moment:
    """Where in a run the denoiser is asked: step `number` of `total`, from 0, with the pictures of the run."""

    given: Given
    number: int
    total: int
    clock: Clock


class Family(ABC):
    """One kind of pipeline, over the graphs of a folder. The defaults are mindone's."""

    DENOISER: ClassVar[str] = "transformer"
    SAMPLE: ClassVar[str] = "hidden_states"
    """Its input for latents."""
    ENCODERS: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")
    NEEDED: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")
    """The text encoders that the loop cannot be without."""
    TAKES: ClassVar[tuple[str, ...]] = ()
    """The pictures that it is given, by the names of arguments."""
    GRAPHS: ClassVar[tuple[str, ...]] = ()
    """The graphs that the loop cannot be without, beside text encoders, denoiser and decoder."""
    STEPS: ClassVar[int] = 28
    GUIDANCE: ClassVar[float]

    def __init__(self, setup: Setup) -> None:
        """Raises PipelineError where graphs, scheduler and encoders do not go together."""
        self.setup = setup
        self.scheduler = setup.scheduler
        lacking = [name for name in self.NEEDED if name not in setup.encoders]
        if lacking:
            raise PipelineError(f"the pipeline has no {' and no '.join(lacking)}, and its loop needs that.")
        self.check()

    @classmethod
    def graphs(cls, index: Mapping[str, Any]) -> list[str]:
        """The graphs that the loop runs, of a pipeline with this `model_index.json`."""
        encoders = [name for name in cls.ENCODERS if has_part(index, name)]
        return [cls.DENOISER, DECODER, *encoders, *cls.GRAPHS]

    @abstractmethod
    def check(self) -> None:
        """Raise PipelineError where graphs, scheduler and encoders do not go together."""

    @property
    def denoiser(self) -> Component:
        """The denoiser, as the manifest has it."""
        return self.setup.pipeline.manifest.components[self.DENOISER]

    def takes(self, name: str) -> bool:
        """Whether the denoiser has this input."""
        return any(one.name == name for one in self.denoiser.inputs)

    @property
    def texts(self) -> Tensor:
        """The denoiser's input for states, [rows, tokens, width]; mindone draws noise in its type."""
        for one in self.denoiser.inputs:
            if one.name == "encoder_hidden_states" and len(one.shape) == 3:
                return one
        raise PipelineError(f"the graph {self.DENOISER} takes no encoder_hidden_states; compile it for this pipeline.")

    @property
    def noise_type(self) -> str:
        """The type that noise is rounded to: that of texts."""
        return self.texts.dtype

    @property
    def scale(self) -> int:
        """Pixels along the side of a latent."""
        return int(2 ** (len(self.setup.vae.get("block_out_channels", range(4))) - 1))

    @property
    def tokens(self) -> int:
        """The tokens of a text that the denoiser takes, -1 for any number."""
        return self.texts.shape[1]

    @abstractmethod
    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """How many chunks CLIP's encoders make of each prompt: what the denoiser takes, or what the longest needs."""

    @abstractmethod
    def text(self, prompts: Sequence[Prompt], chunks: int, clock: Clock) -> Text:
        """What the denoiser is told of prompts."""

    def negative(self, text: Text) -> Text | None:
        """What a picture is guided away from where nothing was said; None for an empty text."""
        return None

    def sides(
        self, prompts: Sequence[Prompt], against: Sequence[Prompt] | None, clock: Clock, *, guided: bool
    ) -> list[Text]:
        """What the denoiser is told of prompts; with guidance, first what is guided away from."""
        chunks = self.chunks([*prompts, *(against or () if guided else ())])
        text = self.text(prompts, chunks, clock)
        if not guided:
            return [text]
        away = self.negative(text) if against is None else None
        if away is None:
            away = self.text([Prompt("")] * len(prompts) if against is None else against, chunks, clock)
        return [away, text]

    def guidance(self, scale: float | None, true_cfg: float | None, negative: bool) -> float | None:
        """How strongly a picture is guided away from a negative prompt; None for one run a step, without.

        `scale` and `true_cfg` are None where nothing was said, `negative` tells whether something was said to guide
        away from. Raises InputError for what this kind of pipeline does not have.
        """
        if true_cfg is not None:
            raise InputError("true_cfg_scale was given, which Flux and Qwen-Image alone have; give guidance_scale.")
        scale = self.GUIDANCE if scale is None else scale
        return scale if scale > 1 else None

    def guided(self, away: Array, towards: Array, scale: float) -> Array:
        """What the model made with the prompt, moved away from what it made without."""
        return np.asarray(away + np.float32(scale) * (towards - away))

    @abstractmethod
    def conditions(self, sides: Sequence[Text], canvas: Canvas, guidance_scale: float | None) -> Conditions:
        """What the denoiser takes beside latents and timestep.

        `sides` are the texts, before them those that it is guided away from. `guidance_scale` is what was asked for.
        """

    def begin(self, steps: int, canvas: Canvas) -> None:
        """Begin a picture of this many steps. Raises SchedulerError as `set_timesteps`."""
        self.scheduler.set_timesteps(steps)

    def course(self, start: Start) -> Course:
        """How the run goes, its timesteps being set."""
        return Course(np.asarray(self.noise(start) * np.float32(self.scheduler.init_noise_sigma)))

    def noise(self, start: Start) -> Array:
        """The first noise, float32, rounded to the type that mindone draws it in.

        Raises InputError where latents that take its place are of another shape.
        """
        shape = self.packed_shape(start.canvas)
        found = start.latents
        if found is None:
            found = self.packed(noise.randn(start.canvas.latents, start.generator, self.noise_type))
        if found.shape != shape:
            raise InputError(f"the latents are {list(found.shape)}, and the graph takes {list(shape)}; give those.")
        return found.astype(np.float32)

    def residuals(self, rows: Mapping[str, Array], same: Mapping[str, Array], moment: Moment) -> dict[str, Array]:
        """What the denoiser takes beside `rows` and `same`, of models that take those themselves, as rows."""
        return {}

    def predicted(self, output: Array, canvas: Canvas) -> Array:
        """The part of the denoiser's output, guided, that the scheduler takes."""
        return output

    def time(self, timestep: Any) -> Array:
        """The timestep as the denoiser takes it."""
        return np.asarray(timestep)

    def packed_shape(self, canvas: Canvas) -> tuple[int, ...]:
        """The shape of latents as the denoiser takes them."""
        return canvas.latents

    def packed(self, latents: Array) -> Array:
        """The VAE's latents as the denoiser takes them."""
        return latents

    def unpacked(self, latents: Array, canvas: Canvas) -> Array:
        """The denoiser's latents as the VAE takes them."""
        return latents

    def unscaled(self, latents: Array) -> Array:
        """Latents as the VAE made them, of those that the denoiser works on."""
        return latents / np.float32(self.setup.vae.get("scaling_factor", 0.18215))

    def decoded(self, latents: Array) -> Array:
        """Pictures [pictures, 3, height, width] of the VAE's latents."""
        return run_rows(self.setup.pipeline[DECODER], {"latents": latents})["image"]

    def multiple(self) -> int:
        """Of how many latents height and width are a multiple."""
        return 1


class FlowFamily(Family):
    """What goes along a flow from noise to picture, by Euler's method."""

    def check(self) -> None:
        """Raise PipelineError for another scheduler."""
        if not isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler):
            raise PipelineError(
                f"the scheduler is {type(self.scheduler).__name__}, and the loop is for "
                "FlowMatchEulerDiscreteScheduler; take the pipeline's own."
            )

    def shift(self, tokens: int) -> float | None:
        """The shift of noise levels for a picture of this many tokens, where the scheduler has it depend on them."""
        scheduler = self.scheduler
        assert isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
        return scheduler.mu(tokens) if scheduler.options.use_dynamic_shifting else None

    def evenly(self, steps: int, tokens: int) -> None:
        """Begin with evenly spaced noise levels, and the shift of so many tokens where the scheduler has one."""
        levels = [float(one) for one in np.linspace(1.0, 1 / max(steps, 1), max(steps, 0))]
        self.scheduler.set_timesteps(steps, mu=self.shift(tokens), sigmas=levels)

    def unscaled(self, latents: Array) -> Array:
        """Scaled and shifted back."""
        return super().unscaled(latents) + np.float32(self.setup.vae.get("shift_factor") or 0.0)


def has_part(index: Mapping[str, Any], name: str) -> bool:
    """Whether a pipeline has this part: a pair of a library and a class, of nothing where it does without."""
    part = index.get(name)
    return isinstance(part, list) and bool(part) and part[0] is not None


def same_length(family: Family, encoder: str) -> None:
    """Raise PipelineError where the denoiser takes texts of another length than this encoder makes."""
    made = family.setup.pipeline.manifest.components[encoder].inputs[0].shape[-1]
    if family.tokens > 0 and made not in (-1, family.tokens):
        raise PipelineError(
            f"{family.DENOISER} takes texts of {family.tokens} tokens and {encoder} gives {made}; compile both for one "
            "length."
        )


def per_channel(family: Family, name: str) -> Array:
    """Numbers of the VAE's configuration, one for each channel of its latents: float32 [1, channels, 1, 1, 1].

    Raises PipelineError where they are not told.
    """
    values, channels = family.setup.vae.get(name), family.setup.pipeline.manifest.components[DECODER].inputs[0].shape[1]
    if not isinstance(values, list) or len(values) != channels:
        raise PipelineError(
            f"the VAE's {name} is {values!r}, and there is to be a number for each of its {channels} channels; compile "
            "again, with the VAE's weights."
        )
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1, 1)


def by_channel(family: Family, latents: Array) -> Array:
    """Latents [pictures, channels, …] as the VAE made them, by the deviation and the mean of each channel."""
    inverse = np.float32(1) / per_channel(family, "latents_std")  # which mindone divides by
    return np.asarray(latents / inverse + per_channel(family, "latents_mean"))


def longest(cuts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Of each text, the longest of what encoders left out."""
    return tuple(max(of, key=len) for of in zip(*cuts))


def joined(sides: Sequence[Text]) -> tuple[Array, Array | None]:
    """States and pooled texts of all sides, as rows of one batch."""
    pooled = [one.pooled for one in sides if one.pooled is not None]
    return np.concatenate([one.states for one in sides]), np.concatenate(pooled) if pooled else None


def given(name: str, wanted: Array | None, component: str) -> Array:
    """The array. Raises PipelineError where an encoder gave none."""
    if wanted is None:
        raise PipelineError(f"the graph {component} gives no {name}; compile it for this pipeline.")
    return wanted
