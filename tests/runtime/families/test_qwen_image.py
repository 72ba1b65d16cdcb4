"""Qwen-Image: texts and guidance that do not fit. That it goes as mindone's, the test of the loops shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnfuse_runtime import AttnfuseRuntimeError
from attnfuse_runtime.manifest import Tensor
from tests.support.film_models import QWEN_TOKENS, components, picture_loop, write_pipeline


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_pipeline(tmp_path, "qwen")
    return tmp_path


def test_a_graph_without_a_mask_takes_prompts_of_its_length_alone(source: Path) -> None:
    made = picture_loop(source, components("qwen", without="encoder_hidden_states_mask"))
    with pytest.raises(AttnfuseRuntimeError, match="and the graph transformer takes 230 and no encoder_hidden_states_"):
        made("snow", steps=2)
    masked = picture_loop(source, components("qwen"))
    long = "x" * QWEN_TOKENS
    np.testing.assert_array_equal(made(long, steps=2, seed=1).latents, masked(long, steps=2, seed=1).latents)


def test_what_is_cut_is_of_the_prompt(source: Path) -> None:
    made = picture_loop(source, components("qwen"))
    room = QWEN_TOKENS + 34 - len(made("", steps=2).cut)
    assert made("snow", steps=2).cut == ("",)
    (cut,) = made("x" * room + "yz", steps=2).cut
    assert cut.endswith("yz")
    assert set(cut) == {"x", "y", "z"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"guidance_scale": 4.0}, "guidance_scale is 4.0, and the graph transformer has no guidance; leave it out"),
        ({"true_cfg_scale": 4.0}, "true_cfg_scale is 4.0, and there are no negative_prompts"),
        ({"weighted": True}, "the prompts have weights, which no encoder of Qwen-Image knows"),
    ],
)
def test_arguments_that_do_not_fit(source: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(AttnfuseRuntimeError, match=said):
        picture_loop(source, components("qwen"))("snow", steps=2, **given)


def test_guidance_that_is_an_input(source: Path) -> None:
    graphs = components("qwen")
    transformer = graphs["transformer"]
    guided = replace(transformer, inputs=(*transformer.inputs, Tensor("guidance", (1,), "float32")))
    made = picture_loop(source, {**graphs, "transformer": guided})
    with pytest.raises(AttnfuseRuntimeError, match="the graph transformer takes guidance_scale, and none was given"):
        made("snow", steps=2)
    made("snow", steps=2, guidance_scale=2.0)
