#!/usr/bin/env python3
"""Writes a real-size denoiser with random weights as a pipeline folder, to measure attnfuse on: no network needed.

    python tools/make_checkpoint.py FOLDER [--model sd15|sdxl|sd3|flux] [--dtype float16|bfloat16|float32] [--zeros]
                                           [--whole]

FOLDER must not exist; it gets a model_index.json that lists the UNet or transformer only (and the scheduler's class is
left out, so a UNet's timesteps are int64). With `--whole`, of sd15 and sdxl, it gets the VAE and the text encoders too.
Weights are written tensor by tensor: memory stays under 200 MB. `--zeros`
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
from attnfuse.tracing.demo import TEXT_ENCODER, VAE, write_json
from attnfuse.tracing.layout import (
    Tensors,
    clip_text_tensors,
    flux_tensors,
    sd3_tensors,
    unet_tensors,
    vae_tensors,
)
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


_VAE = {**VAE, "block_out_channels": [128, 256, 512, 512]}

#: The published text encoder of Stable Diffusion 1.5 (OpenAI's CLIP ViT-L), the first of two of XL.
_CLIP_L = {
    **TEXT_ENCODER,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "vocab_size": 49408,
}

#: The second one of XL (OpenCLIP ViT-bigG).
_CLIP_G = {
    **_CLIP_L,
    "architectures": ["CLIPTextModelWithProjection"],
    "hidden_act": "gelu",
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_attention_heads": 20,
    "num_hidden_layers": 32,
    "projection_dim": 1280,
}

#: What pipelines have beside the denoiser: configurations by attribute.
BESIDE: dict[str, dict[str, dict[str, Any]]] = {
    "sd15": {"vae": {**_VAE, "sample_size": 512}, "text_encoder": _CLIP_L},
    "sdxl": {
        "vae": {**_VAE, "force_upcast": True, "sample_size": 1024, "scaling_factor": 0.13025},
        "text_encoder": _CLIP_L,
        "text_encoder_2": _CLIP_G,
    },
}


def make_checkpoint(folder: Path, model: str, dtype: str, *, zeros: bool = False, whole: bool = False) -> int:
    """Write the pipeline `folder` and return its number of parameters; FileExistsError where it is there already.

    With `whole`, the models beside the denoiser too, of those in `BESIDE`.
    """
    made, config = MODELS[model], CONFIGS[model]
    index: dict[str, Any] = {"_class_name": made.pipeline}
    count = 0
    for name, settings in {made.attribute: config, **(BESIDE[model] if whole else {})}.items():
        inner = folder / name
        inner.mkdir(parents=True, exist_ok=False)
        write_json(inner / "config.json", settings)
        if name == made.attribute:
            index[name], tensors = ["diffusers", made.class_name], made.tensors(config)
        elif name == "vae":
            index[name], tensors = ["diffusers", settings["_class_name"]], vae_tensors(settings)
        else:
            index[name], tensors = ["transformers", settings["architectures"][0]], clip_text_tensors(settings)
        file = "model" if index[name][0] == "transformers" else "diffusion_pytorch_model"
        weights = inner / f"{file}.safetensors"
        if zeros:
            count += write_zeros(weights, tensors, dtype)
        else:
            count += write_random(weights, tensors, dtype, f"make_checkpoint/{model}")
    write_json(folder / "model_index.json", index)
    return count


def main() -> int:
    """Read the arguments, write the folder, say what was written."""
    parser = argparse.ArgumentParser(description="Write a real-size denoiser with random weights as a pipeline folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=sorted(CONFIGS), default="sd15")
    parser.add_argument("--dtype", choices=FLOAT_DTYPES, default="float16")
    parser.add_argument("--zeros", action="store_true", help="zeros for weights, which take no place on most disks")
    parser.add_argument("--whole", action="store_true", help="the VAE and the text encoders too, of sd15 and sdxl")
    options = parser.parse_args()
    if options.whole and options.model not in BESIDE:
        parser.error(f"--whole is for {', '.join(BESIDE)}")
    try:
        count = make_checkpoint(options.folder, options.model, options.dtype, zeros=options.zeros, whole=options.whole)
    except OSError as error:
        print(f"{options.folder}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{options.folder}: {options.model} {MODELS[options.model].attribute}, {count:,} parameters, {options.dtype}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
