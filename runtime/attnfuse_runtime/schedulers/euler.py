"""Euler's method over noise levels, plain and with noise of its own at each step (arXiv:2206.00364)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeVar

import numpy as np

from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.base import Draw, SigmaScheduler
from attnfuse_runtime.schedulers.options import BetaOptions, SigmaOptions
from attnfuse_runtime.schedulers.predictions import picture_of
from attnfuse_runtime.schedulers.spacing import spaced
from attnfuse_runtime.schedulers.tables import alphas_cumprod, exponential, karras, sigmas_of, timesteps_of


@dataclasses.dataclass(frozen=True)
class EulerOptions(SigmaOptions, BetaOptions):
    """Those of mindone's EulerDiscreteScheduler."""

    interpolation_type: str = "linear"
    timestep_type: str = "discrete"
    final_sigmas_type: str = "zero"

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **BetaOptions.CHOICES,
        "prediction_type": ("epsilon", "sample", "original_sample", "v_prediction"),
        "interpolation_type": ("linear", "log_linear"),
        "timestep_type": ("discrete", "continuous"),
        "final_sigmas_type": ("zero", "sigma_min"),
    }


@dataclasses.dataclass(frozen=True)
class AncestralOptions(BetaOptions):
    """Those of mindone's EulerAncestralDiscreteScheduler."""

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **BetaOptions.CHOICES,
        "prediction_type": ("epsilon", "v_prediction"),
    }


AnyOptions = TypeVar("AnyOptions", bound=BetaOptions)


class _Euler(SigmaScheduler[AnyOptions]):
    def __init__(self, options: AnyOptions, unused: Sequence[str] = ()) -> None:
        super().__init__(options, unused)
        self._table = sigmas_of(alphas_cumprod(options))
        self.sigmas = np.append(self._table[::-1], np.float32(0))

    @property
    def init_noise_sigma(self) -> float:
        largest = float(self.sigmas.max())
        return largest if self.options.timestep_spacing in ("linspace", "trailing") else (largest**2 + 1) ** 0.5

    def scale_model_input(self, sample: Array, timestep: float) -> Array:
        sigma = float(self.sigmas[self._here(timestep)])
        wide = np.result_type(sample.dtype, np.float32)
        found: Array = sample.astype(wide) / (sigma**2 + 1) ** 0.5
        return found.astype(sample.dtype)

    def _mixture(self, number: int) -> tuple[float, float]:
        return 1.0, float(self.sigmas[number])

    def _timesteps(self, steps: int) -> Array:
        return spaced(self.options, steps, whole=False).astype(np.float32)

    def _sigmas_at(self, timesteps: Array) -> Array:
        return np.interp(timesteps, np.arange(len(self._table)), self._table)

    def _picture(self, output: Array, sample: Array, sigma: float) -> Array:
        """The sample here is the usual one times √(sigma² + 1)."""
        alpha = (sigma**2 + 1) ** -0.5
        return picture_of(self.options.prediction_type, output, alpha * sample, alpha, sigma * alpha)


class EulerDiscreteScheduler(_Euler[EulerOptions]):
    """Straight on, to the next noise level."""

    OPTIONS = EulerOptions

    def _begin(self, steps: int, mu: float | None, sigmas: Sequence[float] | None) -> None:
        self._no_shift(mu, sigmas)
        timesteps, options = self._timesteps(steps), self.options
        levels = self._sigmas_at(timesteps)
        if options.interpolation_type == "log_linear":
            largest, smallest = (float(one) for one in np.log(self._table[[-1, 0]]))
            levels = np.exp(np.linspace(largest, smallest, steps + 1))
        largest = levels[0] if options.sigma_max is None else options.sigma_max
        smallest = levels[-1] if options.sigma_min is None else options.sigma_min
        if options.use_karras_sigmas or options.use_exponential_sigmas:
            levels = (karras if options.use_karras_sigmas else exponential)(largest, smallest, steps)
            timesteps = timesteps_of(levels, self._table).astype(np.float32)
        levels = np.append(levels, self._table[0] if options.final_sigmas_type == "sigma_min" else 0)
        if options.timestep_type == "continuous" and options.prediction_type == "v_prediction":
            timesteps = (0.25 * np.log(levels[:-1].astype(np.float32))).astype(np.float32)
        self._set(timesteps, levels)

    def _step(self, output: Array, timestep: float, sample: Array, draw: Draw, eta: float) -> Array:
        self._no_eta(eta)
        at = self._here(timestep)
        sigma, to = (float(one) for one in self.sigmas[at : at + 2])
        picture = self._picture(output, sample, sigma)
        self._advance()
        return np.asarray(sample + (sample - picture) * ((to - sigma) / sigma))


class EulerAncestralDiscreteScheduler(_Euler[AncestralOptions]):
    """Below the next noise level, and up to it with new noise."""

    OPTIONS = AncestralOptions

    def _begin(self, steps: int, mu: float | None, sigmas: Sequence[float] | None) -> None:
        self._no_shift(mu, sigmas)
        timesteps = self._timesteps(steps)
        self._set(timesteps, np.append(self._sigmas_at(timesteps), 0))

    def _step(self, output: Array, timestep: float, sample: Array, draw: Draw, eta: float) -> Array:
        self._no_eta(eta)
        at = self._here(timestep)
        sigma, to = (float(one) for one in self.sigmas[at : at + 2])
        picture = self._picture(output, sample, sigma)
        up = (to**2 * (sigma**2 - to**2) / sigma**2) ** 0.5
        down = (to**2 - up**2) ** 0.5
        self._advance()
        return np.asarray(sample + (sample - picture) * ((down - sigma) / sigma) + up * draw())
