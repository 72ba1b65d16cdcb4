"""ControlNets: which steps they are there for, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnfuse_runtime import AttnfuseRuntimeError
from tests.support.picture_models import CONTROLS, IMAGES, PictureModels, components, loop, write_pipeline

CONTROL = CONTROLS[0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_pipeline(tmp_path, "StableDiffusionControlNetPipeline")
    return tmp_path


def test_the_scale_at_each_step(source: Path) -> None:
    runs = PictureModels()
    loop(source, components("sd", controls=1), runs)("snow", control_image=CONTROL, control_end=0.5, steps=3)
    scales = [given["conditioning_scale"].item() for name, given in runs.fed if name == "controlnet"]
    assert scales == [1, 1, 0, 0]  # PNDM takes one step more
    assert [name for name, _ in runs.fed].count("unet") == 4


def test_a_picture_is_begun_with_where_one_is_given(source: Path) -> None:
    """The class of mindone that does so multiplies a ControlNet's outputs with another number."""
    runs = PictureModels()
    loop(source, components("sd", controls=1), runs)("snow", image=IMAGES[0], control_image=CONTROL, steps=2)
    assert {given["conditioning_scale"].item() for name, given in runs.fed if name == "controlnet"} == {np.float32(0.8)}


def test_what_does_not_fit(source: Path) -> None:
    made = loop(source, components("sd", controls=1))
    with pytest.raises(AttnfuseRuntimeError, match="ControlNetPipeline needs control_image, and was given no control"):
        made("snow")
    with pytest.raises(AttnfuseRuntimeError, match="the control_image is 4x4 pixels"):
        made("snow", control_image=CONTROL.resize((4, 4)))
    with pytest.raises(AttnfuseRuntimeError, match="lacks controlnet; compile"):
        loop(source, components("sd"))
    graphs = components("sd", controls=1)
    one = graphs["controlnet"]
    inputs = tuple(each for each in one.inputs if each.name != "controlnet_cond")
    with pytest.raises(AttnfuseRuntimeError, match="the graph controlnet takes no controlnet_cond"):
        loop(source, {**graphs, "controlnet": replace(one, inputs=inputs)})
