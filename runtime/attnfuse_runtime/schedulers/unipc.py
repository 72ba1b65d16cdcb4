"""UniPC: a predictor, and a corrector at the next step (arXiv:2302.04867)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.base import Draw
from attnfuse_runtime.schedulers.multistep import Level, Multistep, MultistepOptions, leap
from attnfuse_runtime.schedulers.predictions import noise_of, picture_of, thresholded


@dataclasses.dataclass(frozen=True)
class UniPCOptions(MultistepOptions):
    """Those of mindone's UniPCMultistepScheduler."""

    predict_x0: bool = True
    solver_type: str = "bh2"
    disable_corrector: tuple[int, ...] = ()
    solver_p: str | None = None

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **MultistepOptions.CHOICES,
        "solver_type": ("bh1", "bh2", "midpoint", "heun", "logrho"),
    }

    def check(self) -> None:
        """Raise SchedulerError where mindone does, and where its last step gives no numbers."""
        super().check()
        if self.solver_p is not None:
            raise self.refused("solver_p", "a predictor of another kind is not part of this; make it null")
        if self.rescale_betas_zero_snr:
            raise self.refused(
                "rescale_betas_zero_snr", "mindone's UniPC cannot be made with it; use another scheduler"
            )
        if self.prediction_type == "flow_prediction" and not self.predict_x0:
            raise self.refused("prediction_type", "without predict_x0 UniPC takes no flow")
        if self.thresholding and not self.predict_x0:
            raise self.refused("thresholding", "without predict_x0 UniPC has no picture to pull back")
        if self.final_sigmas_type == "zero":
            why = "the last step, to no noise at all, gives no numbers; set final_sigmas_type to 'sigma_min'"
            if not self.predict_x0:
                raise self.refused("predict_x0", why)
            if self.solver_type == "bh1":
                raise self.refused("solver_type", why)
            if self.solver_order > 1 and not self.lower_order_final:
                raise self.refused("lower_order_final", why)


class UniPCMultistepScheduler(Multistep[UniPCOptions]):
    """The sample that a step gives is corrected when the model has seen it."""

    OPTIONS = UniPCOptions
    ROUNDED = True
    LAST_AGAIN = True

    def __init__(self, options: UniPCOptions, unused: Sequence[str] = ()) -> None:
        super().__init__(options, unused)
        self._before: Array | None = None
        self._order = 1

    def _begin(self, steps: int, mu: float | None, sigmas: Sequence[float] | None) -> None:
        super()._begin(steps, mu, sigmas)
        self._before = None

    def _step(self, output: Array, timestep: float, sample: Array, draw: Draw, eta: float) -> Array:
        self._no_eta(eta)
        at, options = self._here(timestep), self.options
        told = self._converted(output, sample, at)
        if self._before is not None and at - 1 not in options.disable_corrector:
            sample = self._moved(at - 1, self._before, self._order, told)
        self._remember(told)
        most = (
            min(options.solver_order, len(self.timesteps) - at) if options.lower_order_final else options.solver_order
        )
        self._order, self._before = min(most, len(self._outputs)), sample
        found = self._moved(at, sample, self._order, None)
        self._advance()
        return found

    def _converted(self, output: Array, sample: Array, at: int) -> Array:
        """The picture, or the noise, that the output tells."""
        options, level = self.options, self._level(at)
        if not options.predict_x0:
            return noise_of(options.prediction_type, output, sample, level.alpha, level.sigma)
        # A flow is told by the noise level as it stands in the table, whatever the alphas are.
        sigma = float(self.sigmas[at]) if options.prediction_type == "flow_prediction" else level.sigma
        picture = picture_of(options.prediction_type, output, sample, level.alpha, sigma)
        return thresholded(picture, options) if options.thresholding else picture

    def _moved(self, at: int, sample: Array, order: int, corrected: Array | None) -> Array:
        """The sample one step after `at`: predicted, or corrected by what the model told there.

        Algorithms 5 to 8 of the paper.
        """
        here, there = self._level(at), self._level(at + 1)
        move = leap(here, there, pictures=self.options.predict_x0)
        if not move.h:  # "sigma_min" is the last noise level again
            return sample
        newest = self._outputs[-1]
        found = move.keep * sample + move.scale * move.grown * newest
        ratios, differences = [], []
        for back in range(1, order):
            ratio = (self._level(at - back).log_snr - here.log_snr) / move.h
            ratios.append(ratio)
            differences.append((self._outputs[-1 - back] - newest) / ratio)
        if corrected is not None:
            ratios.append(1.0)
            differences.append(corrected - newest)
        for weight, difference in zip(self._weights(ratios, move.z, there), differences):
            found = found + move.scale * weight * difference
        return np.asarray(found)

    def _weights(self, ratios: Sequence[float], z: float, there: Level) -> Sequence[float]:
        """How much each difference counts, times the paper's B(h)."""
        if not ratios:
            return ()
        scale = z if self.options.solver_type == "bh1" else math.expm1(z)
        if len(ratios) == 1:
            return (0.5 * scale,)
        moments, phi, factorial = [], math.expm1(z) / z - 1, 1
        for power in range(1, len(ratios) + 1):
            moments.append(phi * factorial)
            factorial *= power + 1
            phi = phi / z - 1 / factorial
        return [float(one) for one in np.linalg.solve(np.vander(ratios, increasing=True).T, moments)]
