"""LTX-Video: films of texts, and of the picture that they begin with; latents packed into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from attnfuse_runtime.errors import InputError, PipelineError
from attnfuse_runtime.families.base import (
    DECODER,
    Canvas,
    Conditions,
    FlowFamily,
    Text,
    given,
    joined,
    per_channel,
    same_length,
)
from attnfuse_runtime.families.videos import Decoding, Held, Shown, VideoFamily, spread
from attnfuse_runtime.films import pixels
from attnfuse_runtime.noise import Array, Generators, randn
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.watching import Clock

_ENCODER: Final = "vae_encoder"
_TOKENS: Final = 128
_PER_TOKEN: Final = "token_timesteps"
_FACTORS: Final = (("temporal", 8), ("spatial", 32))


class LTX(FlowFamily, VideoFamily):
    """Films of texts."""

    GUIDANCE = 3.0
    FRAME_RATE = 25

    def check(self) -> None:
        """Raise PipelineError for another scheduler, and where texts are of two lengths."""
        super().check()
        same_length(self, "text_encoder")

    @property
    def factors(self) -> tuple[int, int, int]:
        """The VAE's, 8 frames and 32 × 32 pixels where it does not say."""
        of_frames, side = (int(self.setup.vae.get(f"{of}_compression_ratio") or or_else) for of, or_else in _FACTORS)
        return of_frames, side, side

    def text(self, prompts: Sequence[Prompt], chunks: int, clock: Clock) -> Text:
        """T5's states, and which of them are of a text."""
        found = self.setup.encoders["text_encoder"](prompts, clock, length=max(self.tokens, 0) or _TOKENS)
        return Text(given("state", found.states, "text_encoder"), None, found.cut, found.mask)

    def conditions(self, sides: Sequence[Text], canvas: Canvas, guidance_scale: float | None) -> Conditions:
        """States, and a mask."""
        states, _ = joined(sides)
        masks = [one.mask for one in sides if one.mask is not None]
        return Conditions({"encoder_hidden_states": states, "encoder_attention_mask": np.concatenate(masks) > 0})

    def begin(self, steps: int, canvas: Canvas) -> None:
        """Evenly spaced noise levels, with the shift of a film of this size where the scheduler has one."""
        self.evenly(steps, self.packed_shape(canvas)[1])

    def inputs(self, latents: Array, timestep: Any, held: Held) -> Conditions:
        """Latents, and a timestep."""
        return Conditions({self.SAMPLE: latents}, {"timestep": self.time(timestep)})

    def packed_shape(self, canvas: Canvas) -> tuple[int, ...]:
        """[films, tokens, channels]."""
        count, channels, *sizes = canvas.latents
        return count, int(np.prod(sizes)), channels

    def packed(self, latents: Array) -> Array:
        """Each latent is a token."""
        return latents.reshape(*latents.shape[:2], -1).transpose(0, 2, 1)

    def unpacked(self, latents: Array, canvas: Canvas) -> Array:
        """The reverse."""
        return latents.transpose(0, 2, 1).reshape(canvas.latents)

    def unscaled(self, latents: Array) -> Array:
        """By the deviation and the mean of each channel, which are among the VAE's weights."""
        factor = np.float32(self.setup.vae.get("scaling_factor", 1.0))
        return latents * per_channel(self, "latents_std") / factor + per_channel(self, "latents_mean")

    def check_decoding(self, decoding: Decoding) -> None:
        """The later VAEs decode with noise."""
        if not self._noisy:
            super().check_decoding(decoding)

    @property
    def _noisy(self) -> bool:
        decoder = self.setup.pipeline.manifest.components[DECODER]
        return any(one.name == "timestep" for one in decoder.inputs)

    def filmed(self, latents: Array, decoding: Decoding) -> Array:
        """With noise, where the VAE takes it: none by default, and as much as the timestep says where it is told."""
        if not self._noisy:
            return super().filmed(latents, decoding)
        timestep = np.float32(decoding.timestep or 0.0)
        share = timestep if decoding.noise_scale is None else np.float32(decoding.noise_scale)
        noise = randn(latents.shape, decoding.generator, self.texts.dtype).astype(np.float32)
        rows = {"latents": (1 - share) * latents + share * noise, "timestep": np.full(len(latents), timestep)}
        return run_rows(self.setup.pipeline[DECODER], rows)["video"]


class LTXOfPictures(LTX):
    """Films that begin with a picture."""

    GRAPHS = (_ENCODER,)

    def check(self) -> None:
        """Raise PipelineError as LTX does, and where the transformer has one timestep for all tokens."""
        super().check()
        if not self.takes(_PER_TOKEN):
            raise PipelineError(f"transformer takes no {_PER_TOKEN}; compile it for this pipeline.")

    def held(self, shown: Shown, canvas: Canvas, generator: Generators, clock: Clock) -> Held:
        """The latents of the picture, and what is free: all but the first frame."""
        if shown.first is None:
            raise InputError("no image was given; give the picture that the film begins with.")
        if shown.last is not None:
            raise InputError("last_image was given, and the pipeline has the first alone; leave it out.")
        video = pixels(shown.first, *canvas.pixels)[:, :, None]
        encoder = self.setup.pipeline[_ENCODER]
        with clock(_ENCODER):
            moments = run_rows(encoder, {"video": video})["moments"].astype(np.float32)
        mean, logarithm = np.split(moments, 2, axis=1)
        several = isinstance(generator, Sequence) and len(generator) > 1
        shape = (canvas.latents[0] if several else 1, *mean.shape[1:])
        drawn = randn(shape, generator, encoder.component.outputs[0].dtype).astype(np.float32)
        known = mean + np.exp(np.float32(0.5) * np.clip(logarithm, -30, 20)) * drawn
        known = (known - per_channel(self, "latents_mean")) / per_channel(self, "latents_std")
        free = np.ones((1, 1, *canvas.latents[2:]), np.float32)
        free[:, :, 0] = 0
        return Held(self.packed(np.repeat(known, canvas.latents[2], axis=2)), self.packed(free))

    def first(self, latents: Array, held: Held) -> Array:
        """The picture, and noise behind it."""
        assert held.latents is not None
        assert held.free is not None
        return np.asarray(held.latents * (1 - held.free) + latents * held.free)

    def inputs(self, latents: Array, timestep: Any, held: Held) -> Conditions:
        """Latents, and a timestep of every token: 0 for those of the picture."""
        assert held.free is not None
        times = np.float32(timestep) * held.free[:, :, 0]
        return Conditions({self.SAMPLE: latents, _PER_TOKEN: spread(times, len(latents))})

    def stepped(self, output: Array, timestep: Any, latents: Array, canvas: Canvas, held: Held) -> Array:
        """The picture stays."""
        assert held.free is not None
        return np.where(held.free > 0, self.scheduler.step(output, timestep, latents), latents)
