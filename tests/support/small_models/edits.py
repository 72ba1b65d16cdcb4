"""Small models of pipelines of Stable Diffusion and XL that hand their UNet more inputs, or other rows."""

from __future__ import annotations

from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, XL_TEXT_ENCODER_2
from tests.support.small_models import encoders, videos
from tests.support.small_models.record import Config, Small

UPSCALE_UNET: Config = {**SD21_UNET, "in_channels": 7, "num_class_embeds": 1000}

LATENT_UPSCALE_UNET: Config = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "gelu",
    "attention_head_dim": 8,
    "block_out_channels": [32, 32, 64, 64],  # in pairs: what comes up is told by that
    "conv_in_kernel": 1,
    "conv_out_kernel": 1,
    "cross_attention_dim": 64,
    "down_block_types": ["KDownBlock2D", *["KCrossAttnDownBlock2D"] * 3],
    "in_channels": 8,
    "layers_per_block": 1,
    "mid_block_type": None,
    "norm_num_groups": None,
    "only_cross_attention": False,
    "out_channels": 5,
    "resnet_time_scale_shift": "scale_shift",
    "sample_size": 32,
    "time_cond_proj_dim": 128 + 64,
    "time_embedding_act_fn": "gelu",
    "time_embedding_type": "fourier",
    "timestep_post_act": "gelu",
    "up_block_types": [*["KCrossAttnUpBlock2D"] * 3, "KUpBlock2D"],
}

UNCLIP_DECODER: Config = {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": 8,
    "block_out_channels": [32, 64],
    "class_embed_type": "identity",
    "cross_attention_dim": 64,
    "down_block_types": ["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
    "in_channels": 3,
    "layers_per_block": 1,
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "norm_num_groups": 8,
    "out_channels": 6,
    "resnet_time_scale_shift": "scale_shift",
    "sample_size": 8,
    "up_block_types": ["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
}

UNCLIP_TEXT: Config = {
    "_class_name": "UnCLIPTextProjModel",
    "clip_embeddings_dim": 16,
    "clip_extra_context_tokens": 2,
    "cross_attention_dim": 64,
    "time_embed_dim": 128,
}

ENLARGING: Config = {
    "_class_name": "UNet2DModel",
    "sample_size": 16,
    "in_channels": 6,
    "out_channels": 3,
    "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "add_attention": False,
}

UNCLIP_UNET: Config = {
    **SD21_UNET,
    "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": 2 * 16,
}

EXAMPLE: Config = {
    **encoders.CLIP_VISION,
    "architectures": ["PaintByExampleImageEncoder"],
    "attention_dropout": 0.0,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "num_channels": 3,
    "num_hidden_layers": 4,
    "projection_dim": 64,
}

DPT: Config = {
    "architectures": ["DPTForDepthEstimation"],
    "model_type": "dpt",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "hidden_act": "gelu",
    "image_size": 32,
    "patch_size": 8,
    "num_channels": 3,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [8, 8, 16, 16],
    "fusion_hidden_size": 8,
    "reassemble_factors": [4, 2, 1, 0.5],
    "readout_type": "project",
    "use_batch_norm_in_fusion_residual": False,
    "head_in_index": -1,
    "qkv_bias": True,
}

XS_UNET: Config = {
    "_class_name": "UNetControlNetXSModel",
    "sample_size": 8,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [32, 64],
    "norm_num_groups": 8,
    "cross_attention_dim": 64,
    "num_attention_heads": [2, 4],
    "ctrl_conditioning_embedding_out_channels": [4, 8, 8, 16],
    "ctrl_block_out_channels": [8, 16],
    "ctrl_num_attention_heads": 2,
    "ctrl_max_norm_num_groups": 4,
}

XL_XS_UNET: Config = {
    **XS_UNET,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "cross_attention_dim": 80,
    "projection_class_embeddings_input_dim": 40 + 6 * 8,
}

GLIGEN_UNET: Config = {**SD21_UNET, "attention_type": "gated"}
GLIGEN_PICTURES_UNET: Config = {**SD21_UNET, "attention_type": "gated-text-image"}

_SIZE = ShapeOptions(height=32, width=48)

SMALL: dict[str, Small] = {
    "pix2pix": Small(
        "StableDiffusionInstructPix2PixPipeline", {"unet": {**SD21_UNET, "in_channels": 8}}, "DDIMScheduler", _SIZE
    ),
    "upscale": Small("StableDiffusionUpscalePipeline", {"unet": UPSCALE_UNET}, "DDIMScheduler", _SIZE),
    "latent_upscale": Small(
        "StableDiffusionLatentUpscalePipeline",
        {"unet": LATENT_UPSCALE_UNET},
        "EulerDiscreteScheduler",
        ShapeOptions(height=128, width=192),
    ),
    "depth_to_image": Small("StableDiffusionDepth2ImgPipeline", {"depth_estimator": DPT}, "DDIMScheduler", _SIZE),
    "paint_by_example": Small("PaintByExamplePipeline", {"image_encoder": EXAMPLE}, "DDIMScheduler", _SIZE),
    "gligen": Small("StableDiffusionGLIGENPipeline", {"unet": GLIGEN_UNET}, "DDIMScheduler", _SIZE),
    "gligen_pictures": Small(
        "StableDiffusionGLIGENTextImagePipeline",
        {
            "unet": GLIGEN_PICTURES_UNET,
            "image_project": {"_class_name": "CLIPImageProjection", "hidden_size": 64},
        },
        "DDIMScheduler",
        _SIZE,
    ),
    "controlnet_xs": Small("StableDiffusionControlNetXSPipeline", {"unet": XS_UNET}, "DDIMScheduler", _SIZE),
    "text_to_video": Small(
        "TextToVideoSDPipeline", {"unet": videos.UNET_3D}, "DDIMScheduler", ShapeOptions(height=64, width=96, frames=3)
    ),
    "text_to_video_zero": Small(
        "TextToVideoZeroPipeline",
        {"unet": SD21_UNET, "vae": SMALL_VAE},
        "DDIMScheduler",
        ShapeOptions(height=16, width=24, frames=3),
    ),
    "animate_diff_xl": Small(
        "AnimateDiffSDXLPipeline",
        {"unet": videos.XL_MOTION_UNET, "text_encoder_2": XL_TEXT_ENCODER_2},
        "EulerDiscreteScheduler",
        ShapeOptions(height=64, width=96, frames=3),
    ),
    "unclip": Small(
        "UnCLIPPipeline",
        {"decoder": UNCLIP_DECODER, "text_proj": UNCLIP_TEXT, "super_res_first": ENLARGING},
        "UnCLIPScheduler",
    ),
    "stable_unclip": Small("StableUnCLIPPipeline", {"unet": UNCLIP_UNET}, "DDIMScheduler", _SIZE),
}
"""By a name of their own."""
