"""Stable Diffusion 3's perturbed attention is mindone's own, with its mask made once."""

from __future__ import annotations

import json

import pytest

from tests.support import forks

pytestmark = pytest.mark.mindspore


def test_a_mask_that_is_a_constant_perturbs_as_one_that_is_filled() -> None:
    done = forks.script("-m", "tests.tracing.patches.perturbed_script")
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    shapes = {"PAGCFGJointAttnProcessor2_0": 6, "PAGJointAttnProcessor2_0": 4}
    assert {name: [one[0] for one in found] for name, found in told.items()} == {
        name: [[rows, 5, 6], [rows, 3, 6]] for name, rows in shapes.items()
    }
    for found in told.values():
        for _, difference, largest in found:
            assert difference <= 1e-6 * largest
