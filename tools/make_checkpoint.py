#!/usr/bin/env python3
"""Writes a real-size UNet with random weights as a pipeline folder, to measure attnfuse on: no network needed.

    python tools/make_checkpoint.py FOLDER [--model sd15|sdxl] [--dtype float16|bfloat16|float32]

FOLDER must not exist; it gets a model_index.json that lists the UNet only (and the scheduler's class is left out, so
timesteps are int64). Weights are written tensor by tensor: memory stays under 200 MB. Imports attnfuse.tracing's
checkpoint writers; needs no MindSpore.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from attnfuse.tracing.contract import FLOAT_DTYPES
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.layout import unet_tensors
from attnfuse.tracing.random_weights import write_random

_COMMON: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.35.1",
    "act_fn": "silu",
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
}

#: The published configurations of Stable Diffusion 1.5 (860 M parameters) and XL base 1.0 (2.57 G).
CONFIGS: dict[str, dict[str, Any]] = {
    "sd15": {
        **_COMMON,
        "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280],
        "cross_attention_dim": 768,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "sample_size": 64,
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    },
    "sdxl": {
        **_COMMON,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": [320, 640, 1280],
        "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
        "projection_class_embeddings_input_dim": 2816,
        "sample_size": 128,
        "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
        "use_linear_projection": True,
    },
}

_PIPELINES = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}


def make_checkpoint(folder: Path, model: str, dtype: str) -> int:
    """Write the pipeline `folder` and return its number of parameters; FileExistsError where it is there already."""
    (folder / "unet").mkdir(parents=True, exist_ok=False)
    index = {"_class_name": _PIPELINES[model], "unet": ["diffusers", "UNet2DConditionModel"]}
    write_json(folder / "model_index.json", index)
    config = CONFIGS[model]
    write_json(folder / "unet" / "config.json", config)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    return write_random(weights, unet_tensors(config), dtype, f"make_checkpoint/{model}")


def main() -> int:
    """Read the arguments, write the folder, say what was written."""
    parser = argparse.ArgumentParser(description="Write a real-size UNet with random weights as a pipeline folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=sorted(CONFIGS), default="sd15")
    parser.add_argument("--dtype", choices=FLOAT_DTYPES, default="float16")
    options = parser.parse_args()
    try:
        count = make_checkpoint(options.folder, options.model, options.dtype)
    except OSError as error:
        print(f"{options.folder}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{options.folder}: {options.model} UNet, {count:,} parameters, {options.dtype}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
