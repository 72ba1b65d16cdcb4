"""What a configuration may say: applied, passed over as mindone does, or refused in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnfuse_runtime import schedulers
from attnfuse_runtime.errors import SchedulerError


def made(kind: str, **config: object) -> schedulers.Scheduler[Any]:
    return schedulers.from_config({"_class_name": f"{kind}Scheduler", **config})


def test_an_option_of_other_schedulers_is_told() -> None:
    scheduler = made("PNDM", skip_prk_steps=True, clip_sample=False, _diffusers_version="0.6.0")
    assert scheduler.unused == ("clip_sample",)
    assert scheduler.options.skip_prk_steps


@pytest.mark.parametrize(
    ("kind", "config", "said"),
    [
        ("LMSDiscrete", {}, "_class_name is 'LMSDiscreteScheduler'"),
        ("DDIM", {"beta_strat": 0.1}, "'beta_strat', which is no option"),
        ("DDIM", {"beta_start": "0.1"}, "beta_start is '0.1', and not of type float"),
        ("DDIM", {"steps_offset": 1.5}, "steps_offset is 1.5, and not of type int"),
        ("DDIM", {"steps_offset": True}, "steps_offset is True, and not of type int"),
        ("DDIM", {"beta_end": None}, "beta_end is None"),
        ("DDIM", {"num_train_timesteps": 0}, "num_train_timesteps is 0"),
        ("DDIM", {"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid': known are"),
        ("DDIM", {"trained_betas": [0.1]}, "1 trained_betas for 1000"),
        ("PNDM", {"prediction_type": "sample"}, "prediction_type is 'sample'"),
        ("PNDM", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is True"),
        ("EulerDiscrete", {"use_beta_sigmas": True}, "scipy"),
        ("EulerDiscrete", {"use_karras_sigmas": True, "use_exponential_sigmas": True}, "choose one"),
        ("EulerAncestralDiscrete", {"prediction_type": "sample"}, "prediction_type is 'sample'"),
        ("FlowMatchEulerDiscrete", {"stochastic_sampling": True}, "MindSpore's own generator"),
        ("FlowMatchEulerDiscrete", {"time_shift_type": "cubic"}, "time_shift_type is 'cubic'"),
        ("DPMSolverMultistep", {"algorithm_type": "dpmsolver"}, "with dpmsolver it is 'sigma_min'"),
        ("DPMSolverMultistep", {"solver_order": 4}, "it is at most 3"),
        ("DPMSolverMultistep", {"solver_order": 0}, "it is at least 1"),
        ("DPMSolverMultistep", {"variance_type": "odd"}, "variance_type is 'odd'"),
        (
            "DPMSolverMultistep",
            {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min", "solver_order": 3},
            "at most 2",
        ),
        ("UniPCMultistep", {"rescale_betas_zero_snr": True}, "cannot be made with it"),
        ("UniPCMultistep", {"solver_p": "PNDMScheduler"}, "a predictor of another kind"),
        ("UniPCMultistep", {"solver_type": "bh1"}, "gives no numbers"),
        ("UniPCMultistep", {"lower_order_final": False}, "gives no numbers"),
        ("UniPCMultistep", {"predict_x0": False}, "gives no numbers"),
    ],
)
def test_what_is_refused(kind: str, config: dict[str, object], said: str) -> None:
    with pytest.raises(SchedulerError, match=r"^[^\n]*[.]$") as raised:
        made(kind, **config)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "config", "asked", "said"),
    [
        ("DDIM", {}, {"steps": 0}, "takes 1 to 1000"),
        ("DDIM", {}, {"steps": 1001}, "takes 1 to 1000"),
        ("DDIM", {}, {"steps": 5, "mu": 0.5}, "was given mu"),
        ("EulerDiscrete", {}, {"steps": 2, "sigmas": [1.0, 0.5]}, "was given sigmas"),
        ("PNDM", {}, {"steps": 3}, "at least 4"),
        ("FlowMatchEulerDiscrete", {"use_dynamic_shifting": True}, {"steps": 5}, "needs mu"),
        ("FlowMatchEulerDiscrete", {}, {"steps": 5, "mu": 0.5}, "does not take mu"),
        ("FlowMatchEulerDiscrete", {}, {"steps": 5, "sigmas": [1.0]}, "1 sigmas were given for 5"),
        ("FlowMatchEulerDiscrete", {"shift_terminal": 0.1}, {"steps": 1}, "a single step cannot end"),
        ("UniPCMultistep", {}, {"steps": 5, "mu": 0.5}, "was given mu"),
        (
            "DDIM",
            {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
            {"steps": 5},
            "at timestep 999 no signal is left",
        ),
    ],
)
def test_what_it_is_not_asked_for(kind: str, config: dict[str, object], asked: dict[str, Any], said: str) -> None:
    with pytest.raises(SchedulerError, match=r"^[^\n]*[.]$") as raised:
        made(kind, **config).set_timesteps(**asked)
    assert said in str(raised.value)


def test_a_step_that_is_none() -> None:
    scheduler, array = made("EulerDiscrete"), np.zeros((1, 4, 2, 2), np.float32)
    with pytest.raises(SchedulerError, match="set_timesteps was not called"):
        scheduler.step(array, 999.0, array)
    scheduler.set_timesteps(2)
    with pytest.raises(SchedulerError, match="none of the scheduler's timesteps"):
        scheduler.step(array, 3.0, array)
    with pytest.raises(SchedulerError, match="give one shape"):
        scheduler.step(array[:, :1], scheduler.timesteps[0], array)
    with pytest.raises(SchedulerError, match="has none"):
        scheduler.step(array, scheduler.timesteps[0], array, eta=0.5)
    for timestep in scheduler.timesteps:
        scheduler.step(array, timestep, array)
    with pytest.raises(SchedulerError, match="the last step was taken already"):
        scheduler.step(array, scheduler.timesteps[0], array)


def test_the_type_of_the_sample_is_kept() -> None:
    scheduler, array = made("DDIM"), np.ones((1, 4, 2, 2), np.float16)
    scheduler.set_timesteps(2)
    assert scheduler.step(array.astype(np.float32), 500, array).dtype == np.float16


def test_a_picture_can_begin_in_the_middle() -> None:
    array = np.ones((1, 4, 2, 2))
    whole, part = made("EulerDiscrete"), made("EulerDiscrete")
    for scheduler in (whole, part):
        scheduler.set_timesteps(3)
    whole.step(array, whole.timesteps[0], array)
    time = whole.timesteps[1]
    np.testing.assert_array_equal(part.step(array, time, array), whole.step(array, time, array))


def test_the_shift_of_flux() -> None:
    scheduler = made("FlowMatchEulerDiscrete", use_dynamic_shifting=True)
    assert isinstance(scheduler, schedulers.FlowMatchEulerDiscreteScheduler)
    assert [round(scheduler.mu(tokens), 12) for tokens in (256, 4096)] == [0.5, 1.15]
