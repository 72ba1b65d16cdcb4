"""Options that change what a model computes, from end to end: compiled, verified in full, deployable, and run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnfuse_runtime.pipeline import Pipeline
from tests.support import forks
from tests.support.console import inside
from tests.support.small_models import SMALL, write_configs

pytestmark = [pytest.mark.mindspore, pytest.mark.slow]


def test_the_scale_of_a_controlnet(tmp_path: Path) -> None:
    small = SMALL["sd_controlnet"]
    folder = write_configs(tmp_path / "in", small)
    done = forks.script("-m", "tests.support.small_weights", str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / "out"
    done = inside(
        *("compile", folder, "-o", out, "--component", "controlnet", "--height", "64", "--width", "64"),
        *("--verify", "full", "--require", "deployable", "--dtype", "float16"),
    )
    assert done.returncode == 0, done.stderr
    controlnet = Pipeline.from_folder(out, "cpu")["controlnet"]
    random = np.random.default_rng(1)
    given = {
        one.name: np.full(one.shape, 500) if one.dtype.startswith("int") else random.standard_normal(one.shape) / 4
        for one in controlnet.component.inputs
    }
    found = {scale: controlnet(**{**given, "conditioning_scale": np.array([scale])}) for scale in (0.0, 0.5, 1.0)}
    assert len(found[1.0]) > 1
    for name, value in found[1.0].items():
        assert np.abs(value).max() > 1e-3
        assert not found[0.0][name].any()
        np.testing.assert_allclose(found[0.5][name], value * np.float16(0.5), rtol=2e-3, atol=2e-7)
