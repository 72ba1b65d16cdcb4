"""Every scheduler, held to mindone's own: tables, timesteps, and each step in float64.

The tables are float32 on both sides and differ by roundings of the last operations at most. From them on all is
float64, mindone's formulas and ours, so that what differs is a formula: 1e-12 is what a thousand roundings come to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from attnfuse_runtime import schedulers
from attnfuse_runtime.noise import Array
from attnfuse_runtime.schedulers.base import Scheduler, SigmaScheduler
from tests.support import forks
from tests.support.schedulers import AS_IT_IS, CASES, SEED, Case, drawn

ROUNDINGS = 2 * float(np.finfo(np.float32).eps)
TOLERANCE = 1e-12

pytestmark = pytest.mark.mindspore


@pytest.fixture(scope="module")
def mindones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Array]:
    file = tmp_path_factory.mktemp("mindone") / "steps.npz"
    done = forks.script("-m", "tests.support.schedulers", str(file))
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(file) as found:
        return dict(found)


def begun(case: Case) -> Scheduler[Any]:
    scheduler = schedulers.from_config(case.whole)
    scheduler.set_timesteps(case.steps, mu=case.mu, sigmas=case.sigmas)
    return scheduler


def stepped(case: Case, dtype: type[np.floating[Any]]) -> Iterator[tuple[str, Array]]:
    scheduler = begun(case)
    sample, outputs = drawn(case, len(scheduler.timesteps))
    here, generator = sample.astype(dtype), np.random.default_rng(SEED)
    for number, (time, output) in enumerate(zip(scheduler.timesteps, outputs, strict=True)):
        yield f"noised{number}", scheduler.add_noise(sample.astype(dtype), sample[::-1].astype(dtype), number)
        yield f"input{number}", scheduler.scale_model_input(here, time)
        here = scheduler.step(output.astype(dtype), time, here, generator=generator, eta=case.eta)
        yield f"sample{number}", here


def apart(mine: Array, theirs: Array) -> float:
    """The largest difference, as a share of the largest magnitude."""
    return float(np.abs(mine - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("name", CASES)
def test_timesteps_and_noise_levels(mindones: dict[str, Array], name: str) -> None:
    scheduler, theirs = begun(CASES[name]), mindones[f"{name}/timesteps"]
    assert (scheduler.timesteps.dtype, scheduler.timesteps.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_allclose(scheduler.timesteps, theirs, rtol=0 if theirs.dtype == np.int64 else ROUNDINGS)
    if isinstance(scheduler, SigmaScheduler):
        np.testing.assert_allclose(scheduler.sigmas, mindones[f"{name}/sigmas"], rtol=ROUNDINGS)
    first = mindones.get(f"{name}/init_noise_sigma", np.ones(()))
    assert scheduler.init_noise_sigma == pytest.approx(first.item(), rel=ROUNDINGS)


@pytest.mark.parametrize("name", CASES)
def test_each_step(mindones: dict[str, Array], name: str) -> None:
    found = {what: apart(mine, mindones.get(f"{name}/{what}", mine)) for what, mine in stepped(CASES[name], np.float64)}
    last = len(begun(CASES[name]).timesteps) - 1
    assert {f"{name}/sample{last}", f"{name}/noised{last}"} <= mindones.keys()
    assert {what: share for what, share in found.items() if not share < TOLERANCE} == {}


@pytest.mark.parametrize("name", AS_IT_IS)
def test_in_float32_it_is_as_near_as_mindone(mindones: dict[str, Array], name: str) -> None:
    for what, mine in stepped(CASES[name], np.float32):
        if what.startswith("sample"):
            exact = mindones[f"{name}/{what}"]
            assert mine.dtype == np.float32
            assert apart(mine, exact) <= 2 * apart(mindones[f"{name}/float32/{what}"], exact) + ROUNDINGS, what
