"""Flux: what of its guidance and its texts is refused. That it goes as mindone's, the test of the loops shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse_runtime import AttnfuseRuntimeError
from tests.support.loop_models import T5_TOKENS, changed, components, loop, write_pipeline


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_pipeline(tmp_path, "flux")
    return tmp_path


def made(source: Path, fixed: dict[str, Any] | None = None) -> Any:
    """With guidance as an input, or distilled away, or fixed."""
    graphs = components("flux", timestep="float32", without="" if fixed is None else "guidance")
    graphs["transformer"] = replace(graphs["transformer"], fixed=fixed or {})
    return loop(source, graphs)


def test_guidance_that_the_graph_has_not(source: Path) -> None:
    for fixed, said in (({}, "the graph transformer has no guidance"), ({"guidance": 3.5}, "guidance fixed to 3.5")):
        with pytest.raises(AttnfuseRuntimeError, match=f"guidance_scale is 2.0, and .*{said}; leave it out"):
            made(source, fixed)("snow", guidance_scale=2.0)
    latents = [
        made(source, {"guidance": 3.5})("snow", steps=1, seed=1, **of).latents for of in ({}, {"guidance_scale": 3.5})
    ]
    np.testing.assert_array_equal(*latents)


def test_guidance_is_an_input(source: Path) -> None:
    latents = [made(source)("snow", steps=1, seed=1, **of).latents for of in ({}, {"guidance_scale": 1.0})]
    assert not np.array_equal(*latents)


@pytest.mark.parametrize("given", [{"negative_prompts": "rain"}, {"true_cfg_scale": 2.0}])
def test_a_negative_prompt_needs_its_scale(source: Path, given: dict[str, Any]) -> None:
    with pytest.raises(AttnfuseRuntimeError, match="true_cfg_scale is above 1; give both, or neither"):
        made(source)("snow", **given)


def test_texts_of_two_lengths(source: Path) -> None:
    graphs = components("flux")
    t5 = graphs["text_encoder_2"]
    longer = replace(t5, inputs=(replace(t5.inputs[0], shape=(1, T5_TOKENS + 1)),))
    with pytest.raises(AttnfuseRuntimeError, match="takes texts of 12 tokens and text_encoder_2 gives 13"):
        loop(source, {**graphs, "text_encoder_2": longer})


def test_what_is_cut_is_the_most_that_an_encoder_left_out(source: Path) -> None:
    assert made(source)("abcdefghijklmnopq", steps=1).cut == ("klmnopq",)  # T5 leaves out most


def test_another_scheduler(source: Path) -> None:
    changed(source / "scheduler/scheduler_config.json", _class_name="DDIMScheduler")
    with pytest.raises(AttnfuseRuntimeError, match="is DDIMScheduler, and the loop is for FlowMatchEulerDiscrete"):
        made(source)
