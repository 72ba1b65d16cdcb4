"""What all kinds of pipelines of films have in common, and where they may differ."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from attnfuse_runtime.errors import InputError
from attnfuse_runtime.families.base import DECODER, Canvas, Conditions, Family
from attnfuse_runtime.noise import Array, Generators
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.watching import Clock


@dataclass(frozen=True)
class Shown:
    """The pictures that films begin and end with; None where they are free."""

    first: Image.Image | None = None
    last: Image.Image | None = None


@dataclass(frozen=True)
class Held:
    """What is known of latents before they are made.

    `latents` are those of the pictures that are shown, as the denoiser takes them; None where none are. `free` is 1 for
    what is to be made, and 0 for what is known, and broadcasts to the latents; None where all of it is to be made.
    """

    latents: Array | None = None
    free: Array | None = None


@dataclass(frozen=True)
class Decoding:
    """How much noise latents are given before they are decoded, and what draws it; None where nothing was said."""

    timestep: float | None = None
    noise_scale: float | None = None
    generator: Generators = None


@dataclass(frozen=True)
class Stages:
    """The graph that denoises, and how strongly it is guided, None for not at all.

    From timesteps below `boundary` on it is `second`, guided by `second_scale`.
    """

    first: str
    scale: float | None
    second: str = ""
    second_scale: float | None = None
    boundary: float = 0.0

    def at(self, timestep: float) -> tuple[str, float | None]:
        """The graph, and its scale."""
        if self.second and timestep < self.boundary:
            return self.second, self.second_scale
        return self.first, self.scale


class VideoFamily(Family):
    """One kind of pipeline of films, over the graphs of a folder. The defaults are mindone's."""

    ENCODERS = ("text_encoder",)
    NEEDED = ("text_encoder",)
    STEPS = 50
    FRAME_RATE: ClassVar[int]
    """Frames a second of what it was trained on."""

    @property
    def noise_type(self) -> str:
        """float32, whatever the denoiser is held in."""
        return "float32"

    @property
    @abstractmethod
    def factors(self) -> tuple[int, int, int]:
        """How many frames, rows and columns one latent stands for; the first frame has one for itself."""

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """One: a text is cut off where the denoiser takes no more."""
        return 1

    def canvas(self, count: int, frames: int | None, height: int | None, width: int | None) -> Canvas:
        """The sizes of so many films and of their latents. Raises InputError where the graphs do not take them."""
        decoder = self.setup.pipeline.manifest.components[DECODER]
        asked = {"frames": frames, "height": height, "width": width}
        latents, pixels = [], []
        shapes = zip(asked.items(), decoder.inputs[0].shape[2:], decoder.outputs[0].shape[2:], self.factors)
        for (name, wanted), latent, made, factor in shapes:
            first, step = (1, factor) if name == "frames" else (0, factor * self.multiple())
            size = wanted if latent < 1 else (made if made > 0 else (latent - first) * factor + first)
            if size is None:
                raise InputError(f"the graphs take films of any {name}; say how many or how large.")
            if wanted not in (None, size):
                raise InputError(f"the {name} is {wanted}, and the graphs are for {size}; compile for another.")
            if latent < 1 and (size < max(first, 1) or (size - first) % step):
                raise InputError(f"the {name} is {size}; give a multiple of {step}{', and one more' if first else ''}.")
            latents.append(latent if latent > 0 else (size - first) // factor + first)
            pixels.append(size)
        return Canvas((count, decoder.inputs[0].shape[1], *latents), (pixels[1], pixels[2]))

    def frames(self, canvas: Canvas) -> int:
        """Of a film of this canvas."""
        return int((canvas.latents[2] - 1) * self.factors[0] + 1)

    def held(self, shown: Shown, canvas: Canvas, generator: Generators, clock: Clock) -> Held:
        """What is known of latents. Raises InputError for pictures that are too many, or missing."""
        if shown.first is not None or shown.last is not None:
            name = "image" if shown.first is not None else "last_image"
            kind = self.setup.index.get("_class_name")
            raise InputError(f"{name} was given, which {kind} does not take; leave it out.")
        return Held()

    def first(self, latents: Array, held: Held) -> Array:
        """The latents that the loop begins with, of noise as the denoiser takes it."""
        return latents

    def stages(self, scale: float | None, second: float | None) -> Stages:
        """Which graph denoises when. Raises InputError for a scale of a second where there is none."""
        if second is not None:
            raise InputError(f"guidance_scale_2 is {second}, and the pipeline has one transformer; leave it out.")
        return Stages(self.DENOISER, scale)

    def seen(self, shown: Shown, rows: int, clock: Clock) -> Mapping[str, Array]:
        """What the denoiser is told of the pictures that are shown, for so many rows at once."""
        return {}

    @abstractmethod
    def inputs(self, latents: Array, timestep: Any, held: Held) -> Conditions:
        """What the denoiser takes of latents and timestep."""

    def stepped(self, output: Array, timestep: Any, latents: Array, canvas: Canvas, held: Held) -> Array:
        """The latents of the next timestep."""
        return self.scheduler.step(output, timestep, latents)

    def finished(self, latents: Array, held: Held) -> Array:
        """The latents of a film, with what is known in its place."""
        return latents

    def check_decoding(self, decoding: Decoding) -> None:
        """Raise InputError where the VAE decodes without noise, and some was asked for."""
        for name, value in (("decode_timestep", decoding.timestep), ("decode_noise_scale", decoding.noise_scale)):
            if value is not None:
                raise InputError(f"{name} is {value}, and the graph {DECODER} decodes without noise; leave it out.")

    def filmed(self, latents: Array, decoding: Decoding) -> Array:
        """Films [films, 3, frames, height, width] of the VAE's latents."""
        return run_rows(self.setup.pipeline[DECODER], {"latents": latents})["video"]

    def at_once(self, rows: int) -> int:
        """How many of so many rows the denoiser takes in one run."""
        own = next((one.shape[0] for one in self.denoiser.inputs if one.name == self.SAMPLE), -1)
        return own if own > 0 else rows


def spread(values: Array, count: int) -> Array:
    """The values of one row, for so many."""
    return np.repeat(values, count, axis=0)
