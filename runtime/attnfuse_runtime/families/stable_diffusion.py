"""Stable Diffusion 1, 2 and XL: a UNet, guided away from a negative prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from attnfuse_runtime.errors import PipelineError
from attnfuse_runtime.families.base import Canvas, Conditions, Family, Text, given, joined, longest
from attnfuse_runtime.noise import Array
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.watching import Clock


class StableDiffusion(Family):
    """The first two: one text encoder."""

    DENOISER = "unet"
    SAMPLE = "sample"
    ENCODERS: ClassVar[tuple[str, ...]] = ("text_encoder",)
    NEEDED: ClassVar[tuple[str, ...]] = ("text_encoder",)
    STEPS = 50
    GUIDANCE = 7.5

    def check(self) -> None:
        """Raise PipelineError where the UNet takes texts of another length than the encoders can make."""
        encoders = self.setup.encoders.values()
        lengths = {one.length for one in encoders}
        if len(lengths) > 1:
            raise PipelineError(
                f"{' and '.join(one.name for one in encoders)} take texts of {' and '.join(map(str, sorted(lengths)))} "
                "tokens; compile both for one length."
            )
        if self.tokens > 0:
            next(iter(encoders)).chunks_of(self.DENOISER, self.tokens)

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """What the UNet takes, or what the longest needs."""
        encoders = list(self.setup.encoders.values())
        if self.tokens > 0:
            return encoders[0].chunks_of(self.DENOISER, self.tokens)
        return max(one.chunks(prompts) for one in encoders)

    def text(self, prompts: Sequence[Prompt], chunks: int, clock: Clock) -> Text:
        """The encoders' states side by side, and the last one's pooled text."""
        found = {name: encoder(prompts, clock, chunks) for name, encoder in self.setup.encoders.items()}
        states = [given("state", one.states, name) for name, one in found.items()]
        *_, last = found.values()
        return Text(np.concatenate(states, axis=-1), last.pooled, longest([one.cut for one in found.values()]))

    def conditions(self, sides: Sequence[Text], canvas: Canvas, guidance_scale: float | None) -> Conditions:
        """The states; for XL also pooled texts and sizes."""
        states, _ = joined(sides)
        return Conditions({"encoder_hidden_states": states})

    def scaled(self, latents: Array) -> Array:
        """Latents as the denoiser works on them, of those that the VAE made: the reverse of `unscaled`."""
        return latents * np.float32(self.setup.vae.get("scaling_factor", 0.18215))


class StableDiffusionXL(StableDiffusion):
    """Two text encoders; the UNet takes a pooled text and sizes too. The refiner has the second encoder alone."""

    ENCODERS = ("text_encoder", "text_encoder_2")
    NEEDED = ("text_encoder_2",)
    GUIDANCE = 5.0

    def negative(self, text: Text) -> Text | None:
        """Zeros, unless the pipeline says otherwise."""
        if not self.setup.index.get("force_zeros_for_empty_prompt", True):
            return None
        pooled = None if text.pooled is None else np.zeros_like(text.pooled)
        return Text(np.zeros_like(text.states), pooled, ())

    def conditions(self, sides: Sequence[Text], canvas: Canvas, guidance_scale: float | None) -> Conditions:
        """States, pooled texts, and sizes: the original's, where the picture was cut out of it, and its own."""
        states, pooled = joined(sides)
        pooled = given("text_embeds", pooled, "text_encoder_2")
        rows = [
            self.sizes(canvas, away=number < len(sides) - 1) for number, one in enumerate(sides) for _ in one.states
        ]
        sizes = np.asarray(rows, np.float32)
        return Conditions({"encoder_hidden_states": states, "text_embeds": pooled, "time_ids": sizes})

    def sizes(self, canvas: Canvas, *, away: bool) -> Sequence[float]:
        """The numbers of a picture, or of what it is guided away from."""
        return [*canvas.pixels, 0, 0, *canvas.pixels]

    def scaled(self, latents: Array) -> Array:
        """With the VAE's own mean and deviation, where it has those."""
        own = self._own(latents.shape[1])
        if own is None:
            return super().scaled(latents)
        mean, deviation = own
        return np.asarray(super().scaled(latents - mean) / deviation)

    def unscaled(self, latents: Array) -> Array:
        """The reverse."""
        latents, own = super().unscaled(latents), self._own(latents.shape[1])
        if own is None:
            return latents
        mean, deviation = own
        return np.asarray(latents * deviation + mean)

    def _own(self, channels: int) -> tuple[Array, Array] | None:
        """Mean and deviation of the VAE's latents [1, channels, 1, 1]."""
        mean, deviation = self.setup.vae.get("latents_mean"), self.setup.vae.get("latents_std")
        if mean is None or deviation is None:
            return None
        for name, numbers in (("mean", mean), ("deviation", deviation)):
            if len(numbers) not in (1, channels):
                raise PipelineError(
                    f"the VAE's configuration has the {name} of {len(numbers)} channels, and latents have {channels}; "
                    "take the pipeline's own."
                )
        mean, deviation = (np.asarray(one, np.float32).reshape(1, -1, 1, 1) for one in (mean, deviation))
        return mean, deviation
