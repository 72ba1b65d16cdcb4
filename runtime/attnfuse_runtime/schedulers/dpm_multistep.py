"""DPM-Solver and DPM-Solver++, multistep (arXiv:2206.00927, arXiv:2211.01095)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.base import Draw
from attnfuse_runtime.schedulers.multistep import Leap, Level, Multistep, MultistepOptions, leap
from attnfuse_runtime.schedulers.predictions import noise_of, picture_of, thresholded
from attnfuse_runtime.schedulers.tables import evenly

_FEW = 15
"""Below so many steps the last ones are of a lower order, where that is asked for."""


@dataclasses.dataclass(frozen=True)
class DPMOptions(MultistepOptions):
    """Those of mindone's DPMSolverMultistepScheduler."""

    algorithm_type: str = "dpmsolver++"
    solver_type: str = "midpoint"
    euler_at_final: bool = False
    use_lu_lambdas: bool = False
    lambda_min_clipped: float = -math.inf
    variance_type: str | None = None

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **MultistepOptions.CHOICES,
        "algorithm_type": ("dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver", "deis"),
        "solver_type": ("midpoint", "heun", "logrho", "bh1", "bh2"),
    }

    @property
    def pictures(self) -> bool:
        """Whether it goes by the picture that the model's output tells, or else by the noise."""
        return self.algorithm_type in ("dpmsolver++", "sde-dpmsolver++", "deis")

    @property
    def stochastic(self) -> bool:
        """Whether each step adds noise."""
        return self.algorithm_type.startswith("sde")

    @property
    def heun(self) -> bool:
        """Whether second-order steps are Heun's; mindone takes solvers of other schedulers for the midpoint."""
        return self.solver_type == "heun"

    def check(self) -> None:
        """Raise SchedulerError where mindone does, and where it has no formula."""
        super().check()
        if self.algorithm_type not in ("dpmsolver++", "sde-dpmsolver++") and self.final_sigmas_type == "zero":
            raise self.refused("final_sigmas_type", f"with {self.algorithm_type} it is 'sigma_min'")
        if self.solver_order > 3:
            raise self.refused("solver_order", "it is at most 3")
        if self.algorithm_type == "sde-dpmsolver" and self.solver_order > 2:
            raise self.refused("solver_order", "with sde-dpmsolver it is at most 2")
        if self.prediction_type == "flow_prediction" and not self.pictures:
            raise self.refused("prediction_type", f"{self.algorithm_type} takes no flow")
        if self.variance_type not in (None, "learned", "learned_range", "fixed_small", "fixed_large"):
            raise self.refused("variance_type", "known are 'learned', 'learned_range' and none")


class DPMSolverMultistepScheduler(Multistep[DPMOptions]):
    """Of first order at the beginning, then of as high an order as there are outputs for."""

    OPTIONS = DPMOptions
    ROUNDED = False
    LAST_AGAIN = False

    def _end(self) -> int:
        log_snr = np.log(np.sqrt(self._left)) - np.log(np.sqrt(np.float32(1) - self._left))
        clipped = int(np.searchsorted(log_snr[::-1], np.float32(self.options.lambda_min_clipped)))
        return self.options.num_train_timesteps - clipped

    def _spread(self, steps: int) -> Array | None:
        if self.options.use_lu_lambdas and not self.options.use_karras_sigmas:
            logs = np.log(self._table)
            return np.asarray(np.exp(evenly(float(logs[-1]), float(logs[0]), steps)))
        return super()._spread(steps)

    def _taken(self, output: Array) -> Array:
        learned = self.options.variance_type in ("learned", "learned_range")
        return output[:, :3] if learned and self.options.prediction_type == "epsilon" else output

    def _step(self, output: Array, timestep: float, sample: Array, draw: Draw, eta: float) -> Array:
        self._no_eta(eta)
        at = self._here(timestep)
        self._remember(self._converted(output, sample, self._level(at)))
        pictures, stochastic = self.options.pictures, self.options.stochastic
        move = leap(self._level(at), self._level(at + 1), pictures=pictures, stochastic=stochastic)
        found = move.keep * sample + self._direction(at, move, self._order(at))
        if stochastic:
            found = found + move.noise * draw()
        self._advance()
        return np.asarray(found)

    def _order(self, at: int) -> int:
        options, left = self.options, len(self.timesteps) - at
        lower = options.lower_order_final and len(self.timesteps) < _FEW
        if left == 1 and (options.euler_at_final or lower or options.final_sigmas_type == "zero"):
            return 1
        order = min(options.solver_order, len(self._outputs))
        return min(order, 2) if left == 2 and lower else order

    def _converted(self, output: Array, sample: Array, level: Level) -> Array:
        """The picture, or the noise, that the output tells."""
        options, pair = self.options, (level.alpha, level.sigma)
        if options.pictures:
            # A flow is told by the noise level as it stands in the table, whatever the alphas are.
            flow = options.prediction_type == "flow_prediction"
            pair = (1.0, float(self.sigmas[self._at or 0])) if flow else pair
            picture = picture_of(options.prediction_type, output, sample, *pair)
            return thresholded(picture, options) if options.thresholding else picture
        noise = noise_of(options.prediction_type, output, sample, *pair)
        if options.thresholding:
            picture = thresholded(picture_of("epsilon", noise, sample, *pair), options)
            return noise_of("sample", picture, sample, *pair)
        return noise

    def _direction(self, at: int, move: Leap, order: int) -> Array:
        """What the outputs add: the latest, its first difference and its second, each with its weight."""
        newest = self._outputs[-1]
        found = move.scale * move.grown * newest
        if order == 1:
            return np.asarray(found)
        here = self._level(at).log_snr
        back = [here - self._level(at - 1).log_snr]
        first = (newest - self._outputs[-2]) * (move.h / back[0])
        mean = move.grown / move.z - 1 if move.z else 0.0
        if order == 2:
            weight = mean if self.options.heun else 0.5 * move.grown
            return np.asarray(found + move.scale * weight * first)
        back.append(self._level(at - 1).log_snr - self._level(at - 2).log_snr)
        second = first - (self._outputs[-2] - self._outputs[-3]) * (move.h / back[1])
        share = back[0] / (back[0] + back[1])
        # As mindone has it: the sign of ½ is another one for sde-dpmsolver++.
        half = 0.5 if self.options.stochastic else -0.5
        curve = (move.grown - move.z) / move.z**2 + half if move.z else half + 0.5
        found = found + move.scale * mean * (first + share * second)
        return np.asarray(found + move.scale * curve * second * (move.h / (back[0] + back[1])))
