"""Writes the demo pipeline: Stable Diffusion 1.5 in its true structure, small, with random weights.

Every block, layer count and head count is the original's; only widths are smaller, with head sizes 8 and 16
(the original has 40, 80 and 160: one that Ascend wants padded, and multiples of 16). Tensors carry the names
PyTorch diffusers writes, so that loading takes the same path as a real checkpoint. The UNet is stored in float16
and the rest in float32, as hub repositories mix them. Imports `layout` and `random_weights` of this package only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attnfuse.tracing.layout import clip_text_tensors, unet_tensors, vae_tensors
from attnfuse.tracing.random_weights import write_random

#: Part of the cache folder's name; raised whenever a byte of the pipeline changes.
DEMO_VERSION = 1

_DIFFUSERS = "0.35.1"

UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": _DIFFUSERS,
    "act_fn": "silu",
    "attention_head_dim": 8,  # the number of heads: a misnomer of the first checkpoints that stayed
    "block_out_channels": [64, 128, 128, 128],
    "center_input_sample": False,
    "cross_attention_dim": 64,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 16,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}

VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": _DIFFUSERS,
    "act_fn": "silu",
    "block_out_channels": [32, 64, 64, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 128,
    "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}

TEXT_ENCODER: dict[str, Any] = {
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 64,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 256,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 4,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "projection_dim": 64,
    "torch_dtype": "float32",
    "vocab_size": 514,
}

SCHEDULER: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": _DIFFUSERS,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}

_MODEL_INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": _DIFFUSERS,
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

_START, _END = "<|startoftext|>", "<|endoftext|>"


def write_demo(folder: Path) -> None:
    """Write the pipeline into `folder`, which must exist and be empty: about 25 MB, identical each time."""
    write_json(folder / "model_index.json", _MODEL_INDEX)
    for name in ("unet", "vae", "text_encoder", "scheduler", "tokenizer"):
        (folder / name).mkdir()
    write_json(folder / "unet" / "config.json", UNET)
    write_random(folder / "unet" / "diffusion_pytorch_model.safetensors", unet_tensors(UNET), "float16", "demo/unet")
    write_json(folder / "vae" / "config.json", VAE)
    write_random(folder / "vae" / "diffusion_pytorch_model.safetensors", vae_tensors(VAE), "float32", "demo/vae")
    write_json(folder / "text_encoder" / "config.json", TEXT_ENCODER)
    write_random(
        folder / "text_encoder" / "model.safetensors",
        clip_text_tensors(TEXT_ENCODER),
        "float32",
        "demo/text_encoder",
    )
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_tokenizer(folder / "tokenizer", max_length=77)


def write_json(path: Path, value: object) -> None:
    """Write `value` as diffusers writes its configurations: indented, sorted, ended by a newline."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_tokenizer(folder: Path, max_length: int) -> None:
    """Write a CLIP tokenizer with no merges: each byte of a text is a token, 514 in all."""
    letters = list(_byte_letters())
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), _START, _END]
    write_json(folder / "vocab.json", {token: i for i, token in enumerate(vocabulary)})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    special = {"bos_token": _START, "eos_token": _END, "pad_token": _END, "unk_token": _END}
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {
            **special,
            "add_prefix_space": False,
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": max_length,
            "tokenizer_class": "CLIPTokenizer",
        },
    )


def _byte_letters() -> str:
    """Return the 256 letters byte-level BPE writes bytes as: printable ones as they are, others from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (chr(0x100 + i) for i in range(256))
    return "".join(chr(byte) if byte in printable else next(others) for byte in range(256))
