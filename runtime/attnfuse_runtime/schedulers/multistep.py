"""What DPM-Solver and UniPC have in common: noise levels, and the exact part of a step between two of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np

from attnfuse_runtime.errors import SchedulerError
from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.base import SigmaScheduler
from attnfuse_runtime.schedulers.options import BetaOptions, SigmaOptions, ThresholdOptions
from attnfuse_runtime.schedulers.spacing import spaced
from attnfuse_runtime.schedulers.tables import (
    alphas_cumprod,
    exponential,
    karras,
    shifted,
    sigmas_of,
    timesteps_of,
)


@dataclasses.dataclass(frozen=True)
class MultistepOptions(SigmaOptions, ThresholdOptions, BetaOptions):
    """Those that both have."""

    solver_order: int = 2
    lower_order_final: bool = True
    use_flow_sigmas: bool = False
    flow_shift: float = 1.0
    final_sigmas_type: str = "zero"
    use_dynamic_shifting: bool = False
    time_shift_type: str = "exponential"

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **BetaOptions.CHOICES,
        "prediction_type": ("epsilon", "sample", "v_prediction", "flow_prediction"),
        "final_sigmas_type": ("zero", "sigma_min"),
        "time_shift_type": ("exponential",),
    }

    def check(self) -> None:
        """Raise SchedulerError for an order that there is not."""
        super().check()
        if self.solver_order < 1:
            raise self.refused("solver_order", "it is at least 1")


class Level(NamedTuple):
    """A noise level: sample = alpha · picture + sigma · noise; `log_snr` is log(alpha / sigma), ∞ without noise."""

    alpha: float
    sigma: float
    log_snr: float


class Leap(NamedTuple):
    """The exact part of a step: x → keep · x + scale · (e^z − 1) · m for a constant output m of the model.

    `h` is the step in log_snr; `noise` what multiplies noise that is added.
    """

    keep: float
    scale: float
    z: float
    h: float
    noise: float = 0.0

    @property
    def grown(self) -> float:
        """e^z − 1."""
        return math.expm1(self.z)


def leap(here: Level, there: Level, *, pictures: bool, stochastic: bool = False) -> Leap:
    """From one level to another, for a model whose output was taken to tell the picture, or else the noise.

    arXiv:2211.01095, appendix B; e^z is what the exponential integrator makes of the linear term. Towards no noise at
    all, h is infinite: z must be negative then.
    """
    h = there.log_snr - here.log_snr
    if pictures:
        fade = math.exp(-h) if stochastic else 1.0
        noise = there.sigma * math.sqrt(max(-math.expm1(-2 * h), 0)) if stochastic else 0.0
        return Leap(there.sigma / here.sigma * fade, -there.alpha, -2 * h if stochastic else -h, h, noise)
    noise = there.sigma * math.sqrt(max(math.expm1(2 * h), 0)) if stochastic else 0.0
    return Leap(there.alpha / here.alpha, -there.sigma * (2 if stochastic else 1), h, h, noise)


AnyOptions = TypeVar("AnyOptions", bound=MultistepOptions)


class Multistep(SigmaScheduler[AnyOptions]):
    """A scheduler that goes by what the model made of the latest samples too."""

    ROUNDED: ClassVar[bool]
    """Whether timesteps are rounded, whatever the betas, where they follow from Karras's noise levels."""

    LAST_AGAIN: ClassVar[bool]
    """Whether "sigma_min" is the last noise level, or else that of training, where levels do not follow timesteps."""

    def __init__(self, options: AnyOptions, unused: Sequence[str] = ()) -> None:
        super().__init__(options, unused)
        self._left = alphas_cumprod(options)
        self._table = sigmas_of(self._left)
        self._outputs: list[Array] = []

    def _level(self, at: int) -> Level:
        sigma = float(self.sigmas[at])
        alpha = 1 - sigma if self.options.use_flow_sigmas else (sigma**2 + 1) ** -0.5
        noise = sigma if self.options.use_flow_sigmas else sigma * alpha
        return Level(alpha, noise, math.log(alpha / noise) if noise else math.inf)

    def _mixture(self, number: int) -> tuple[float, float]:
        level = self._level(number)
        return level.alpha, level.sigma

    def _end(self) -> int:
        """One more than the largest timestep that may be taken."""
        return self.options.num_train_timesteps

    def _begin(self, steps: int, mu: float | None, sigmas: Sequence[float] | None) -> None:
        if mu is None or not self.options.use_dynamic_shifting:
            self._no_shift(mu, sigmas)
        if sigmas is not None:
            self._no_shift(None, sigmas)
        self._outputs = []
        timesteps, levels = self._levels(steps, self.options.flow_shift if mu is None else math.exp(mu))
        if not len(timesteps):
            raise SchedulerError(f"of {steps} steps none is left below timestep {self._end()}; ask for more.")
        self._set(timesteps.astype(np.int64), levels)

    def _levels(self, steps: int, shift: float) -> tuple[Array, Array]:
        """Timesteps, with a fraction that will be cut off, and the noise levels, with that after the last."""
        options, table = self.options, self._table
        levels = self._spread(steps)
        if levels is not None:
            timesteps = timesteps_of(levels, table)
            if not options.use_exponential_sigmas and (self.ROUNDED or options.beta_schedule != "squaredcos_cap_v2"):
                timesteps = timesteps.round()
        elif options.use_flow_sigmas:
            rising = 1 - np.linspace(1, 1 / options.num_train_timesteps, steps + 1)
            levels = shifted(rising, shift)[:0:-1]
            timesteps = levels * options.num_train_timesteps
        else:
            timesteps = spaced(options, steps, parts=steps + 1, end=self._end())
            levels = np.interp(timesteps, np.arange(len(table)), table)
            return timesteps, np.append(levels, self._last(table[0]))
        return timesteps, np.append(levels, self._last(levels[-1] if self.LAST_AGAIN else table[0]))

    def _last(self, smallest: float) -> float:
        return smallest if self.options.final_sigmas_type == "sigma_min" else 0.0

    def _spread(self, steps: int) -> Array | None:
        """Noise levels that do not follow timesteps, from the largest to the smallest; None where they do."""
        options = self.options
        if not (options.use_karras_sigmas or options.use_exponential_sigmas):
            return None
        largest = float(self._table[-1]) if options.sigma_max is None else options.sigma_max
        smallest = float(self._table[0]) if options.sigma_min is None else options.sigma_min
        return (karras if options.use_karras_sigmas else exponential)(largest, smallest, steps)

    def _remember(self, output: Array) -> None:
        """Keep the latest outputs, as many as the order asks for, newest last."""
        self._outputs = [*self._outputs, output][-self.options.solver_order :]
