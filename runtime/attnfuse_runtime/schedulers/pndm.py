"""PNDM: Runge-Kutta steps to begin with, unless they are skipped, then linear multistep ones (arXiv:2202.09778)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from attnfuse_runtime.errors import SchedulerError
from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.base import Draw, Scheduler
from attnfuse_runtime.schedulers.options import BetaOptions
from attnfuse_runtime.schedulers.predictions import noise_of
from attnfuse_runtime.schedulers.spacing import spaced
from attnfuse_runtime.schedulers.tables import alphas_cumprod

_ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Weights of the latest outputs, newest first."""

_RUNGE_KUTTA = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
_WARM_UP = 4
"""Timesteps that Runge-Kutta steps are taken at."""


@dataclasses.dataclass(frozen=True)
class PNDMOptions(BetaOptions):
    """Those of mindone's PNDMScheduler."""

    skip_prk_steps: bool = False
    set_alpha_to_one: bool = False
    timestep_spacing: str = "leading"

    def check(self) -> None:
        """Raise SchedulerError for what PNDM does not have."""
        super().check()
        if self.prediction_type == "sample":
            raise self.refused("prediction_type", "PNDM takes 'epsilon' and 'v_prediction'")
        if self.rescale_betas_zero_snr:
            raise self.refused("rescale_betas_zero_snr", "PNDM has no such option; use another scheduler")


class PNDMScheduler(Scheduler[PNDMOptions]):
    """Goes by the number of steps taken: some timesteps are there more than once."""

    OPTIONS = PNDMOptions

    def __init__(self, options: PNDMOptions, unused: Sequence[str] = ()) -> None:
        super().__init__(options, unused)
        self._left = alphas_cumprod(options)
        self._final = 1.0 if options.set_alpha_to_one else float(self._left[0])
        self._gap = 0
        self._warm_up: Array = np.zeros(0, np.int64)
        self._forget()

    def _forget(self) -> None:
        self._taken_steps = 0
        self._outputs: list[Array] = []
        self._start: Array | None = None
        self._sum: Array | None = None

    def _begin(self, steps: int, mu: float | None, sigmas: Sequence[float] | None) -> None:
        self._no_shift(mu, sigmas)
        if steps < _WARM_UP and not self.options.skip_prk_steps:
            raise SchedulerError(
                f"{steps} steps were asked for; without skip_prk_steps PNDM takes at least {_WARM_UP}."
            )
        self._gap = self.options.num_train_timesteps // steps
        times = spaced(self.options, steps).astype(np.int64)
        if self.options.skip_prk_steps:
            self._warm_up = times[:0]
            self.timesteps = np.concatenate([times[:1], times[1:2], times[1:]])
        else:
            halves = times[:_WARM_UP].repeat(2) + np.tile([self._gap // 2, 0], _WARM_UP)
            self._warm_up = halves[1:].repeat(2)[1:-1]
            self.timesteps = np.concatenate([self._warm_up, times[_WARM_UP - 1 :]])
        self._forget()

    def _mixture(self, number: int) -> tuple[float, float]:
        left = float(self._left[int(self.timesteps[number])])
        return left**0.5, (1 - left) ** 0.5

    def _step(self, output: Array, timestep: float, sample: Array, draw: Draw, eta: float) -> Array:
        self._no_eta(eta)
        move = self._runge_kutta if self._taken_steps < len(self._warm_up) else self._multistep
        found = move(output, int(timestep), sample)
        self._taken_steps += 1
        return found

    def _runge_kutta(self, output: Array, timestep: int, sample: Array) -> Array:
        """One of the four parts of a step, all from the sample and the timestep that the first had."""
        first, part = divmod(self._taken_steps, 4)
        if part == 0:
            self._outputs.append(output)
            self._start, self._sum = sample, np.zeros_like(output)
        assert self._start is not None
        assert self._sum is not None
        self._sum = self._sum + _RUNGE_KUTTA[part] * output
        to = timestep if part % 2 else timestep - self._gap // 2
        direction = self._sum if part == 3 else output
        return self._moved(self._start, int(self._warm_up[first * 4]), to, direction)

    def _multistep(self, output: Array, timestep: int, sample: Array) -> Array:
        """One step from the latest outputs. The second is the first one again, with a better direction."""
        to = timestep - self._gap
        if self._taken_steps == 1:
            assert self._start is not None
            direction, sample = (output + self._outputs[-1]) / 2, self._start
            return self._moved(sample, timestep + self._gap, timestep, direction)
        self._outputs = [*self._outputs[-3:], output]
        if self._taken_steps == 0:
            self._start = sample
        weights = _ADAMS_BASHFORTH[len(self._outputs) - 1]
        terms = [weight * one for weight, one in zip(weights, reversed(self._outputs))]
        return self._moved(sample, timestep, to, np.add.reduce(terms))

    def _moved(self, sample: Array, timestep: int, to: int, output: Array) -> Array:
        """The sample at another timestep: equation 9 of the paper."""
        here = float(self._left[timestep])
        there = float(self._left[to]) if to >= 0 else self._final
        noise = noise_of(self.options.prediction_type, output, sample, here**0.5, (1 - here) ** 0.5)
        weight = (there - here) / (here * (1 - there) ** 0.5 + (here * (1 - here) * there) ** 0.5)
        return np.asarray((there / here) ** 0.5 * sample - weight * noise)
