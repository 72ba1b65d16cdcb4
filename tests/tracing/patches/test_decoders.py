"""The patches for decoders compute what mindone's own models do, state by state, padding or not."""

from __future__ import annotations

import json

import pytest

from tests.support import forks


@pytest.mark.mindspore
@pytest.mark.slow
def test_decoders_give_the_states_of_mindones_own() -> None:
    done = forks.script("-m", "tests.support.decoders")
    assert done.returncode == 0, done.stderr[-3000:]
    differences = json.loads(done.stdout.splitlines()[-1])
    assert differences.pop("SiglipVisionModel")[0] < 1e-5  # its convolution is a product
    assert differences == {
        "LlamaModel": [0.0],
        "GlmModel": [0.0] * 5,  # the last, what goes in, and three layers
        "GemmaModel": [0.0] * 5,
        "Gemma2Model": [0.0] * 5,
        "Qwen2_5_VLForConditionalGeneration": [0.0] * 4,
        "Mistral3ForConditionalGeneration": [0.0] * 4,
        "MultilingualCLIP": [0.0] * 2,
        "AudioLDM2ProjectionModel": [0.0] * 2,
        "MistralModel": [0.0],
        "MistralModel, its mask made": [0.0],
        "MistralModel, no mask": [0.0],
        "Qwen3Model": [0.0],
        "Qwen3Model, its mask made": [0.0],
        "ViTModel": [0.0] * 2,
    }
