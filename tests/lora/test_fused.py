"""Merged weights are those of a live pipeline after mindone's own `load_lora_weights` and `fuse_lora`.

mindone multiplies, scales and adds in float32; attnfuse rounds once. So they may differ by what float32 loses: a
rounding for each of the products that are summed, two of the scale, and one of the sum on either side.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors import safe_open

from attnfuse.lora.fitting import fit
from attnfuse.lora.given import GivenLora, read_loras
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.stored import StoredWeights
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.serialisation import from_json
from attnfuse.tracing.contract import StoredWeight
from attnfuse.tracing.demo import UNET, write_json
from tests.support import forks
from tests.support.checkpoints import XL_TEXT_ENCODER, write_pipeline, write_small_xl
from tests.support.lora_files import Shape, kohya, peft, rank_of, write
from tests.support.small_models import SMALL, write_configs

pytestmark = pytest.mark.mindspore

SD15: dict[str, Any] = {
    **UNET,
    "attention_head_dim": 4,
    "block_out_channels": [32, 64],
    "cross_attention_dim": 32,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "layers_per_block": 1,
    "sample_size": 8,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def modules(folder: Path, part: str, *words: str) -> list[tuple[str, Shape]]:
    """The modules of a part whose names hold one of the words, with the shapes of their weights."""
    (file,) = (folder / part).glob("*.safetensors")
    with safe_open(file, framework="numpy") as opened:
        names = [key for key in opened.keys() if key.endswith(".weight")]  # noqa: SIM118
        shapes = {name.removesuffix(".weight"): tuple(opened.get_slice(name).get_shape()) for name in names}
    return [(name, shape) for name, shape in sorted(shapes.items()) if len(shape) > 1 and any(w in name for w in words)]


def sd15(folder: Path) -> tuple[Path, dict[str, Any]]:
    """kohya's naming, alphas and several ranks: linear layers, convolutions of one pixel and of nine; text encoder."""
    models = {"unet": SD15, "text_encoder": XL_TEXT_ENCODER}
    pipeline = write_pipeline(folder / "sd", "StableDiffusionPipeline", models, "DDIMScheduler")
    layers = ("attn", "ff.net", "proj_in", "proj_out", "resnets.0.conv", "time_emb_proj", "downsamplers")
    return pipeline, kohya(
        {
            "lora_unet": modules(pipeline, "unet", *layers),
            "lora_te": modules(pipeline, "text_encoder", *TEXT),
        }
    )


def sdxl(folder: Path) -> tuple[Path, dict[str, Any]]:
    """PEFT's naming, no alphas, several ranks, both text encoders."""
    pipeline = write_small_xl(folder / "xl")
    parts = {part: modules(pipeline, part, *TEXT) for part in ("text_encoder", "text_encoder_2")}
    return pipeline, peft({"unet": modules(pipeline, "unet", "attn1", "attn2"), **parts})


def flux(folder: Path) -> tuple[Path, dict[str, Any]]:
    """diffusers' naming, with alphas."""
    pipeline = write_configs(folder / "flux", SMALL["flux"])
    (pipeline / "scheduler").mkdir()
    write_json(pipeline / "scheduler" / "scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"})
    done = forks.script("-m", "tests.support.small_weights", str(pipeline))
    assert done.returncode == 0, done.stderr[-4000:]
    layers = modules(pipeline, "transformer", "attn.to_", "attn.add_", "ff.net", "ff_context", "proj_mlp", "proj_out")
    return pipeline, peft({"transformer": layers}, {"transformer": 5.0})


@pytest.mark.parametrize(
    ("made", "scale", "count"),
    [
        pytest.param(sd15, 0.7, 88),
        pytest.param(sdxl, -1.25, 132, marks=pytest.mark.slow),
        pytest.param(flux, 1.0, 18, marks=pytest.mark.slow),
    ],
)
def test_merged_weights_are_those_of_fuse_lora(
    tmp_path: Path, made: Callable[[Path], tuple[Path, dict[str, Any]]], scale: float, count: int
) -> None:
    pipeline, tensors = made(tmp_path)
    file = write(tmp_path / "lora.safetensors", tensors)
    done = forks.script("-m", "tests.support.fused_loras", str(tmp_path), str(pipeline), str(file), str(scale))
    assert done.returncode == 0, done.stderr[-4000:]
    classes = json.loads((pipeline / "model_index.json").read_text())
    stored = json.loads((tmp_path / "0" / "sources.json").read_text())
    changed = 0
    for part, sources in stored.items():
        weights = {one.parameter: one for one in (from_json(StoredWeight, source) for source in sources)}
        config = json.loads((pipeline / part / "config.json").read_text())
        added = fit(read_loras([GivenLora(file, scale)], list(stored)), part, classes[part][1], config, weights)
        fused = np.load(tmp_path / "0" / f"{part}.npz")
        assert set(fused.files) == weights.keys()
        for name, weight in weights.items():
            if name not in added:
                np.testing.assert_array_equal(values(weights, {}, name), fused[name].reshape(-1))
                continue
            changed += 1
            (low,) = added[name]
            factors = TensorFile(file)
            up, down = (factors.values(key) for key in (low.up, low.down))
            up, down = up.reshape(len(up), -1).astype(np.float64), down.reshape(len(down), -1).astype(np.float64)
            base = values(weights, {}, name).reshape(weight.shape[0], -1)
            most = abs(low.scale) * (np.abs(up) @ np.abs(down)) * (len(down) + 4) + 2 * np.abs(base)
            got = values(weights, added, name).reshape(base.shape)
            assert (np.abs(got - fused[name].reshape(base.shape)) <= most * 2.0**-24).all(), name
            # Far nearer than what a scale that is wrong, or factors of another layer, would come to.
            assert np.abs(got - base).max() > 1e3 * (most * 2.0**-24).max()
    assert changed == count


def values(weights: dict[str, StoredWeight], added: Any, name: str) -> npt.NDArray[np.float64]:
    model = ModelProto()
    weight = weights[name]
    parameter = model.graph.parameter.add(name=f"g:{name}", data_type=dtypes.from_name(weight.dtype).wire)
    parameter.dims.extend(weight.shape)
    chunks = StoredWeights(model, {}, weights, added).read(name, [])
    assert chunks is not None
    return np.frombuffer(b"".join(chunks), np.float32).astype(np.float64)


def test_ranks_differ() -> None:
    assert len({rank_of(number) for number in range(9)}) > 1
