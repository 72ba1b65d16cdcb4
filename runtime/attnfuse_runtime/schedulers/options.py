"""The options of a `scheduler_config.json`, as one frozen record for each class; the defaults are mindone's.

An option that the class has is applied or refused. One that only other schedulers have (Stable Diffusion 1.5's PNDM
configuration says `clip_sample`) is passed over by mindone's class too, and named in `Scheduler.unused`. Any other is
refused: it is a slip of the pen, or belongs to a later version whose numbers nobody compared.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from attnfuse_runtime.errors import SchedulerError

_FOREIGN = frozenset(
    {
        *("clip_sample", "clip_sample_range", "set_alpha_to_one", "skip_prk_steps", "variance_type", "thresholding"),
        *("dynamic_thresholding_ratio", "sample_max_value", "algorithm_type", "solver_type", "solver_order"),
        *("lower_order_final", "euler_at_final", "use_lu_lambdas", "lambda_min_clipped", "use_flow_sigmas"),
        *("flow_shift", "predict_x0", "disable_corrector", "solver_p", "interpolation_type", "timestep_type"),
        *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "sigma_min", "sigma_max", "rho"),
        *("sigma_data", "steps_offset", "timestep_spacing", "final_sigmas_type", "rescale_betas_zero_snr"),
        *("beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type", "shift", "base_shift"),
        *("max_shift", "base_image_seq_len", "max_image_seq_len", "invert_sigmas", "shift_terminal"),
        *("use_dynamic_shifting", "time_shift_type", "stochastic_sampling", "original_inference_steps"),
        *("timestep_scaling", "set_alpha_to_zero", "snr_shift_scale", "use_noise_unet", "noise_sampler_seed"),
    }
)
"""What schedulers of diffusers are configured with."""

_NULL: Mapping[str, type[Any]] = {
    "trained_betas": list,
    "sigma_min": float,
    "sigma_max": float,
    "shift_terminal": float,
    "variance_type": str,
    "solver_p": str,
}
"""The options that may be null, and what they are where they are not."""

_INFINITE = ("lambda_min_clipped",)
"""Those that may be infinite: they clip nothing then."""
_LARGEST = 3.4e38
_MOST_TIMESTEPS = 1_000_000
"""Of training: known are a thousand, and tables have as many numbers. No other whole number is larger either."""

AnyOptions = TypeVar("AnyOptions", bound="Options")


@dataclasses.dataclass(frozen=True)
class Options:
    """What every scheduler is configured with. Raises SchedulerError where an option is wrong or not supported."""

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The values of options that are words."""

    num_train_timesteps: int = 1000

    def __post_init__(self) -> None:
        """Look at each option by itself, then at what goes with what."""
        if not 1 <= self.num_train_timesteps <= _MOST_TIMESTEPS:
            raise self.refused("num_train_timesteps", f"it is from 1 to {_MOST_TIMESTEPS}")
        for name, known in self.CHOICES.items():
            if getattr(self, name) not in known:
                raise self.refused(name, f"known are {', '.join(repr(one) for one in known)}")
        self.check()

    def check(self) -> None:
        """Raise SchedulerError for options that do not go together."""

    def refused(self, name: str, why: str) -> SchedulerError:
        """The error that says why an option cannot be as it is."""
        return SchedulerError(f"the scheduler's {name} is {getattr(self, name)!r}: {why}.")


@dataclasses.dataclass(frozen=True)
class BetaOptions(Options):
    """Of schedulers whose noise levels come from betas."""

    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    timestep_spacing: str = "linspace"
    steps_offset: int = 0
    rescale_betas_zero_snr: bool = False

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "timestep_spacing": ("linspace", "leading", "trailing"),
    }

    def check(self) -> None:
        """Raise SchedulerError for trained betas of another length."""
        if self.trained_betas is not None and len(self.trained_betas) != self.num_train_timesteps:
            raise SchedulerError(
                f"the scheduler has {len(self.trained_betas)} trained_betas for {self.num_train_timesteps} timesteps; "
                "there is one for each."
            )
        for name in ("beta_start", "beta_end"):
            if not 0 <= getattr(self, name) < 1:
                raise self.refused(name, "it is from 0 to below 1")
        if strange := [one for one in self.trained_betas or () if not 0 <= one < 1]:
            raise SchedulerError(f"the scheduler's trained_betas have {strange[0]!r}: each is from 0 to below 1.")


@dataclasses.dataclass(frozen=True)
class SigmaOptions(Options):
    """Of schedulers that can space their noise levels otherwise than by timesteps."""

    use_karras_sigmas: bool = False
    use_exponential_sigmas: bool = False
    use_beta_sigmas: bool = False
    sigma_min: float | None = None
    sigma_max: float | None = None

    def check(self) -> None:
        """Raise SchedulerError for two spacings at once, and for the one that needs scipy."""
        if self.use_beta_sigmas:
            raise self.refused("use_beta_sigmas", "they need scipy's beta distribution, which is not part of this")
        for name in ("sigma_min", "sigma_max"):
            if (level := getattr(self, name)) is not None and level < 0:
                raise self.refused(name, "it is no noise level")
        if self.use_karras_sigmas and self.use_exponential_sigmas:
            raise self.refused("use_karras_sigmas", "use_exponential_sigmas is on too; choose one")
        super().check()


@dataclasses.dataclass(frozen=True)
class ThresholdOptions(Options):
    """Of schedulers that can pull back samples that left their range."""

    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0


def read(kind: type[AnyOptions], config: Mapping[str, Any]) -> tuple[AnyOptions, tuple[str, ...]]:
    """The options in a configuration, and the names of those that only other schedulers have.

    Raises SchedulerError for an option that is unknown, of a wrong type or not supported.
    """
    defaults = {each.name: each.default for each in dataclasses.fields(kind)}
    found: dict[str, Any] = {}
    unused: list[str] = []
    for name, value in config.items():
        if name in defaults:
            found[name] = _typed(name, value, defaults[name])
        elif name in _FOREIGN:
            unused.append(name)
        elif not name.startswith("_"):  # _class_name, _diffusers_version
            raise SchedulerError(
                f"the scheduler's configuration has {name!r}, which is no option known here; remove it."
            )
    return kind(**found), tuple(unused)


def _typed(name: str, value: object, default: object) -> object:
    """The value in the type of the option's default."""
    if value is None and (default is None or isinstance(default, bool)):
        return default
    wanted = _NULL[name] if default is None else type(default)
    if wanted in (list, tuple) and isinstance(value, (list, tuple)) and all(_is_number(one) for one in value):
        return tuple(value)
    if (wanted is float and _is_number(value)) or (name in _INFINITE and value in (-math.inf, math.inf)):
        return float(value)  # type: ignore[arg-type]
    if wanted not in (list, tuple, float) and type(value) is wanted:
        if isinstance(value, int) and abs(value) > _MOST_TIMESTEPS:
            raise SchedulerError(f"the scheduler's {name} is {value!r:.40}, and {_MOST_TIMESTEPS} at most; correct it.")
        return value
    raise SchedulerError(f"the scheduler's {name} is {value!r}, and not of type {wanted.__name__}; correct it.")


def _is_number(value: object) -> bool:
    """Whether float32, in which tables are, has such a number: it is neither infinite nor none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST
