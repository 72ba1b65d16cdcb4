"""Published widths of models that pipelines of Stable Diffusion run with more inputs, or other rows."""

from __future__ import annotations

from tools.matrix.published import pictures
from tools.matrix.published.record import SD_2_UNET, SD_UNET, SDXL_UNET, Config, Published

_VISION_L: Config = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}

PUBLISHED: dict[str, Published] = {
    "pix2pix": Published("InstructPix2Pix", {"unet": {**SD_UNET, "in_channels": 8}}),
    "upscale": Published(
        "Stable Diffusion x4 upscaler",
        {
            "unet": {
                "attention_head_dim": 8,
                "block_out_channels": [256, 512, 512, 1024],
                "cross_attention_dim": 1024,
                "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 3],
                "in_channels": 7,
                "num_class_embeds": 1000,
                "only_cross_attention": [True, True, True, False],
                "sample_size": 128,
                "up_block_types": [*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"],
                "use_linear_projection": True,
            }
        },
    ),
    "latent_upscale": Published(
        "Stable Diffusion x2 latent upscaler",
        {
            "unet": {
                "attention_head_dim": 64,
                "block_out_channels": [384, 384, 768, 768],
                "cross_attention_dim": 768,
                "down_block_types": ["KDownBlock2D", *["KCrossAttnDownBlock2D"] * 3],
                "in_channels": 8,
                "layers_per_block": 4,
                "out_channels": 5,
                "sample_size": 64,
                "time_cond_proj_dim": 896,
                "up_block_types": [*["KCrossAttnUpBlock2D"] * 3, "KUpBlock2D"],
            }
        },
    ),
    "depth_to_image": Published(
        "Stable Diffusion 2, depth (with DPT large)",
        {
            "depth_estimator": {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 4,  # one for each of those that are looked at
                "num_attention_heads": 16,
                "image_size": 384,
                "patch_size": 16,
                "neck_hidden_sizes": [256, 512, 1024, 1024],
                "fusion_hidden_size": 256,
            }
        },
    ),
    "paint_by_example": Published("Paint by example", {"image_encoder": {**_VISION_L, "num_hidden_layers": 5}}),
    "gligen": Published("GLIGEN 1.4", {"unet": {**SD_UNET, "attention_type": "gated"}}),
    "gligen_pictures": Published(
        "GLIGEN 1.4, text and picture",
        {"unet": {**SD_UNET, "attention_type": "gated-text-image"}, "image_project": {"hidden_size": 768}},
    ),
    "controlnet_xs": Published(
        "ControlNet-XS, Stable Diffusion 2.1", {"unet": {"num_attention_heads": [5, 10, 20, 20]}}
    ),
    "text_to_video": Published("ModelScope text to video 1.7B", {"unet": {"sample_size": 32}}),
    "text_to_video_zero": Published(
        "Stable Diffusion 2.1", {"unet": SD_2_UNET, "vae": pictures.PUBLISHED["sd_controlnet"].configs["vae"]}
    ),
    "animate_diff_xl": Published(
        "AnimateDiff XL",
        {
            "unet": {
                **{key: SDXL_UNET[key] for key in ("cross_attention_dim", "sample_size") if key in SDXL_UNET},
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "block_out_channels": [320, 640, 1280],
                "down_block_types": ["DownBlockMotion", "CrossAttnDownBlockMotion", "CrossAttnDownBlockMotion"],
                "num_attention_heads": [5, 10, 20],
                "projection_class_embeddings_input_dim": 2816,
                "transformer_layers_per_block": [1, 2, 10],
                "up_block_types": ["CrossAttnUpBlockMotion", "CrossAttnUpBlockMotion", "UpBlockMotion"],
            },
            "text_encoder_2": pictures.PUBLISHED["sdxl_controlnet"].configs["text_encoder_2"],
        },
    ),
    "unclip": Published(
        "Karlo 1.0",
        {
            "decoder": {
                "attention_head_dim": 64,
                "block_out_channels": [320, 640, 960, 1280],
                "class_embed_type": "identity",
                "cross_attention_dim": 1536,
                "down_block_types": ["ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3],
                "in_channels": 3,
                "layers_per_block": 3,
                "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
                "out_channels": 6,
                "resnet_time_scale_shift": "scale_shift",
                "sample_size": 64,
                "up_block_types": [*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"],
            },
            "text_proj": {"cross_attention_dim": 1536, "time_embed_dim": 1280},
            "super_res_first": {
                "add_attention": False,
                "block_out_channels": [320, 640, 960, 1280],
                "down_block_types": ["ResnetDownsampleBlock2D"] * 4,
                "in_channels": 6,
                "layers_per_block": 3,
                "out_channels": 3,
                "resnet_time_scale_shift": "scale_shift",
                "sample_size": 256,
                "up_block_types": ["ResnetUpsampleBlock2D"] * 4,
            },
        },
    ),
    "stable_unclip": Published(
        "Stable unCLIP 2.1",
        {
            "unet": {
                **SD_2_UNET,
                "class_embed_type": "projection",
                "projection_class_embeddings_input_dim": 2048,
            }
        },
    ),
}
