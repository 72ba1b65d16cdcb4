#!/usr/bin/env python3
"""Writes a real-size denoiser with random weights as a pipeline folder, to measure attnfuse on: no network needed.

    python tools/make_checkpoint.py FOLDER [--model sd15|sdxl|sd3|flux] [--dtype float16|bfloat16|float32] [--zeros]

FOLDER must not exist; it gets a model_index.json that lists the UNet or transformer only (and the scheduler's class is
left out, so a UNet's timesteps are int64). Weights are written tensor by tensor: memory stays under 200 MB. `--zeros`
leaves a hole in their place, for a model that the disk cannot hold twice. Imports attnfuse.tracing's checkpoint
writers; needs no MindSpore.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from attnfuse.tracing.contract import FLOAT_DTYPES
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.layout import Tensors, flux_tensors, sd3_tensors, unet_tensors
from attnfuse.tracing.random_weights import write_random, write_zeros

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

#: The published configurations of Stable Diffusion 1.5 (860 M parameters) and XL base 1.0 (2.57 G), of Stable
#: Diffusion 3 medium (2.08 G) and of Flux dev (11.9 G).
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
    "sd3": {
        "_class_name": "SD3Transformer2DModel",
        "_diffusers_version": "0.35.1",
        "attention_head_dim": 64,
        "caption_projection_dim": 1536,
        "in_channels": 16,
        "joint_attention_dim": 4096,
        "num_attention_heads": 24,
        "num_layers": 24,
        "out_channels": 16,
        "patch_size": 2,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 192,
        "sample_size": 128,
    },
    "flux": {
        "_class_name": "FluxTransformer2DModel",
        "_diffusers_version": "0.35.1",
        "attention_head_dim": 128,
        "axes_dims_rope": [16, 56, 56],
        "guidance_embeds": True,
        "in_channels": 64,
        "joint_attention_dim": 4096,
        "num_attention_heads": 24,
        "num_layers": 19,
        "num_single_layers": 38,
        "patch_size": 1,
        "pooled_projection_dim": 768,
    },
}


@dataclass(frozen=True, slots=True)
class Made:
    """What a folder of a model holds: the pipeline's class, the model's attribute and class, its tensors."""

    pipeline: str
    attribute: str
    class_name: str
    tensors: Callable[[dict[str, Any]], Tensors]


MODELS = {
    "sd15": Made("StableDiffusionPipeline", "unet", "UNet2DConditionModel", unet_tensors),
    "sdxl": Made("StableDiffusionXLPipeline", "unet", "UNet2DConditionModel", unet_tensors),
    "sd3": Made("StableDiffusion3Pipeline", "transformer", "SD3Transformer2DModel", sd3_tensors),
    "flux": Made("FluxPipeline", "transformer", "FluxTransformer2DModel", flux_tensors),
}


def make_checkpoint(folder: Path, model: str, dtype: str, *, zeros: bool = False) -> int:
    """Write the pipeline `folder` and return its number of parameters; FileExistsError where it is there already."""
    made, config = MODELS[model], CONFIGS[model]
    inner = folder / made.attribute
    inner.mkdir(parents=True, exist_ok=False)
    index = {"_class_name": made.pipeline, made.attribute: ["diffusers", made.class_name]}
    write_json(folder / "model_index.json", index)
    write_json(inner / "config.json", config)
    weights = inner / "diffusion_pytorch_model.safetensors"
    if zeros:
        return write_zeros(weights, made.tensors(config), dtype)
    return write_random(weights, made.tensors(config), dtype, f"make_checkpoint/{model}")


def main() -> int:
    """Read the arguments, write the folder, say what was written."""
    parser = argparse.ArgumentParser(description="Write a real-size denoiser with random weights as a pipeline folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=sorted(CONFIGS), default="sd15")
    parser.add_argument("--dtype", choices=FLOAT_DTYPES, default="float16")
    parser.add_argument("--zeros", action="store_true", help="zeros for weights, which take no place on most disks")
    options = parser.parse_args()
    try:
        count = make_checkpoint(options.folder, options.model, options.dtype, zeros=options.zeros)
    except OSError as error:
        print(f"{options.folder}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{options.folder}: {options.model} {MODELS[options.model].attribute}, {count:,} parameters, {options.dtype}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
