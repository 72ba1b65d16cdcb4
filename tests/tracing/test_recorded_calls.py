"""What every known pipeline's own `__call__` hands to its models, held to the plans: names, shapes, types, values.

mindone's pipelines run as they are, with stubs for models; see `tests.support.recorder`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support import forks
from tests.support.recorder.table import RECORDINGS

pytestmark = pytest.mark.mindspore

QUICK = (
    "StableDiffusionPipeline",
    "StableDiffusionPipeline of latent consistency",
    "StableDiffusionPipeline with an IP-Adapter",
    "StableDiffusionXLPipeline with an IP-Adapter plus",
    "StableDiffusionXLControlNetPipeline",
    "StableDiffusion3ControlNetPipeline",
    "FluxPipeline",
    "Flux2Pipeline",
    "ChromaImg2ImgPipeline",
    "SanaControlNetPipeline",
    "QwenImagePipeline",
    "CogVideoXImageToVideoPipeline",
    "LTXPipeline with noise in its latents",
    "HunyuanVideoPipeline",
    "AnimateDiffPipeline",
    "WanPipeline",
)
SLOW = tuple(name for name in RECORDINGS if name not in QUICK)


def recorded(names: Sequence[str], folder: Path) -> Mapping[str, list[str]]:
    """The differences of several pipelines, run in one process."""
    done = forks.script("-m", "tests.support.recorder", str(folder / "told.json"), *names)
    assert done.returncode == 0, done.stderr[-3000:]
    told: Mapping[str, list[str]] = json.loads((folder / "told.json").read_text())
    return told


def test_the_calls_of_pipelines_are_those_planned(tmp_path: Path) -> None:
    told = recorded(QUICK, tmp_path)
    assert {name: found for name, found in told.items() if found} == {}
    assert tuple(told) == QUICK


@pytest.mark.slow
def test_the_calls_of_every_pipeline_are_those_planned(tmp_path: Path) -> None:
    told = recorded(SLOW, tmp_path)
    assert {name: found for name, found in told.items() if found} == {}
    assert tuple(told) == SLOW
