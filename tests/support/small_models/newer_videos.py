"""Small pipelines of newer video models, with the structure of the real ones."""

from __future__ import annotations

from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import XL_TEXT_ENCODER
from tests.support.small_models.encoders import CLIP_VISION
from tests.support.small_models.record import T5, Config, Small
from tests.support.small_models.videos import COGVIDEOX, LTX, LTX_UPSAMPLER, WAN, WAN_RESIDUAL_VAE, WAN_VAE

COSMOS: Config = {
    "_class_name": "CosmosTransformer3DModel",
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "mlp_ratio": 2.0,
    "text_embed_dim": 24,
    "adaln_lora_dim": 4,
    "max_size": [4, 32, 32],
    "rope_scale": [2.0, 1.0, 1.0],
    "concat_padding_mask": True,
    "extra_pos_embed_type": "learnable",
}

COSMOS_VAE: Config = {
    "_class_name": "AutoencoderKLCosmos",
    "in_channels": 3,
    "latent_channels": 4,
    "encoder_block_out_channels": [8, 8, 8, 8],
    "decode_block_out_channels": [8, 8, 8, 8],
    "attention_resolutions": [8],
    "resolution": 64,
    "num_layers": 1,
    "patch_size": 4,
    "patch_type": "haar",
    "spatial_compression_ratio": 8,
    "temporal_compression_ratio": 8,
}

KANDINSKY_5: Config = {
    "_class_name": "Kandinsky5Transformer3DModel",
    "in_visual_dim": 4,
    "in_text_dim": 20,
    "in_text_dim2": 12,
    "time_dim": 16,
    "out_visual_dim": 4,
    "model_dim": 32,
    "ff_dim": 48,
    "num_text_blocks": 1,
    "num_visual_blocks": 1,
    "axes_dims": [4, 6, 6],
    "visual_cond": True,
    "attention_type": "regular",
}

CONSIS_ID: Config = {
    **COGVIDEOX,
    "_class_name": "ConsisIDTransformer3DModel",
    "in_channels": 8,
    "num_layers": 2,
    "use_rotary_positional_embeddings": True,
    "is_train_face": True,
    "cross_attn_interval": 2,
    "cross_attn_dim_head": 8,
    "cross_attn_num_heads": 2,
    "LFE_id_dim": 12,
    "LFE_vit_dim": 16,
    "LFE_depth": 2,
    "LFE_dim_head": 8,
    "LFE_num_heads": 2,
    "LFE_num_id_token": 3,
    "LFE_num_querie": 4,
    "LFE_output_dim": 32,
    "LFE_ff_mult": 2,
    "LFE_num_scale": 2,
}

MAGVIT: Config = {
    "_class_name": "AutoencoderKLMagvit",
    "in_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 2,
}

EASY_ANIMATE: Config = {
    "_class_name": "EasyAnimateTransformer3DModel",
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": 4,
    "out_channels": 4,
    "patch_size": 2,
    "sample_width": 12,
    "sample_height": 8,
    "num_layers": 2,
    "mmdit_layers": 1,
    "time_embed_dim": 8,
    "text_embed_dim": 20,
    "add_norm_text_encoder": True,
}

SMALL: dict[str, Small] = {
    "cosmos": Small(
        "CosmosTextToWorldPipeline",
        {"transformer": COSMOS, "vae": COSMOS_VAE, "text_encoder": T5},
        "EDMEulerScheduler",
        ShapeOptions(height=64, width=96, frames=9, sequence_length=11),
    ),
    "cosmos_video": Small(
        "CosmosVideoToWorldPipeline",
        {"transformer": {**COSMOS, "in_channels": 5}},
        "EDMEulerScheduler",
        ShapeOptions(height=64, width=96, frames=17, sequence_length=11),
    ),
    "cosmos2": Small(
        "Cosmos2TextToImagePipeline",
        {"transformer": {**COSMOS, "extra_pos_embed_type": None}},
        shapes=ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "cosmos2_video": Small(
        "Cosmos2VideoToWorldPipeline",
        {"transformer": {**COSMOS, "in_channels": 5, "extra_pos_embed_type": None}},
        shapes=ShapeOptions(height=64, width=96, frames=5, sequence_length=11),
    ),
    "sky_reels_2": Small(
        "SkyReelsV2ImageToVideoPipeline",
        {
            "transformer": {
                **WAN,
                "_class_name": "SkyReelsV2Transformer3DModel",
                "in_channels": 12,
                "image_dim": 40,
                "added_kv_proj_dim": 24,
            },
            "image_encoder": {**CLIP_VISION, "num_hidden_layers": 3},
            "vae": WAN_VAE,
        },
        "UniPCMultistepScheduler",
        ShapeOptions(height=64, width=96, frames=5, sequence_length=11),
    ),
    "sky_reels_2_forcing": Small(
        "SkyReelsV2DiffusionForcingPipeline",
        {"transformer": {**WAN, "_class_name": "SkyReelsV2Transformer3DModel", "inject_sample_info": True}},
        "UniPCMultistepScheduler",
        ShapeOptions(height=64, width=96, frames=5, sequence_length=11),
    ),
    "wan_text_picture": Small(
        "WanImageToVideoPipeline",
        {"transformer": WAN, "vae": WAN_RESIDUAL_VAE},
        "UniPCMultistepScheduler",
        ShapeOptions(height=64, width=96, frames=5, sequence_length=11),
        {"expand_timesteps": True},
    ),
    "wan_first_last": Small(
        "WanImageToVideoPipeline",
        {
            "transformer": {
                **WAN,
                "in_channels": 12,
                "image_dim": 40,
                "added_kv_proj_dim": 24,
                "pos_embed_seq_len": 514,
            }
        },
        "UniPCMultistepScheduler",
        ShapeOptions(height=64, width=96, frames=5, sequence_length=11),
    ),
    "ltx_image": Small(
        "LTXImageToVideoPipeline",
        {"transformer": LTX},
        shapes=ShapeOptions(height=64, width=96, frames=9, sequence_length=11),
    ),
    "ltx_condition": Small(
        "LTXConditionPipeline",
        {"transformer": LTX, "text_encoder": T5},
        shapes=ShapeOptions(height=64, width=96, frames=9, sequence_length=11),
    ),
    "ltx_upsample": Small(
        "LTXLatentUpsamplePipeline",
        {"latent_upsampler": LTX_UPSAMPLER},
        shapes=ShapeOptions(height=64, width=96, frames=9),
    ),
    "wan_vace": Small(
        "WanVACEPipeline",
        {
            "transformer": {
                **WAN,
                "_class_name": "WanVACETransformer3DModel",
                "num_layers": 3,
                "vace_layers": [0, 2],
                "vace_in_channels": 6,
            }
        },
        "UniPCMultistepScheduler",
        ShapeOptions(height=64, width=96, frames=5, sequence_length=11),
    ),
    "kandinsky5": Small(
        "Kandinsky5T2VPipeline",
        {"transformer": KANDINSKY_5, "text_encoder_2": XL_TEXT_ENCODER},
        shapes=ShapeOptions(height=64, width=96, frames=5, sequence_length=7),
    ),
    "consis_id": Small(
        "ConsisIDPipeline",
        {"transformer": CONSIS_ID},
        "CogVideoXDPMScheduler",
        ShapeOptions(height=64, width=96, frames=9),
    ),
    "easy_animate": Small(
        "EasyAnimatePipeline",
        {"transformer": EASY_ANIMATE, "vae": MAGVIT},
        shapes=ShapeOptions(height=64, width=96, frames=5, sequence_length=7),
    ),
}
"""By a name of their own."""
