"""How a run goes from its first latents to its last: from noise, from a picture, or with part of a picture kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers import Scheduler


@dataclass(frozen=True)
class Kept:
    """What stays of a picture: its latents, the noise that they get before each step, and a mask that is 0 there.

    Latents and noise are [pictures, channels, height, width], the mask has one channel.
    """

    latents: Array
    noise: Array
    mask: Array

    def put_into(self, latents: Array, scheduler: Scheduler[Any], number: int) -> Array:
        """The latents before step `number`, with the picture where it stays; without noise where no step is left."""
        kept = self.latents
        if number < len(scheduler.timesteps):
            kept = scheduler.add_noise(kept, self.noise, number)
        return np.asarray((np.float32(1) - self.mask) * kept + self.mask * latents)


@dataclass(frozen=True)
class Course:
    """A run: the first latents, and how many of the scheduler's timesteps are left out before them.

    `beside` are further channels of what the denoiser takes [pictures, channels, height, width].
    """

    latents: Array
    skipped: int = 0
    beside: Array | None = None
    kept: Kept | None = None

    def sample(self, rows: Array) -> Array:
        """The rows of latents as the denoiser takes them."""
        return rows if self.beside is None else np.concatenate([rows, for_rows(self.beside, len(rows))], axis=1)

    def after(self, latents: Array, scheduler: Scheduler[Any], number: int) -> Array:
        """What comes of the latents that step `number` made."""
        return latents if self.kept is None else self.kept.put_into(latents, scheduler, number + 1)


def for_rows(array: Array, rows: int) -> Array:
    """The array as often as it takes to have so many rows: one for all, or one for each picture of both halves."""
    return np.tile(array, (rows // len(array), *[1] * (array.ndim - 1)))
