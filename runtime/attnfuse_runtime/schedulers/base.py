"""What all schedulers have: timesteps to go through, and a step from each to the next."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from attnfuse_runtime.errors import SchedulerError
from attnfuse_runtime.noise import Array, Generators, randn
from attnfuse_runtime.schedulers.options import Options, read

AnyOptions = TypeVar("AnyOptions", bound=Options)
Draw = Callable[[], Array]
"""Draws noise of the sample's shape and type."""


@contextlib.contextmanager
def computing(name: str) -> Iterator[None]:
    """Numbers of a configuration that makes no sense are no numbers, and not told of by numpy.

    Raises SchedulerError where they cannot be computed at all.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except (ArithmeticError, IndexError, MemoryError, ValueError) as error:
        raise SchedulerError(
            f"the configuration of {name} gives no noise levels that a picture could be made with "
            f"({' '.join(str(error).split()) or type(error).__name__}); take the pipeline's own."
        ) from None


class Scheduler(ABC, Generic[AnyOptions]):
    """A sampler over the noise levels of a `scheduler_config.json`.

    Coefficients are float64, worked out from mindone's float32 tables. Arrays are computed in float32, or in float64
    where they are that, and come back in the type of the sample. mindone does parts of this in float16 where the
    arrays are that.
    """

    OPTIONS: ClassVar[type[Options]]

    def __init__(self, options: AnyOptions, unused: Sequence[str] = ()) -> None:
        """`unused` are options of the configuration that this kind of scheduler does not have."""
        self.options = options
        self.unused = tuple(unused)
        self.timesteps: Array = np.zeros(0)
        """Those of the next pictures, in order, as the model is given them: int64, or float32."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Scheduler[Any]:
        """The scheduler of a configuration. Raises SchedulerError for an option that is not supported."""
        options, unused = read(cls.OPTIONS, config)
        with computing(cls.__name__):
            return cls(options, unused)  # type: ignore[arg-type]

    @property
    def init_noise_sigma(self) -> float:
        """What the first noise is multiplied with."""
        return 1.0

    def set_timesteps(self, steps: int, *, mu: float | None = None, sigmas: Sequence[float] | None = None) -> None:
        """Begin a picture of this many steps.

        `mu` is the shift of a scheduler with `use_dynamic_shifting`, `sigmas` noise levels in place of its own. Raises
        SchedulerError where the scheduler has no such thing, lacks it, or does not take as many steps.
        """
        if not 1 <= steps <= self.options.num_train_timesteps:
            raise SchedulerError(
                f"{steps} steps were asked for; the scheduler takes 1 to {self.options.num_train_timesteps}."
            )
        with computing(type(self).__name__):
            self._begin(steps, mu, sigmas)

    def scale_model_input(self, sample: Array, timestep: float) -> Array:
        """What the model is given for the sample at this timestep."""
        return sample

    def begin_at(self, number: int) -> None:
        """Take `timesteps[number]` for the first: those before it are left out, of a picture that begins with another.

        Raises SchedulerError where there is no such timestep.
        """
        if not 0 <= number < len(self.timesteps):
            raise SchedulerError(
                f"there is no timestep {number} of {len(self.timesteps)} to begin at; give a lower one."
            )

    def add_noise(self, sample: Array, noise: Array, number: int) -> Array:
        """The sample with as much noise as there is at `timesteps[number]`, in the type of `sample`."""
        signal, level = self._mixture(number)
        wide = np.result_type(sample.dtype, np.float32)
        return np.asarray(signal * sample.astype(wide) + level * noise.astype(wide)).astype(sample.dtype)

    def step(
        self, output: Array, timestep: float, sample: Array, *, generator: Generators = None, eta: float = 0.0
    ) -> Array:
        """The sample of the next timestep, in the type of `sample`.

        `output` is what the model made of the sample, `timestep` one of `timesteps`, in their order. `generator` draws
        the noise of schedulers that add some; `eta` is how much of it DDIM adds. Raises SchedulerError where there are
        no timesteps, the shapes differ, or the scheduler has no eta.
        """
        if not len(self.timesteps):
            raise SchedulerError("set_timesteps was not called; call it before the first step.")
        output = self._taken(output)
        if output.shape != sample.shape:
            raise SchedulerError(f"the model's output is {output.shape} and the sample {sample.shape}; give one shape.")
        wide = np.result_type(sample.dtype, output.dtype, np.float32)

        def draw() -> Array:
            return randn(sample.shape, generator, sample.dtype).astype(wide)

        with computing(type(self).__name__):
            found = self._step(output.astype(wide), timestep, sample.astype(wide), draw, eta)
            if np.iscomplexobj(found):
                raise ValueError("the root of a number below 0")
            return found.astype(sample.dtype)

    @abstractmethod
    def _begin(self, steps: int, mu: float | None, sigmas: Sequence[float] | None) -> None:
        """Set the timesteps, and forget what came of earlier ones."""

    @abstractmethod
    def _step(self, output: Array, timestep: float, sample: Array, draw: Draw, eta: float) -> Array:
        """One step, all arrays of one type."""

    @abstractmethod
    def _mixture(self, number: int) -> tuple[float, float]:
        """What a picture, and noise, are multiplied with in the sample at `timesteps[number]`."""

    def _taken(self, output: Array) -> Array:
        """The part of the model's output that is used."""
        return output

    def _no_shift(self, mu: float | None, sigmas: Sequence[float] | None) -> None:
        """Raise SchedulerError where there is a shift or noise levels that this scheduler could only ignore."""
        if mu is not None or sigmas is not None:
            name = "mu" if mu is not None else "sigmas"
            raise SchedulerError(f"{type(self).__name__} was given {name}, which it does not take; leave it out.")

    def _no_eta(self, eta: float) -> None:
        if eta:
            raise SchedulerError(f"eta is {eta}, and {type(self).__name__} has none; DDIMScheduler alone does.")


class SigmaScheduler(Scheduler[AnyOptions]):
    """A scheduler that goes through noise levels, one more than it has timesteps."""

    def __init__(self, options: AnyOptions, unused: Sequence[str] = ()) -> None:
        super().__init__(options, unused)
        self.sigmas: Array = np.zeros(0, np.float32)
        """float32; the last is where the last step leads."""
        self._at: int | None = None

    def _set(self, timesteps: Array, sigmas: Array) -> None:
        """Take these, at the first of them."""
        self.timesteps, self.sigmas, self._at = timesteps, sigmas.astype(np.float32), None

    def begin_at(self, number: int) -> None:
        """As that of every scheduler; of a timestep that is there twice, the one that is meant."""
        super().begin_at(number)
        self._at = number

    def _here(self, timestep: float) -> int:
        """The number of the step. The first is looked up, where `begin_at` did not tell it.

        Of a timestep that is there twice it is the second, as in mindone; but where the first two are the same it is
        the first, as mindone would lack a noise level at the end.
        """
        if self._at is None:
            (found,) = np.nonzero(self.timesteps == timestep)
            if not len(found):
                raise SchedulerError(f"{timestep} is none of the scheduler's timesteps; give one of them.")
            self._at = 0 if found[0] == 0 else int(found[min(1, len(found) - 1)])
        if self._at >= len(self.timesteps):
            raise SchedulerError("the last step was taken already; call set_timesteps for another picture.")
        return self._at

    def _advance(self) -> None:
        self._at = (self._at or 0) + 1
