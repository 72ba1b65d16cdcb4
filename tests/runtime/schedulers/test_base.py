"""Runs that begin in the middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnfuse_runtime import AttnfuseRuntimeError, schedulers

_SD: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize("kind", ["DDIM", "EulerDiscrete"])
@pytest.mark.parametrize("number", [-1, 4])
def test_a_timestep_that_there_is_not(kind: str, number: int) -> None:
    scheduler = schedulers.from_config({**_SD, "_class_name": f"{kind}Scheduler"})
    scheduler.set_timesteps(4)
    with pytest.raises(AttnfuseRuntimeError, match=f"there is no timestep {number} of 4 to begin at"):
        scheduler.begin_at(number)


def test_the_first_of_two_that_are_the_same() -> None:
    """Looked up, a timestep that is there twice is the second."""
    scheduler = schedulers.from_config({**_SD, "_class_name": "EulerDiscreteScheduler"})
    ran = []
    for begun in (False, True):
        scheduler.set_timesteps(4)
        scheduler.timesteps[2] = scheduler.timesteps[1]
        if begun:
            scheduler.begin_at(1)
        ran.append(scheduler.step(np.ones(3, np.float32), scheduler.timesteps[1], np.ones(3, np.float32)))
    assert not np.array_equal(ran[0], ran[1])
