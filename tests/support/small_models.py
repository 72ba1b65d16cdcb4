"""Small pipelines with the structure of the real ones, as configurations: a pipeline class and a config.json a part.

Sizes differ from each other wherever the architecture lets them, so that a confusion of two axes shows. Weights are
written by `tests.support.small_weights`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import write_json
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, XL_TEXT_ENCODER, XL_TEXT_ENCODER_2, XL_UNET, class_of

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

PIXART: Config = {
    "_class_name": "PixArtTransformer2DModel",
    "num_attention_heads": 3,
    "attention_head_dim": 8,
    "in_channels": 4,
    "num_layers": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 24,
    "caption_channels": 24,
    "sample_size": 8,
}

DIT: Config = {
    "_class_name": "DiTTransformer2DModel",
    "num_attention_heads": 3,
    "attention_head_dim": 8,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "norm_num_groups": 4,
    "sample_size": 8,
    "num_embeds_ada_norm": 10,
}

HUNYUAN_DIT: Config = {
    "_class_name": "HunyuanDiT2DModel",
    "num_attention_heads": 3,
    "attention_head_dim": 8,
    "in_channels": 4,
    "patch_size": 2,
    "sample_size": 16,
    "hidden_size": 24,
    "num_layers": 2,
    "cross_attention_dim": 24,
    "cross_attention_dim_t5": 24,
    "pooled_projection_dim": 16,
    "text_len": 77,
    "text_len_t5": 11,
}

BERT: Config = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 64,
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 77,
}

AURA_FLOW: Config = {
    "_class_name": "AuraFlowTransformer2DModel",
    "sample_size": 16,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_mmdit_layers": 1,
    "num_single_dit_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 24,
    "caption_projection_dim": 32,
    "pos_embed_max_size": 256,
}

SANA: Config = {
    "_class_name": "SanaTransformer2DModel",
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 1,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 8,
    "cross_attention_dim": 16,
    "caption_channels": 12,
    "sample_size": 8,
}

DC_VAE: Config = {
    "_class_name": "AutoencoderDC",
    "in_channels": 3,
    "latent_channels": 4,
    "attention_head_dim": 2,
    "encoder_block_types": ["ResBlock", "EfficientViTBlock"],
    "decoder_block_types": ["ResBlock", "EfficientViTBlock"],
    "encoder_block_out_channels": [8, 8],
    "decoder_block_out_channels": [8, 8],
    "encoder_layers_per_block": [1, 1],
    "decoder_layers_per_block": [1, 1],
    "encoder_qkv_multiscales": [[], [5]],
    "decoder_qkv_multiscales": [[], [5]],
    "upsample_block_type": "interpolate",
    "downsample_block_type": "stride_conv",
    "decoder_norm_types": "rms_norm",
    "decoder_act_fns": "silu",
}

COGVIEW_3: Config = {
    "_class_name": "CogView3PlusTransformer2DModel",
    "patch_size": 2,
    "in_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 3,
    "out_channels": 4,
    "text_embed_dim": 24,
    "time_embed_dim": 16,
    "condition_dim": 4,
    "pos_embed_max_size": 16,
    "sample_size": 16,
}

COGVIEW_4: Config = {
    **COGVIEW_3,
    "_class_name": "CogView4Transformer2DModel",
    "rope_axes_dim": [4, 4],
}

COGVIDEOX: Config = {
    "_class_name": "CogVideoXTransformer3DModel",
    "num_attention_heads": 3,
    "attention_head_dim": 16,
    "in_channels": 4,
    "out_channels": 4,
    "time_embed_dim": 8,
    "text_embed_dim": 24,
    "num_layers": 1,
    "sample_width": 8,
    "sample_height": 8,
    "sample_frames": 5,
    "max_text_seq_length": 11,
}

COGVIDEOX_VAE: Config = {
    "_class_name": "AutoencoderKLCogVideoX",
    "block_out_channels": [8, 8, 8, 8],
    "down_block_types": ["CogVideoXDownBlock3D"] * 4,
    "up_block_types": ["CogVideoXUpBlock3D"] * 4,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "temporal_compression_ratio": 4,
    "sample_height": 64,
    "sample_width": 64,
}

LTX: Config = {
    "_class_name": "LTXVideoTransformer3DModel",
    "in_channels": 8,
    "out_channels": 8,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "cross_attention_dim": 32,
    "num_layers": 1,
    "caption_channels": 24,
}

LTX_VAE: Config = {
    "_class_name": "AutoencoderKLLTXVideo",
    "latent_channels": 8,
    "block_out_channels": [8, 8, 8, 8],
    "decoder_block_out_channels": [8, 8, 8, 8],
    "layers_per_block": [1, 1, 1, 1, 1],
    "decoder_layers_per_block": [1, 1, 1, 1, 1],
}

WAN: Config = {
    "_class_name": "WanTransformer3DModel",
    "patch_size": [1, 2, 2],
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 24,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 1,
    "rope_max_seq_len": 32,
}

UMT5: Config = {**T5, "architectures": ["UMT5EncoderModel"], "model_type": "umt5"}

HUNYUAN_VIDEO: Config = {
    "_class_name": "HunyuanVideoTransformer3DModel",
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 1,
    "num_single_layers": 1,
    "num_refiner_layers": 1,
    "text_embed_dim": 48,
    "pooled_projection_dim": 32,
    "rope_axes_dim": [2, 2, 4],
    "guidance_embeds": True,
}

HUNYUAN_VIDEO_VAE: Config = {
    "_class_name": "AutoencoderKLHunyuanVideo",
    "latent_channels": 4,
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 2,
}

LLAMA: Config = {
    "architectures": ["LlamaModel"],
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}

MOCHI: Config = {
    "_class_name": "MochiTransformer3DModel",
    "patch_size": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 2,
    "pooled_projection_dim": 16,
    "in_channels": 12,
    "text_embed_dim": 24,
    "time_embed_dim": 4,
    "max_sequence_length": 11,
}

LATTE: Config = {
    "_class_name": "LatteTransformer3DModel",
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 1,
    "cross_attention_dim": 16,
    "attention_bias": True,
    "sample_size": 8,
    "patch_size": 2,
    "activation_fn": "gelu-approximate",
    "num_embeds_ada_norm": 1000,
    "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False,
    "caption_channels": 24,
    "video_length": 3,
}

MOTION_UNET: Config = {
    "_class_name": "UNetMotionModel",
    "sample_size": 8,
    "in_channels": 4,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlockMotion", "DownBlockMotion"],
    "up_block_types": ["UpBlockMotion", "CrossAttnUpBlockMotion"],
    "cross_attention_dim": 32,
    "num_attention_heads": 2,
    "motion_num_attention_heads": 2,
    "norm_num_groups": 4,
    "motion_max_seq_length": 8,
}

STABLE_VIDEO_UNET: Config = {
    "_class_name": "UNetSpatioTemporalConditionModel",
    "sample_size": 8,
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": [32, 64],
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24,
    "layers_per_block": 1,
    "cross_attention_dim": 24,
    "num_attention_heads": [2, 4],
    "num_frames": 3,
}

I2VGEN_UNET: Config = {
    "_class_name": "I2VGenXLUNet",
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [16, 32],
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
    "num_attention_heads": None,
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
    "pixart_alpha": Small(
        "PixArtAlphaPipeline",
        {"transformer": PIXART, "vae": _vae(), "text_encoder": T5},
        "DPMSolverMultistepScheduler",
        ShapeOptions(height=16, width=24, sequence_length=11),
    ),
    "pixart_alpha_1024": Small(
        "PixArtAlphaPipeline",
        {"transformer": {**PIXART, "sample_size": 128}},
        "DPMSolverMultistepScheduler",
        ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "dit": Small(
        "DiTPipeline", {"transformer": DIT, "vae": _vae()}, "DDIMScheduler", ShapeOptions(height=16, width=16)
    ),
    "hunyuan_dit": Small(
        "HunyuanDiTPipeline",
        {"transformer": HUNYUAN_DIT, "text_encoder": BERT, "text_encoder_2": T5},
        "DDPMScheduler",
        ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "aura_flow": Small(
        "AuraFlowPipeline",
        {"transformer": AURA_FLOW, "vae": _vae(), "text_encoder": UMT5},
        shapes=ShapeOptions(height=24, width=32, sequence_length=11),
    ),
    "sana": Small(
        "SanaPipeline",
        {"transformer": SANA, "vae": DC_VAE},
        "DPMSolverMultistepScheduler",
        ShapeOptions(height=16, width=24, sequence_length=7),
    ),
    "cogview3": Small(
        "CogView3PlusPipeline",
        {"transformer": COGVIEW_3, "text_encoder": T5},
        "CogVideoXDDIMScheduler",
        ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "cogview4": Small(
        "CogView4Pipeline",
        {"transformer": COGVIEW_4},
        shapes=ShapeOptions(height=64, width=96, sequence_length=16),
    ),
    "cogvideox": Small(
        "CogVideoXPipeline",
        {"transformer": COGVIDEOX, "vae": COGVIDEOX_VAE},
        "CogVideoXDDIMScheduler",
        ShapeOptions(height=64, width=64, frames=5),
    ),
    "cogvideox_rotary": Small(
        "CogVideoXPipeline",
        {"transformer": {**COGVIDEOX, "use_rotary_positional_embeddings": True}},
        "CogVideoXDPMScheduler",
        ShapeOptions(height=64, width=96, frames=9),
    ),
    "ltx": Small(
        "LTXPipeline",
        {"transformer": LTX, "vae": LTX_VAE, "text_encoder": T5},
        shapes=ShapeOptions(height=64, width=96, frames=9, sequence_length=11),
    ),
    "wan": Small(
        "WanPipeline",
        {"transformer": WAN, "transformer_2": WAN, "text_encoder": UMT5},
        "UniPCMultistepScheduler",
        ShapeOptions(height=64, width=96, frames=5, sequence_length=11),
    ),
    "hunyuan_video": Small(
        "HunyuanVideoPipeline",
        {
            "transformer": HUNYUAN_VIDEO,
            "vae": HUNYUAN_VIDEO_VAE,
            "text_encoder": LLAMA,
            "text_encoder_2": XL_TEXT_ENCODER,
        },
        shapes=ShapeOptions(height=32, width=48, frames=5, sequence_length=11),
    ),
    "mochi": Small(
        "MochiPipeline",
        {"transformer": MOCHI, "text_encoder": T5},
        shapes=ShapeOptions(height=32, width=48, frames=7, sequence_length=11),
    ),
    "latte": Small(
        "LattePipeline",
        {"transformer": LATTE, "text_encoder": T5},
        "DDIMScheduler",
        ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "animate_diff": Small(
        "AnimateDiffPipeline",
        {"unet": MOTION_UNET, "text_encoder": XL_TEXT_ENCODER},
        "DDIMScheduler",
        ShapeOptions(height=64, width=96, frames=3),
    ),
    "stable_video": Small(
        "StableVideoDiffusionPipeline",
        {"unet": STABLE_VIDEO_UNET},
        "EulerDiscreteScheduler",
        ShapeOptions(height=64, width=96),
    ),
    "i2vgen": Small(
        "I2VGenXLPipeline", {"unet": I2VGEN_UNET}, "DDIMScheduler", ShapeOptions(height=64, width=96, frames=3)
    ),
}
"""By a name of their own."""


def write_configs(folder: Path, small: Small) -> Path:
    """Write a pipeline's configurations, without weights, which a plan does not need; return the folder."""
    index: dict[str, object] = {"_class_name": small.pipeline, "scheduler": ["diffusers", small.scheduler]}
    for name, config in small.models.items():
        (folder / name).mkdir(parents=True)
        write_json(folder / name / "config.json", config)
        index[name] = ["diffusers" if "_class_name" in config else "transformers", class_of(config)]
    write_json(folder / "model_index.json", index)
    return folder
