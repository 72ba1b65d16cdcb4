"""Small pipelines that make videos, with the structure of the real ones."""

from __future__ import annotations

from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import XL_TEXT_ENCODER
from tests.support.small_models.record import T5, UMT5, Config, Small, small_vae

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
    "in_channels": 3,
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
    "in_channels": 3,
    "latent_channels": 8,
    "block_out_channels": [8, 8, 8, 8],
    "decoder_block_out_channels": [8, 8, 8, 8],
    "layers_per_block": [1, 1, 1, 1, 1],
    "decoder_layers_per_block": [1, 1, 1, 1, 1],
}

LTX_UPSAMPLER: Config = {
    "_class_name": "LTXLatentUpsamplerModel",
    "in_channels": 8,
    "mid_channels": 32,
    "num_blocks_per_stage": 1,
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
    "in_channels": 3,
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

XL_MOTION_UNET: Config = {
    **MOTION_UNET,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "cross_attention_dim": 80,
    "projection_class_embeddings_input_dim": 40 + 6 * 8,
}

UNET_3D: Config = {
    "_class_name": "UNet3DConditionModel",
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}

SPARSE_CONTROLNET: Config = {
    "_class_name": "SparseControlNetModel",
    "in_channels": 4,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlockMotion", "DownBlockMotion"],
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
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

TEMPORAL_VAE: Config = {
    "_class_name": "AutoencoderKLTemporalDecoder",
    "in_channels": 3,
    "block_out_channels": [32, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "latent_channels": 4,
    "layers_per_block": 2,
    "sample_size": 16,
}

MOCHI_VAE: Config = {
    "_class_name": "AutoencoderKLMochi",
    "latent_channels": 12,
    "encoder_block_out_channels": [32, 32, 64, 64],
    "decoder_block_out_channels": [32, 32, 64, 64],
    "layers_per_block": [1, 1, 1, 1, 1],
}

WAN_VAE: Config = {
    "_class_name": "AutoencoderKLWan",
    "base_dim": 8,
    "z_dim": 4,
    "dim_mult": [1, 2, 2, 3],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "latents_mean": [0.0] * 4,
    "latents_std": [1.0] * 4,
}

WAN_RESIDUAL_VAE: Config = {
    **WAN_VAE,
    "dim_mult": [1, 2, 2, 2],
    "decoder_base_dim": 12,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "is_residual": True,
    "scale_factor_spatial": 16,
}

ALLEGRO: Config = {
    "_class_name": "AllegroTransformer3DModel",
    "patch_size": 2,
    "patch_size_t": 1,
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 1,
    "cross_attention_dim": 48,
    "sample_height": 8,
    "sample_width": 12,
    "sample_frames": 3,
    "caption_channels": 20,
}

ALLEGRO_VAE: Config = {
    "_class_name": "AutoencoderKLAllegro",
    "in_channels": 3,
    "block_out_channels": [8, 8, 16, 16],
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_size": 32,
    "temporal_compression_ratio": 4,
}

SMALL: dict[str, Small] = {
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
    "cogvideox_image": Small(
        "CogVideoXImageToVideoPipeline",
        {
            "transformer": {
                **COGVIDEOX,
                "in_channels": 8,
                "ofs_embed_dim": 8,
                "patch_size_t": 2,
                "use_rotary_positional_embeddings": True,
            }
        },
        "CogVideoXDPMScheduler",
        ShapeOptions(height=64, width=96, frames=9),
    ),
    "allegro": Small(
        "AllegroPipeline",
        {"transformer": ALLEGRO, "vae": ALLEGRO_VAE},
        "EulerAncestralDiscreteScheduler",
        ShapeOptions(sequence_length=11),
    ),
    "ltx": Small(
        "LTXPipeline",
        {"transformer": LTX, "vae": LTX_VAE, "text_encoder": T5},
        shapes=ShapeOptions(height=64, width=96, frames=9, sequence_length=11),
    ),
    "wan": Small(
        "WanPipeline",
        {"transformer": WAN, "transformer_2": WAN, "text_encoder": UMT5, "vae": WAN_VAE},
        "UniPCMultistepScheduler",
        ShapeOptions(height=64, width=96, frames=5, sequence_length=11),
    ),
    "wan_image": Small(
        "WanImageToVideoPipeline",
        {"transformer": {**WAN, "in_channels": 12, "image_dim": 40, "added_kv_proj_dim": 24}},
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
        {"transformer": MOCHI, "text_encoder": T5, "vae": MOCHI_VAE},
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
    "animate_diff_controlnet": Small(
        "AnimateDiffControlNetPipeline",
        {
            "controlnet": {
                "_class_name": "ControlNetModel",
                "block_out_channels": [16, 32],
                "layers_per_block": 1,
                "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
                "cross_attention_dim": 32,
                "attention_head_dim": 2,
                "norm_num_groups": 4,
                "conditioning_embedding_out_channels": [4, 8, 8, 16],
                "in_channels": 4,
            }
        },
        "DDIMScheduler",
        ShapeOptions(height=64, width=96, frames=3),
    ),
    "animate_diff_sparse": Small(
        "AnimateDiffSparseControlNetPipeline",
        {"unet": MOTION_UNET, "controlnet": SPARSE_CONTROLNET},
        "DDIMScheduler",
        ShapeOptions(height=64, width=96, frames=3),
    ),
    "stable_video": Small(
        "StableVideoDiffusionPipeline",
        {"unet": STABLE_VIDEO_UNET, "vae": TEMPORAL_VAE},
        "EulerDiscreteScheduler",
        ShapeOptions(height=64, width=96),
    ),
    "i2vgen": Small(
        "I2VGenXLPipeline",
        {"unet": I2VGEN_UNET, "vae": small_vae()},
        "DDIMScheduler",
        ShapeOptions(height=16, width=24, frames=3),
    ),
}
"""By a name of their own."""
