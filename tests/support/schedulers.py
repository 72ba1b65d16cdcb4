"""Schedulers to compare, and mindone's own run over them: `python -m tests.support.schedulers FILE` writes it.

MindSpore makes the tables, in float32. Then each scheduler goes through all its steps, with outputs drawn in place of a
model's, and mindone's formulas computed by numpy in float64 over these tables (see `in_numpy`): in MindSpore's eager
mode all of them would take minutes, and UniPC lacks a kernel on a CPU. Some do it as they are too, in float32.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from attnfuse_runtime.noise import Array
from tests.support import in_numpy

SHAPE: Final = (2, 4, 3, 2)
SEED: Final = 11
TABLES: Final = ("timesteps", "sigmas", "alphas_cumprod", "final_alpha_cumprod")
AS_IT_IS: Final = ("pndm-sd15", "ddim-clip", "euler-sdxl", "ancestral", "dpm-sd21", "flow-sd3")
"""Those that MindSpore runs too, in float32. For UniPC it lacks a kernel on a CPU."""

_SD: Final = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_ZERO_SNR: Final = {**_SD, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}


@dataclass(frozen=True, slots=True)
class Case:
    """A configuration, of a class named without its last word, how many steps are asked for, and what else is given."""

    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 7
    mu: float | None = None
    sigmas: tuple[float, ...] | None = None
    eta: float = 0.0

    @property
    def whole(self) -> dict[str, Any]:
        """The configuration as a file has it."""
        return {"_class_name": f"{self.kind}Scheduler", "_diffusers_version": "0.35.1", **self.config}

    @property
    def asked(self) -> dict[str, Any]:
        """What mindone's `set_timesteps` is given: where there are sigmas, they say how many steps."""
        steps = {"num_inference_steps": self.steps} if self.sigmas is None else {"sigmas": list(self.sigmas)}
        return steps if self.mu is None else {**steps, "mu": self.mu}

    @property
    def channels(self) -> int:
        """Channels of the model's output; a learned variance is beside it."""
        return SHAPE[1] - 1 if "variance_type" in self.config else SHAPE[1]


_EULER: Final = "EulerDiscrete"
_ANCESTRAL: Final = "EulerAncestralDiscrete"
_DPM: Final = "DPMSolverMultistep"
_FLOW: Final = "FlowMatchEulerDiscrete"
_UNIPC: Final = "UniPCMultistep"

