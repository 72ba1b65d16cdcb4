"""Small pipelines with the structure of the real ones, as configurations: a pipeline class and a config.json a part.

Sizes differ from each other wherever the architecture lets them, so that a confusion of two axes shows. Weights are
written by `tests.support.small_weights`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, XL_TEXT_ENCODER, XL_TEXT_ENCODER_2, XL_UNET

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Small:
    """One pipeline: its class, its parts' configurations by attribute, and the shapes it is traced in."""

    pipeline: str
    models: Mapping[str, Config]
    scheduler: str = "FlowMatchEulerDiscreteScheduler"
    shapes: ShapeOptions = field(default_factory=ShapeOptions)


def _vae(**changes: Any) -> Config:
    return {**SMALL_VAE, "block_out_channels": [16, 32], "norm_num_groups": 8, **changes}


T5: Config = {
    "architectures": ["T5EncoderModel"],
    "model_type": "t5",
    "vocab_size": 64,
    "d_model": 24,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 3,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "is_encoder_decoder": False,
    "use_cache": False,
}

SD3: Config = {
    "_class_name": "SD3Transformer2DModel",
    "sample_size": 16,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 24,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 20,
    "pos_embed_max_size": 16,
}

FLUX: Config = {
    "_class_name": "FluxTransformer2DModel",
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 32,
    "axes_dims_rope": [4, 4, 8],
    "guidance_embeds": True,
}

CONTROLNET: Config = {
    "_class_name": "ControlNetModel",
    "in_channels": 4,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "cross_attention_dim": 64,
    "attention_head_dim": [2, 4],
    "norm_num_groups": 32,
    "conditioning_embedding_out_channels": [8, 16],
    "use_linear_projection": True,
}

XL_CONTROLNET: Config = {
    **CONTROLNET,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "cross_attention_dim": 80,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "layers_per_block": 2,
    "projection_class_embeddings_input_dim": 40 + 6 * 8,
    "transformer_layers_per_block": [1, 2],
}

T2I_ADAPTER: Config = {
    "_class_name": "T2IAdapter",
    "in_channels": 3,
    "channels": [32, 64],
    "num_res_blocks": 1,
    "downscale_factor": 2,
    "adapter_type": "full_adapter",
}

SMALL: dict[str, Small] = {
    "sd3": Small(
        "StableDiffusion3Pipeline",
        {
            "transformer": SD3,
            "vae": _vae(use_quant_conv=False, use_post_quant_conv=False),
            "text_encoder": {**XL_TEXT_ENCODER_2, "hidden_size": 32, "num_attention_heads": 2},
            "text_encoder_2": XL_TEXT_ENCODER_2,
            "text_encoder_3": T5,
        },
        shapes=ShapeOptions(height=24, width=32, sequence_length=11),
    ),
    "sd35": Small(
        "StableDiffusion3Pipeline",
        {"transformer": {**SD3, "qk_norm": "rms_norm", "dual_attention_layers": [0]}},
        shapes=ShapeOptions(height=128, width=96),
    ),
    "flux": Small(
        "FluxPipeline",
        {"transformer": FLUX, "text_encoder": XL_TEXT_ENCODER, "text_encoder_2": T5},
        shapes=ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "sd_controlnet": Small(
        "StableDiffusionControlNetPipeline",
        {"unet": SD21_UNET, "controlnet": CONTROLNET, "vae": SMALL_VAE},
        "DDIMScheduler",
        ShapeOptions(height=20, width=24),
    ),
    "sdxl_controlnet": Small(
        "StableDiffusionXLControlNetPipeline",
        {"unet": XL_UNET, "controlnet": XL_CONTROLNET, "vae": SMALL_VAE, "text_encoder_2": XL_TEXT_ENCODER_2},
        "EulerDiscreteScheduler",
        ShapeOptions(height=20, width=24),
    ),
    "sd_adapter": Small(
        "StableDiffusionAdapterPipeline",
        {"unet": SD21_UNET, "adapter": T2I_ADAPTER, "vae": SMALL_VAE},
        "DDIMScheduler",
        ShapeOptions(height=16, width=24),
    ),
}
"""By a name of their own."""
