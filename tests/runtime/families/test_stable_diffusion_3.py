"""Stable Diffusion 3: graphs that do not go together. That it goes as mindone's, the test of the loops shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attnfuse_runtime import AttnfuseRuntimeError
from tests.support.loop_models import components, loop, write_pipeline


@pytest.mark.parametrize(
    ("graph", "tokens", "said"),
    [
        ("text_encoder_3", 13, "transformer has room for 15 tokens of text_encoder, which makes 16 at a time"),
        ("text_encoder_2", 8, "text_encoder and text_encoder_2 take texts of 16 and 8 tokens"),
    ],
)
def test_texts_of_other_lengths(tmp_path: Path, graph: str, tokens: int, said: str) -> None:
    write_pipeline(tmp_path, "sd3")
    graphs = components("sd3")
    one = graphs[graph]
    graphs[graph] = replace(one, inputs=(replace(one.inputs[0], shape=(1, tokens)),))
    with pytest.raises(AttnfuseRuntimeError, match=said):
        loop(tmp_path, graphs)


def test_a_pipeline_without_t5_and_its_graph(tmp_path: Path) -> None:
    write_pipeline(tmp_path, "sd3", without="text_encoder_3")
    made = loop(tmp_path, components("sd3", timestep="float32", without="text_encoder_3"))
    assert list(made("snow", steps=1).milliseconds)[:3] == ["tokenizer", "text_encoder", "text_encoder_2"]
    with pytest.raises(AttnfuseRuntimeError, match="transformer has room for 12 tokens of text_encoder"):
        loop(tmp_path, components("sd3"))  # compiled with T5


def test_a_graph_that_gives_no_pooled_text(tmp_path: Path) -> None:
    write_pipeline(tmp_path, "sd3")
    graphs = components("sd3", timestep="float32")
    one = graphs["text_encoder"]
    states, pooled = one.outputs
    graphs["text_encoder"] = replace(one, outputs=(states, replace(pooled, name="text")))
    with pytest.raises(AttnfuseRuntimeError, match="the graph text_encoder gives no text_embeds; compile"):
        loop(tmp_path, graphs)("snow", steps=1)