CASES: Final = {
    "pndm-sd15": Case(
        "PNDM", {**_SD, "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False}
    ),
    "pndm-prk": Case("PNDM", {"beta_schedule": "squaredcos_cap_v2"}),
    "pndm-prk-linspace": Case("PNDM", {"timestep_spacing": "linspace", "set_alpha_to_one": True}, steps=5),
    "pndm-v-trailing": Case(
        "PNDM", {**_SD, "skip_prk_steps": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    ),
    "pndm-one": Case("PNDM", {**_SD, "skip_prk_steps": True}, steps=1),
    "ddim-sd15": Case("DDIM", {**_SD, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    "ddim-clip": Case("DDIM", {"clip_sample_range": 1.5, "timestep_spacing": "linspace"}, eta=0.7),
    "ddim-zero-snr": Case("DDIM", {**_ZERO_SNR, "clip_sample": False, "timestep_spacing": "trailing"}),
    "ddim-sample": Case("DDIM", {"prediction_type": "sample", "thresholding": True, "sample_max_value": 2.0}, eta=1.0),
    "ddim-trained": Case("DDIM", {"trained_betas": [0.01 + 0.001 * i for i in range(50)], "num_train_timesteps": 50}),
    "euler-sdxl": Case(
        _EULER,
        {**_SD, "timestep_spacing": "leading", "steps_offset": 1, "use_karras_sigmas": False, "clip_sample": False},
    ),
    "euler-karras": Case(_EULER, {**_SD, "use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 80.0}),
    "euler-exponential": Case(_EULER, {**_SD, "use_exponential_sigmas": True, "final_sigmas_type": "sigma_min"}),
    "euler-log-linear": Case(_EULER, {"interpolation_type": "log_linear", "prediction_type": "sample"}),
    "euler-zero-snr": Case(_EULER, {**_ZERO_SNR, "timestep_spacing": "trailing"}),
    "euler-continuous": Case(  # of few timesteps: mindone takes a logarithm of each
        _EULER,
        {**_SD, "num_train_timesteps": 99, "timestep_type": "continuous", "prediction_type": "v_prediction"},
    ),
    "ancestral": Case(_ANCESTRAL, {**_SD, "timestep_spacing": "leading", "steps_offset": 1}),
    "ancestral-zero-snr": Case(_ANCESTRAL, {**_ZERO_SNR, "timestep_spacing": "trailing"}),
    "dpm-sd21": Case(_DPM, {**_SD, "prediction_type": "v_prediction", "steps_offset": 1, "lower_order_final": True}),
    "dpm-twenty": Case(_DPM, {**_SD, "timestep_spacing": "leading", "steps_offset": 1}, steps=20),
    "dpm-karras-heun": Case(_DPM, {**_SD, "use_karras_sigmas": True, "solver_type": "heun"}),
    "dpm-third": Case(_DPM, {**_SD, "solver_order": 3, "timestep_spacing": "trailing"}, steps=16),
    "dpm-third-euler": Case(_DPM, {**_SD, "solver_order": 3, "euler_at_final": True, "lower_order_final": False}),
    "dpm-lu-cosine": Case(
        _DPM, {"beta_schedule": "squaredcos_cap_v2", "use_lu_lambdas": True, "lambda_min_clipped": -5.1}
    ),
    "dpm-exponential": Case(_DPM, {**_SD, "use_exponential_sigmas": True, "sigma_max": 10.0}),
    "dpm-clipped": Case(_DPM, {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}),
    "dpm-noise": Case(_DPM, {**_SD, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    "dpm-noise-heun": Case(
        _DPM,
        {
            **_SD,
            "algorithm_type": "dpmsolver",
            "final_sigmas_type": "sigma_min",
            "solver_type": "heun",
            "prediction_type": "sample",
            "thresholding": True,
        },
    ),
    "dpm-noise-third": Case(
        _DPM,
        {**_ZERO_SNR, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "solver_order": 3},
        steps=16,
    ),
    "dpm-deis": Case(
        _DPM, {**_SD, "algorithm_type": "deis", "solver_type": "logrho", "final_sigmas_type": "sigma_min"}
    ),
    "dpm-sde": Case(_DPM, {**_SD, "algorithm_type": "sde-dpmsolver++", "thresholding": True}),
    "dpm-sde-heun": Case(_DPM, {**_SD, "algorithm_type": "sde-dpmsolver++", "solver_type": "heun"}),
    "dpm-sde-third": Case(_DPM, {**_SD, "algorithm_type": "sde-dpmsolver++", "solver_order": 3}, steps=16),
    "dpm-sde-noise": Case(
        _DPM, {**_SD, "algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min", "solver_type": "heun"}
    ),
    "dpm-flow": Case(
        _DPM, {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction", "solver_order": 3}
    ),
    "dpm-flow-mu": Case(
        _DPM, {"use_flow_sigmas": True, "use_dynamic_shifting": True, "prediction_type": "flow_prediction"}, mu=0.8
    ),
    "dpm-learned": Case(_DPM, {**_SD, "variance_type": "learned_range"}),
    "flow-sd3": Case(_FLOW, {"shift": 3.0}),
    "flow-flux": Case(
        _FLOW,
        {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "max_image_seq_len": 4096},
        mu=0.9,
        sigmas=tuple(float(one) for one in np.linspace(1, 1 / 7, 7)),
    ),
    "flow-linear": Case(
        _FLOW, {"use_dynamic_shifting": True, "time_shift_type": "linear", "shift_terminal": 0.1}, mu=2.0
    ),
    "flow-karras": Case(_FLOW, {"shift": 2.0, "use_karras_sigmas": True}),
    "flow-exponential": Case(_FLOW, {"use_exponential_sigmas": True}),
    "flow-inverted": Case(_FLOW, {"shift": 2.0, "invert_sigmas": True}),
    "unipc-first": Case(_UNIPC, {**_SD, "solver_order": 1}),
    "unipc": Case(_UNIPC, {**_SD, "solver_p": None, "timestep_spacing": "trailing"}),
    "unipc-third": Case(_UNIPC, {**_SD, "solver_order": 3, "disable_corrector": [0, 2]}),
    "unipc-fourth-bh1": Case(
        _UNIPC, {**_SD, "solver_order": 4, "solver_type": "bh1", "final_sigmas_type": "sigma_min"}, steps=9
    ),
    "unipc-karras": Case(
        _UNIPC, {**_SD, "use_karras_sigmas": True, "solver_type": "midpoint", "prediction_type": "v_prediction"}
    ),
    "unipc-noise": Case(
        _UNIPC,
        {
            **_SD,
            "predict_x0": False,
            "solver_order": 3,
            "final_sigmas_type": "sigma_min",
            "lower_order_final": False,
            "timestep_spacing": "leading",
            "steps_offset": 1,
        },
    ),
    "unipc-exponential": Case(
        _UNIPC, {**_SD, "use_exponential_sigmas": True, "prediction_type": "sample", "thresholding": True}
    ),
    "unipc-flow": Case(_UNIPC, {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}),
}
"""Every option of every scheduler, in the pipelines' own settings and in others."""


def drawn(case: Case, steps: int) -> tuple[Array, list[Array]]:
    """The first sample and the model's outputs, float64 of float32's numbers.

    For UniPC of order 3 and above they are flat: of anything else mindone's own multiplies weights with rows.
    """
    generator = np.random.default_rng(SEED)
    flat = case.kind == _UNIPC and case.config.get("solver_order", 2) > 2
    shape = (2, 24) if flat else (SHAPE[0], case.channels, *SHAPE[2:])
    out = (SHAPE[0], 2 * case.channels, *SHAPE[2:]) if case.channels != SHAPE[1] else shape
    draws = [generator.standard_normal(each).astype(np.float32).astype(float) for each in (shape, *[out] * steps)]
    return draws[0], draws[1:]


def main(file: Path) -> None:
    """Write what mindone gives for every case."""
    found: dict[str, Array] = {}
    for name, case in CASES.items():
        for what, array in _mindones(case, name):
            found[f"{name}/{what}"] = array
    np.savez(file, **found)


def _mindones(case: Case, name: str) -> Iterator[tuple[str, Array]]:
    import mindspore as ms
    from mindone.diffusers import schedulers

    kind = getattr(schedulers, f"{case.kind}Scheduler")
    scheduler = kind.from_config(case.whole)
    scheduler.set_timesteps(**case.asked)
    for table in TABLES:
        if hasattr(scheduler, table):
            yield table, getattr(scheduler, table).asnumpy()
    if case.kind != "FlowMatchEulerDiscrete":  # its pipelines multiply with nothing
        yield "init_noise_sigma", np.asarray(float(scheduler.init_noise_sigma))
    if name in AS_IT_IS:
        with_float32 = kind.from_config(case.whole)
        with_float32.set_timesteps(**case.asked)
        for what, array in _steps(with_float32, case, lambda array: ms.Tensor(array, ms.float32)):
            yield f"float32/{what}", array.asnumpy()
    module: Any = sys.modules[kind.__module__]
    kept = {name: getattr(module, name) for name in ("ms", "mint", "randn_tensor") if hasattr(module, name)}
    try:
        vars(module).update({name: value for name, value in in_numpy.NAMES.items() if name in kept})
        for table in TABLES:
            if hasattr(scheduler, table):
                setattr(scheduler, table, in_numpy.tensor(getattr(scheduler, table).asnumpy()))
        yield from _steps(scheduler, case, in_numpy.tensor)
    finally:
        vars(module).update(kept)


def _steps(scheduler: Any, case: Case, tensor: Callable[[Array], Any]) -> Iterator[tuple[str, Any]]:
    """All steps of a scheduler, from noise on: what the model would be given, and the sample after."""
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    asked = inspect.signature(scheduler.step).parameters
    keywords: dict[str, Any] = {"generator": np.random.default_rng(SEED)} if "generator" in asked else {}
    if "eta" in asked:
        keywords["eta"] = case.eta
    times = scheduler.timesteps
    sample, outputs = drawn(case, len(times))
    here = tensor(sample)
    for number, output in enumerate(outputs):
        # Whole numbers as such, others as the tensor they are.
        time = times[number] if "float" in str(times.dtype).lower() else int(times[number])
        if tensor is in_numpy.tensor:
            flow = hasattr(scheduler, "scale_noise")
            at = {"timestep" if flow else "timesteps": times[number : number + 1]}
            add = scheduler.scale_noise if flow else scheduler.add_noise
            yield f"noised{number}", add(tensor(sample), noise=tensor(sample[::-1]), **at)
        if hasattr(scheduler, "scale_model_input"):
            yield f"input{number}", scheduler.scale_model_input(here, time)
        here = scheduler.step(tensor(output), time, here, **keywords)[0]
        yield f"sample{number}", here


if __name__ == "__main__":
    main(Path(sys.argv[1]))
