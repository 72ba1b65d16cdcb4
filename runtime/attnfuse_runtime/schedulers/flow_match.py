"""Euler's method along a flow from noise to picture (arXiv:2403.03206): Stable Diffusion 3, Flux."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from attnfuse_runtime.errors import SchedulerError
from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.base import Draw, SigmaScheduler
from attnfuse_runtime.schedulers.options import SigmaOptions
from attnfuse_runtime.schedulers.tables import exponential, karras, shifted


@dataclasses.dataclass(frozen=True)
class FlowMatchOptions(SigmaOptions):
    """Those of mindone's FlowMatchEulerDiscreteScheduler."""

    shift: float = 1.0
    use_dynamic_shifting: bool = False
    base_shift: float = 0.5
    max_shift: float = 1.15
    base_image_seq_len: int = 256
    max_image_seq_len: int = 4096
    invert_sigmas: bool = False
    shift_terminal: float | None = None
    time_shift_type: str = "exponential"
    stochastic_sampling: bool = False

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {"time_shift_type": ("exponential", "linear")}

    def check(self) -> None:
        """Raise SchedulerError for noise that no seed would give again, and a shift of no picture."""
        super().check()
        if self.use_dynamic_shifting and self.max_image_seq_len == self.base_image_seq_len:
            raise self.refused("max_image_seq_len", "so is base_image_seq_len, and the shift is told between the two")
        if self.stochastic_sampling:
            raise self.refused("stochastic_sampling", "mindone draws its noise from MindSpore's own generator")


class FlowMatchEulerDiscreteScheduler(SigmaScheduler[FlowMatchOptions]):
    """Noise levels from 1 to 0, which the model is given times the number of training's timesteps."""

    OPTIONS = FlowMatchOptions

    def mu(self, tokens: int) -> float:
        """The shift of a picture of this many tokens, on the line that `base_shift` and `max_shift` give."""
        options = self.options
        slope = (options.max_shift - options.base_shift) / (options.max_image_seq_len - options.base_image_seq_len)
        return tokens * slope + options.base_shift - slope * options.base_image_seq_len

    def _begin(self, steps: int, mu: float | None, sigmas: Sequence[float] | None) -> None:
        if (mu is not None) != self.options.use_dynamic_shifting:
            wanted = "needs" if mu is None else "does not take"
            raise SchedulerError(f"the scheduler {wanted} mu; its use_dynamic_shifting says which.")
        if sigmas is not None and len(sigmas) != steps:
            raise SchedulerError(f"{len(sigmas)} sigmas were given for {steps} steps; give one for each.")
        options, total = self.options, self.options.num_train_timesteps
        levels = self._own(steps) if sigmas is None else np.asarray(sigmas, np.float32)
        levels = shifted(levels, options.shift) if mu is None else self._dynamic(levels, mu)
        if options.shift_terminal:
            if levels[-1] == 1:
                raise SchedulerError("a single step cannot end at the scheduler's shift_terminal; ask for two or more.")
            levels = 1 - (1 - levels) * ((1 - options.shift_terminal) / (1 - levels[-1]))
        if options.use_karras_sigmas or options.use_exponential_sigmas:
            largest = levels[0] if options.sigma_max is None else options.sigma_max
            smallest = levels[-1] if options.sigma_min is None else options.sigma_min
            levels = (karras if options.use_karras_sigmas else exponential)(largest, smallest, steps)
        levels = levels.astype(np.float32)
        if options.invert_sigmas:
            levels = np.float32(1) - levels
        self._set(levels * np.float32(total), np.append(levels, np.float32(options.invert_sigmas)))

    def _own(self, steps: int) -> Array:
        """Evenly from the largest to the smallest level of training, which are shifted already, and will be again."""
        ends = np.asarray([1, 1 / self.options.num_train_timesteps])
        if not self.options.use_dynamic_shifting:
            ends = shifted(ends, self.options.shift)
        largest, smallest = (float(end) for end in ends.astype(np.float32))
        return np.linspace(largest, smallest, steps)

    def _dynamic(self, levels: Array, mu: float) -> Array:
        factor = math.exp(mu) if self.options.time_shift_type == "exponential" else mu
        return np.asarray(factor / (factor + (1 / levels - 1)))

    def _mixture(self, number: int) -> tuple[float, float]:
        sigma = float(self.sigmas[number])
        return 1 - sigma, sigma

    def _step(self, output: Array, timestep: float, sample: Array, draw: Draw, eta: float) -> Array:
        self._no_eta(eta)
        at = self._here(timestep)
        self._advance()
        return np.asarray(sample + (float(self.sigmas[at + 1]) - float(self.sigmas[at])) * output)
