"""Small checkpoints for tests: Stable Diffusion XL's and 2.1's structure, two levels deep, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attnfuse.tracing.demo import SCHEDULER, TEXT_ENCODER, UNET, VAE, write_json
from attnfuse.tracing.layout import clip_text_tensors, unet_tensors, vae_tensors
from attnfuse.tracing.random_weights import write_random

SMALL_VAE: dict[str, Any] = {
    **VAE,
    "block_out_channels": [32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "layers_per_block": 1,
    "sample_size": 16,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}

XL_UNET: dict[str, Any] = {
    **UNET,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "attention_head_dim": [2, 4],
    "block_out_channels": [32, 64],
    "cross_attention_dim": 80,  # both text encoders' widths, side by side
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "projection_class_embeddings_input_dim": 40 + 6 * 8,
    "sample_size": 8,
    "transformer_layers_per_block": [1, 2],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}

XL_TEXT_ENCODER: dict[str, Any] = {
    **TEXT_ENCODER,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
}

XL_TEXT_ENCODER_2: dict[str, Any] = {
    **XL_TEXT_ENCODER,
    "architectures": ["CLIPTextModelWithProjection"],
    "hidden_act": "gelu",
    "hidden_size": 48,
    "num_attention_heads": 3,
    "projection_dim": 40,
}

SD21_UNET: dict[str, Any] = {
    **UNET,
    "attention_head_dim": [2, 4],
    "block_out_channels": [32, 64],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "layers_per_block": 1,
    "sample_size": 8,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "upcast_attention": True,
    "use_linear_projection": True,
}

_TENSORS = {
    "UNet2DConditionModel": unet_tensors,
    "AutoencoderKL": vae_tensors,
    "CLIPTextModel": clip_text_tensors,
    "CLIPTextModelWithProjection": clip_text_tensors,
}


def write_model(folder: Path, config: dict[str, Any], dtype: str = "float32") -> None:
    """Write a single model's folder: config.json and weights."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    class_name = class_of(config)
    stem = "diffusion_pytorch_model" if "_class_name" in config else "model"
    write_random(folder / f"{stem}.safetensors", _TENSORS[class_name](config), dtype, folder.name)


def write_pipeline(folder: Path, class_name: str, models: dict[str, dict[str, Any]], scheduler: str) -> Path:
    """Write a pipeline folder of `models` (configurations by attribute) and return it."""
    index: dict[str, Any] = {"_class_name": class_name, "scheduler": ["diffusers", scheduler]}
    for name, config in models.items():
        write_model(folder / name, config)
        index[name] = ["diffusers" if "_class_name" in config else "transformers", class_of(config)]
    (folder / "scheduler").mkdir()
    write_json(folder / "scheduler" / "scheduler_config.json", {**SCHEDULER, "_class_name": scheduler})
    write_json(folder / "model_index.json", index)
    return folder


def class_of(config: dict[str, Any]) -> str:
    """Return the model class a config.json names."""
    return str(config.get("_class_name") or config["architectures"][0])


def write_small_xl(folder: Path) -> Path:
    """Write a Stable Diffusion XL pipeline: two text encoders, transformer depths 1 and 2, Euler scheduler."""
    models = {"unet": XL_UNET, "vae": SMALL_VAE, "text_encoder": XL_TEXT_ENCODER, "text_encoder_2": XL_TEXT_ENCODER_2}
    return write_pipeline(folder, "StableDiffusionXLPipeline", models, "EulerDiscreteScheduler")


def write_small_sd15(folder: Path) -> Path:
    """Write a Stable Diffusion 1.5 pipeline: projections by convolutions, one text encoder, DDIM scheduler."""
    unet = {**SD21_UNET, "cross_attention_dim": 32, "upcast_attention": False, "use_linear_projection": False}
    models = {"unet": unet, "vae": SMALL_VAE, "text_encoder": XL_TEXT_ENCODER}
    return write_pipeline(folder, "StableDiffusionPipeline", models, "DDIMScheduler")


def write_small_sd21(folder: Path) -> Path:
    """Write the UNet of a Stable Diffusion 2.1 pipeline: linear projections, attention upcast to float32."""
    return write_pipeline(folder, "StableDiffusionPipeline", {"unet": SD21_UNET}, "DDIMScheduler")
