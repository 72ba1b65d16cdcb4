"""What begins with a picture: image to image, and inpainting, of Stable Diffusion and XL.

Noise is drawn in mindone's order: for the picture's latents, for the run, for the latents of the masked picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from attnfuse_runtime import noise
from attnfuse_runtime.errors import InputError, PipelineError
from attnfuse_runtime.families.base import Canvas, Start
from attnfuse_runtime.families.courses import Course, Kept, for_rows
from attnfuse_runtime.families.stable_diffusion import StableDiffusion, StableDiffusionXL
from attnfuse_runtime.manifest import Tensor
from attnfuse_runtime.noise import Array
from attnfuse_runtime.rows import run_rows

_ENCODER = "vae_encoder"
_LEAST, _MOST = -30.0, 20.0
"""Where an autoencoder's log-variance is cut off."""


class FromPicture(StableDiffusion):
    """Begins with a picture and as much noise as `strength` asks for, at the timestep that has so much."""

    TAKES: ClassVar[tuple[str, ...]] = ("image",)
    GRAPHS: ClassVar[tuple[str, ...]] = (_ENCODER,)
    STRENGTH: ClassVar[float] = 0.8

    def course(self, start: Start) -> Course:
        """From the picture's latents and noise on."""
        self._refuse_latents(start)
        skipped = self._skipped(start)
        assert start.given.image is not None
        latents = for_rows(self._encoded(start.given.image, start), start.canvas.latents[0])
        return Course(self.scheduler.add_noise(latents, self.noise(start), skipped), skipped)

    def _strength(self, start: Start) -> float:
        return self.STRENGTH if start.given.strength is None else start.given.strength

    def _refuse_latents(self, start: Start) -> None:
        if start.latents is not None:
            raise InputError("latents were given, and those of the image are what the run begins with; leave them out.")

    def _skipped(self, start: Start) -> int:
        """How many timesteps are left out: of `steps`, all but the share that `strength` tells."""
        strength, steps = self._strength(start), start.steps
        taken = min(int(steps * strength), steps)
        if taken < 1:
            raise InputError(
                f"strength is {strength}, of which {steps} steps leave none; give at least {1 / steps:.3g}, or more "
                "steps."
            )
        self.scheduler.begin_at(steps - taken)
        return steps - taken

    def _encoded(self, images: Array, start: Start) -> Array:
        """Latents [images, channels, height, width] as the denoiser works on them, drawn of what the VAE tells."""
        images = _several(images, start)
        with start.clock(_ENCODER):
            found = run_rows(self.setup.pipeline[_ENCODER], {"image": images})
        mean, spread = np.split(found[self._moments.name].astype(np.float32), 2, axis=1)
        deviation = np.exp(np.float32(0.5) * np.clip(spread, _LEAST, _MOST))
        return self.scaled(mean + deviation * self._drawn(mean.shape, start))

    def _drawn(self, shape: Sequence[int], start: Start) -> Array:
        """Noise for latents of a picture, in the type of what the VAE tells of it."""
        return noise.randn(shape, start.generator, self._moments.dtype).astype(np.float32)

    @property
    def _moments(self) -> Tensor:
        """Mean and log-variance, side by side, as the VAE's encoder gives them."""
        outputs = self.setup.pipeline.manifest.components[_ENCODER].outputs
        for one in outputs:
            if one.name == "moments":
                return one
        names = ", ".join(one.name for one in outputs)
        raise PipelineError(f"the graph {_ENCODER} gives {names}, and no moments; compile the pipeline's own VAE.")


class Inpainting(FromPicture):
    """Makes anew what a mask tells. A UNet of latents alone gets the rest of the picture put in after each step.

    One of more channels takes the mask and the latents of the rest beside them.
    """

    TAKES: ClassVar[tuple[str, ...]] = ("image", "mask")
    STRENGTH: ClassVar[float] = 1.0

    def check(self) -> None:
        """Raise PipelineError where the UNet takes neither latents alone, nor a mask and a masked picture beside."""
        super().check()
        latents, channels = self._channels()
        if channels not in (latents, 2 * latents + 1):
            raise PipelineError(
                f"{self.DENOISER} takes {channels} channels, and inpainting is for {latents} or {2 * latents + 1}; "
                "take a UNet for it."
            )

    def _channels(self) -> tuple[int, int]:
        """Of the VAE's latents, and of what the UNet takes."""
        components = self.setup.pipeline.manifest.components
        (sample,) = (one for one in self.denoiser.inputs if one.name == self.SAMPLE)
        return components["vae_decoder"].inputs[0].shape[1], sample.shape[1]

    def course(self, start: Start) -> Course:
        """From noise where `strength` is 1, else from the picture and noise."""
        self._refuse_latents(start)
        skipped, strongest = self._skipped(start), self._strength(start) == 1
        image, mask = start.given.image, start.given.mask
        assert image is not None
        assert mask is not None
        count, *_, height, width = start.canvas.latents
        latents, channels = self._channels()
        alone = channels == latents
        known = for_rows(self._encoded(image, start), count) if alone or not strongest else None
        drawn = self.noise(start)
        first = drawn * np.float32(self.scheduler.init_noise_sigma)
        if not strongest:
            assert known is not None
            first = self.scheduler.add_noise(known, drawn, skipped)
        # Nearest, as mindone has it: of each square of pixels that is one latent, the upper left one.
        small = for_rows(mask[:, :, :: mask.shape[2] // height, :: mask.shape[3] // width], count)
        masked = image * (mask < np.float32(0.5))
        if alone:
            # mindone draws for the masked picture here too: what schedulers draw later depends on it.
            self._drawn((len(_several(masked, start)), latents, height, width), start)
            assert known is not None
            return Course(first, skipped, kept=Kept(known, drawn, small))
        beside = np.concatenate([small, for_rows(self._encoded(masked, start), count)], axis=1)
        return Course(first, skipped, beside)


def _several(images: Array, start: Start) -> Array:
    """The images, as many as are made where each of those has a generator of its own."""
    alone = not isinstance(start.generator, Sequence) or len(start.generator) == 1
    return images if alone else for_rows(images, start.canvas.latents[0])


class _Scored(StableDiffusionXL):
    """XL from a picture, whose refiner takes how pleasing a picture is to be in the place of its size."""

    _SCORES = (6.0, 2.5)
    """As mindone has it: of what is asked for, and of what it is guided away from."""

    def sizes(self, canvas: Canvas, *, away: bool) -> Sequence[float]:
        if not self.setup.index.get("requires_aesthetics_score", False):
            return super().sizes(canvas, away=away)
        return [*canvas.pixels, 0, 0, self._SCORES[away]]


class StableDiffusionImageToImage(FromPicture):
    """As its name says."""


class StableDiffusionXLImageToImage(FromPicture, _Scored):
    """As its name says."""

    STRENGTH = 0.3


class StableDiffusionInpainting(Inpainting):
    """As its name says."""


class StableDiffusionXLInpainting(Inpainting, _Scored):
    """As its name says."""

    STRENGTH = 0.9999
    GUIDANCE = 7.5

    def scaled(self, latents: Array) -> Array:
        """Without the VAE's own mean and deviation, as in mindone."""
        return StableDiffusion.scaled(self, latents)
