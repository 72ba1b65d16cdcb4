"""Stable Diffusion 1, 2 and XL: long prompts, empty negative prompts, graphs that do not go together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnfuse_runtime import AttnfuseRuntimeError
from tests.support.loop_models import TOKENS, WIDTH, Models, changed, components, loop, write_pipeline


def test_prompts_longer_than_the_unet_takes_are_cut(tmp_path: Path) -> None:
    write_pipeline(tmp_path)
    text = "abcdefghijklmnopqrstuvwxyz0123456789"
    found = loop(tmp_path, components(chunks=2))([text, "snow"], steps=1)
    assert found.cut == (text[2 * (TOKENS - 2) :], "")


@pytest.mark.parametrize("zeros", [None, False])
def test_nothing_to_guide_away_from(tmp_path: Path, zeros: bool | None) -> None:
    """XL takes zeros, unless the pipeline says that it does not."""
    write_pipeline(tmp_path, "xl")
    if zeros is not None:
        changed(tmp_path / "model_index.json", force_zeros_for_empty_prompt=zeros)
    runs = Models()
    loop(tmp_path, components("xl"), runs)("snow", steps=1)
    away = next(given for name, given in runs.fed if name == "unet")
    assert (away["encoder_hidden_states"][0] == 0).all() == (away["text_embeds"][0] == 0).all() == (zeros is None)
    assert (away["encoder_hidden_states"][1] != 0).all()


def test_the_vaes_own_mean_and_deviation(tmp_path: Path) -> None:
    write_pipeline(tmp_path, "xl")
    runs = Models()
    mean, deviation = [1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 0.5, 0.5]
    plain = loop(tmp_path, components("xl"), runs)("snow", steps=1, seed=1).latents / 0.5
    changed(tmp_path / "vae/config.json", latents_mean=mean, latents_std=deviation)
    loop(tmp_path, components("xl"), runs)("snow", steps=1, seed=1)
    wanted = plain * np.reshape(deviation, (1, -1, 1, 1)) + np.reshape(mean, (1, -1, 1, 1))
    np.testing.assert_allclose(runs.fed[-1][1]["latents"], wanted, rtol=1e-6)


def test_texts_of_two_lengths(tmp_path: Path) -> None:
    write_pipeline(tmp_path, "xl")
    graphs = components("xl")
    one = graphs["text_encoder_2"]
    graphs["text_encoder_2"] = replace(one, inputs=(replace(one.inputs[0], shape=(1, 8)),))
    with pytest.raises(AttnfuseRuntimeError, match="text_encoder and text_encoder_2 take texts of 8 and 16 tokens"):
        loop(tmp_path, graphs)


def test_a_unet_for_another_pipeline(tmp_path: Path) -> None:
    write_pipeline(tmp_path)
    graphs = components()
    for wrong, said in (
        ((1, TOKENS + 1, WIDTH), "unet has room for 17 tokens of text_encoder"),
        ((1, WIDTH), "the graph unet takes no encoder_hidden_states"),
    ):
        unet = graphs["unet"]
        inputs = tuple(replace(one, shape=wrong) if one.name[0] == "e" else one for one in unet.inputs)
        with pytest.raises(AttnfuseRuntimeError, match=said):
            loop(tmp_path, {**graphs, "unet": replace(unet, inputs=inputs)})
