"""Pictures of the demo pipeline, the structure of Stable Diffusion 1.5 in small widths, step by step.

In float32 against mindone's own pipeline, in float16 against the unfused graphs, both beside a run in float64. In
float32 attention stays as it is: fused it would be computed in float16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnfuse import compiler
from attnfuse.cli.request import policy_of
from attnfuse.pictures.comparison import CompareRequest, Comparison, compare
from attnfuse.pictures.metrics import figures, psnr
from attnfuse.pictures.running import Asked
from attnfuse.progress import Silent
from attnfuse.sources import open_source
from attnfuse.tracing.contract import ShapeOptions
from tests.support import forks
from tests.support.traces import demo_folder

__all__ = ["demo_folder"]

PROMPT, NEGATIVE, SEED = "a photo of an astronaut", "blurry", 7
COMPONENTS = ("unet", "vae_decoder", "text_encoder")


def compared(source: Path, out: Path, dtype: str, size: int, steps: int, no_flash: tuple[str, ...] = ()) -> Comparison:
    shapes = ShapeOptions(height=size, width=size)
    request = compiler.CompileRequest(
        source=str(source),
        output=out,
        components=COMPONENTS,
        dtype=dtype,
        shapes=shapes,
        policy=policy_of(None, None, no_flash, ()),
    )
    assert compiler.compile(request).written
    return compare(
        CompareRequest(
            folder=out,
            source=open_source(str(source), COMPONENTS, dtype, shapes),
            asked=Asked(prompts=(PROMPT,), negative=(NEGATIVE,), steps=steps, seed=SEED),
            inputs={},
        ),
        Silent(),
    )


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.parametrize(("size", "steps"), [(256, 20), (512, 2)])
def test_float32_against_mindones_own_pipeline(demo_folder: Path, tmp_path: Path, size: int, steps: int) -> None:
    theirs = tmp_path / "theirs.npz"
    arguments = (str(demo_folder), str(size), str(steps), str(SEED), PROMPT, NEGATIVE, str(theirs))
    done = forks.script("-m", "tests.support.mindones_picture", *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    found = compared(demo_folder, tmp_path / "out", "float32", size, steps, no_flash=("*",))
    assert found.passed, found.findings
    assert found.exact is not None
    with np.load(theirs) as arrays:
        assert len(arrays.files) == 1 + len(found.compiled.steps) == steps + 2  # PNDM's first step is done twice
        for number, (step, exact) in enumerate(zip(found.compiled.steps, found.exact.steps, strict=True)):
            own = figures(arrays[f"latents_{number}"], exact.latents).relative
            # mindone's own rounding, which says that both compute the same: 1e-4 would be another formula.
            assert own < 1e-4
            assert figures(step.latents, exact.latents).relative <= 2 * own, number
        assert psnr(np.asarray(found.compiled.found.images[0]), arrays["image"]) > 60


@pytest.mark.slow
@pytest.mark.mindspore
@pytest.mark.parametrize(("size", "steps"), [(256, 20), (512, 2)])
def test_float16_against_the_unfused_graphs(demo_folder: Path, tmp_path: Path, size: int, steps: int) -> None:
    found = compared(demo_folder, tmp_path / "out", "float16", size, steps)
    assert found.passed, found.findings
    assert len(found.steps) == steps + 1
    for one in found.steps:
        assert one.fused is not None
        assert one.own is not None
        assert one.figures is not None
        assert one.figures.relative > 0  # fused, and in another order
        assert one.fused <= 2 * one.own, one.number
