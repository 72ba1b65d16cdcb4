"""Tuning of float32 models that were traced: the demo's UNet, SD 1.5's structure, a T5 encoder with large scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attnfuse.errors import RequirementError
from attnfuse.targets import Target
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import UNET, write_demo
from attnfuse.tuning.result import TunedComponent
from tests.support import forks
from tests.support.checkpoints import write_pipeline
from tests.support.small_models import Small, write_configs
from tests.support.small_models.record import T5
from tests.tuning.graphs import tune

pytestmark = [pytest.mark.slow, pytest.mark.mindspore]

TARGET = Target("lite", "ascend910b")

SD15: dict[str, Any] = {
    **UNET,
    "attention_head_dim": 2,
    "block_out_channels": [80, 160, 320, 320],
    "cross_attention_dim": 768,
    "norm_num_groups": 16,
    "sample_size": 32,
}
"""All blocks and layers, and heads of 40, 80 and 160 elements, as published; two heads in place of eight, latents of
32 × 32. Weights are drawn."""

LARGE_T5: dict[str, Any] = {**T5, "d_model": 256, "d_kv": 64, "d_ff": 512, "num_layers": 4, "num_heads": 4}


def demo(folder: Path) -> str:
    write_demo(folder)
    return "unet"


def sd15(folder: Path) -> str:
    write_pipeline(folder, "StableDiffusionPipeline", {"unet": SD15}, "DDIMScheduler")
    return "unet"


def t5(folder: Path) -> str:
    """In its third layer query and key are so large that their products, which T5 does not scale, leave float16."""
    write_configs(folder, Small("FluxPipeline", {"text_encoder_2": LARGE_T5}))
    done = forks.script("-m", "tests.support.small_weights", str(folder))
    assert done.returncode == 0, done.stderr[-4000:]
    path = folder / "text_encoder_2" / "model.safetensors"
    weights = load_file(path)
    for operand in "qk":
        weights[f"encoder.block.2.layer.0.SelfAttention.{operand}.weight"] *= np.float32(120)
    save_file(weights, path)
    return "text_encoder_2"


@pytest.mark.parametrize(("made", "budget", "is_cheaper"), [(demo, 1e-4, False), (sd15, 2e-4, True), (t5, 1e-3, True)])
def test_the_budget_is_kept_at_no_more_cost_than_by_one_policy_for_all(
    made: Any, budget: float, is_cheaper: bool, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    name = made(source)

    def found(budget: float) -> TunedComponent:
        return tune(
            source,
            budget,
            target=TARGET,
            cache=tmp_path / "cache",
            component=name,
            dtype="float32",
            shapes=ShapeOptions(sequence_length=128) if made is t5 else ShapeOptions(),
        ).components[0]

    tuned = found(budget)
    uniform = tuned.cheapest(budget)
    assert tuned.error <= budget
    assert uniform is not None
    assert (tuned.seconds < uniform.seconds) if is_cheaper else (tuned.seconds <= uniform.seconds)
    with pytest.raises(RequirementError, match="the least that can be reached is"):
        found(1e-12)
    assert found(budget) == tuned
