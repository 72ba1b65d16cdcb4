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
        sizes = np.tile(np.asarray([*canvas.pixels, 0, 0, *canvas.pixels], np.float32), (len(pooled), 1))
        return Conditions({"encoder_hidden_states": states, "text_embeds": pooled, "time_ids": sizes})

    def unscaled(self, latents: Array) -> Array:
        """With the VAE's own mean and deviation, where it has those."""
        latents = super().unscaled(latents)
        mean, deviation = self.setup.vae.get("latents_mean"), self.setup.vae.get("latents_std")
        if mean is None or deviation is None:
            return latents
        if any(len(one) not in (1, latents.shape[1]) for one in (mean, deviation)):
            raise PipelineError(
                f"the VAE's configuration has means and deviations of {len(mean)} and {len(deviation)} channels, and "
                f"latents have {latents.shape[1]}; take the pipeline's own."
            )
        deviation, mean = (np.asarray(one, np.float32).reshape(1, -1, 1, 1) for one in (deviation, mean))
        return np.asarray(latents * deviation + mean)
