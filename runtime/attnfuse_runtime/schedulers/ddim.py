"""DDIM (arXiv:2010.02502)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.base import Draw, Scheduler
from attnfuse_runtime.schedulers.options import BetaOptions, ThresholdOptions
from attnfuse_runtime.schedulers.predictions import noise_of, picture_of, thresholded
from attnfuse_runtime.schedulers.spacing import spaced
from attnfuse_runtime.schedulers.tables import alphas_cumprod


@dataclasses.dataclass(frozen=True)
class DDIMOptions(ThresholdOptions, BetaOptions):
    """Those of mindone's DDIMScheduler."""

    clip_sample: bool = True
    clip_sample_range: float = 1.0
    set_alpha_to_one: bool = True
    timestep_spacing: str = "leading"


class DDIMScheduler(Scheduler[DDIMOptions]):
    """Equation 12 of the paper, with the noise that `eta` asks for."""

    OPTIONS = DDIMOptions

    def __init__(self, options: DDIMOptions, unused: Sequence[str] = ()) -> None:
        super().__init__(options, unused)
        self._left = alphas_cumprod(options, floor=False)
        self._final = 1.0 if options.set_alpha_to_one else float(self._left[0])
        self._gap = 0

    def _begin(self, steps: int, mu: float | None, sigmas: Sequence[float] | None) -> None:
        self._no_shift(mu, sigmas)
        self._gap = self.options.num_train_timesteps // steps
        timesteps = spaced(self.options, steps).astype(np.int64)
        if self.options.prediction_type == "epsilon" and not np.all(self._left[timesteps]):
            raise self.options.refused(
                "prediction_type", f"at timestep {timesteps[0]} no signal is left to find beside the noise"
            )
        self.timesteps = timesteps

    def _mixture(self, number: int) -> tuple[float, float]:
        left = float(self._left[int(self.timesteps[number])])
        return left**0.5, (1 - left) ** 0.5

    def _step(self, output: Array, timestep: float, sample: Array, draw: Draw, eta: float) -> Array:
        to = int(timestep) - self._gap
        here, there = float(self._left[int(timestep)]), float(self._left[to]) if to >= 0 else self._final
        levels = here**0.5, (1 - here) ** 0.5
        picture = picture_of(self.options.prediction_type, output, sample, *levels)
        noise = noise_of(self.options.prediction_type, output, sample, *levels)
        if self.options.thresholding:
            picture = thresholded(picture, self.options)
        elif self.options.clip_sample:
            picture = np.clip(picture, -self.options.clip_sample_range, self.options.clip_sample_range)
        added = eta * ((1 - there) / (1 - here) * (1 - here / there)) ** 0.5
        found = there**0.5 * picture + max(1 - there - added**2, 0) ** 0.5 * noise
        return np.asarray(found + added * draw() if eta else found)
