"""Published widths of models of pictures that are made in stages, of pixels or without a text."""

from __future__ import annotations

from tools.matrix.published.alone import PUBLISHED as MODELS_ALONE
from tools.matrix.published.pictures import PUBLISHED as PICTURES
from tools.matrix.published.record import (
    ALONE,
    CLIP_G,
    CLIP_H,
    CLIP_L,
    SD_2_UNET,
    T5_XXL,
    Config,
    Published,
)

_SANA_SPRINT: Config = {"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"}
_IF: Config = {**MODELS_ALONE["unet_simple_cross"].configs[ALONE], "cross_attention_norm": "group_norm"}
_CASCADE_TEXT: Config = {"clip_text_pooled_in_channels": 1280}
_CASCADE_CONVOLVED = ["SDCascadeResBlock", "SDCascadeTimestepBlock"]
_CASCADE_ATTENDING = [*_CASCADE_CONVOLVED, "SDCascadeAttnBlock"]

PUBLISHED: dict[str, Published] = {
    "sana_sprint": Published("Sana Sprint 1.6B, 1024 px", {"transformer": _SANA_SPRINT}),
    "deepfloyd_if": Published("DeepFloyd IF I XL", {"unet": _IF}),
    "deepfloyd_if_larger": Published(
        "DeepFloyd IF II L",
        {
            "unet": {
                **_IF,
                "block_out_channels": [160, 320, 640, 1280],
                "class_embed_type": "timestep",
                "cross_attention_dim": 1280,
                "down_block_types": [*["ResnetDownsampleBlock2D"] * 3, "SimpleCrossAttnDownBlock2D"],
                "in_channels": 6,
                "layers_per_block": [2, 4, 8, 8],
                "mid_block_scale_factor": 1 / 0.7071,
                "only_cross_attention": True,
                "resnet_out_scale_factor": 1 / 0.7071,
                "resnet_skip_time_act": True,
                "sample_size": 256,
                "time_embedding_act_fn": "gelu",
                "time_embedding_dim": 1280,
                "up_block_types": ["SimpleCrossAttnUpBlock2D", *["ResnetUpsampleBlock2D"] * 3],
            }
        },
    ),
    "marigold": Published(
        "Marigold depth 1.0",
        {
            "unet": {**SD_2_UNET, "in_channels": 8, "upcast_attention": False},
            "text_encoder": CLIP_H,
        },
    ),
    "kandinsky22_combined": Published(
        "Kandinsky 2.2",
        {
            "unet": PICTURES["kandinsky22"].configs["unet"],
            "prior_prior": {"embedding_dim": 1280},
            "prior_image_encoder": {
                "hidden_size": 1664,
                "intermediate_size": 8192,
                "num_hidden_layers": 2,
                "num_attention_heads": 16,
                "image_size": 224,
                "patch_size": 14,
                "projection_dim": 1280,
                "hidden_act": "gelu",
            },
            "prior_text_encoder": CLIP_G,
        },
    ),
    "stable_cascade_prior": Published(
        "Stable Cascade, stage C",
        {
            "prior": {
                **_CASCADE_TEXT,
                "clip_image_in_channels": 768,
                "clip_text_in_channels": 1280,
                "down_num_layers_per_block": [2, 2],  # of [8, 24]
                "switch_level": [False],
                "up_num_layers_per_block": [2, 2],  # of [24, 8]
            },
            "text_encoder": CLIP_G,
        },
    ),
    "stable_cascade": Published(
        "Stable Cascade, stages B and A",
        {
            "decoder": {
                **_CASCADE_TEXT,
                "block_out_channels": [320, 640, 1280, 1280],
                "block_types_per_layer": [*[_CASCADE_CONVOLVED] * 2, *[_CASCADE_ATTENDING] * 2],
                "conditioning_dim": 1280,
                "down_blocks_repeat_mappers": [1, 1, 1, 1],
                "down_num_layers_per_block": [2, 2, 2, 2],  # of [2, 6, 28, 6]
                "dropout": [0, 0, 0.1, 0.1],
                "effnet_in_channels": 16,
                "in_channels": 4,
                "num_attention_heads": [0, 0, 20, 20],
                "out_channels": 4,
                "patch_size": 2,
                "pixel_mapper_in_channels": 3,
                "timestep_conditioning_type": ["sca"],
                "up_blocks_repeat_mappers": [3, 3, 2, 2],
                "up_num_layers_per_block": [2, 2, 2, 2],  # of [6, 28, 6, 2]
            },
            "vqgan": {},
        },
    ),
    "wuerstchen_prior": Published(
        "Würstchen 2, stage C", {"prior": {"c": 1536, "c_cond": 1280, "nhead": 24}, "text_encoder": CLIP_G}
    ),
    "wuerstchen": Published(
        "Würstchen 2, stage B",
        {"decoder": {"blocks": [2, 2, 2, 2]}, "text_encoder": CLIP_H},  # blocks: of [4, 4, 14, 4]
    ),
    "ddpm": Published(
        "DDPM, CelebA-HQ, 256 px",
        {
            "unet": {
                "attention_head_dim": None,
                "block_out_channels": [128, 128, 256, 256, 512, 512],
                "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
                "downsample_padding": 0,
                "flip_sin_to_cos": False,
                "freq_shift": 1,
                "norm_eps": 1e-6,
                "sample_size": 256,
                "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
            }
        },
    ),
    "consistency": Published(
        "Consistency model, ImageNet, 64 px",
        {
            "unet": {
                "attention_head_dim": 64,
                "attn_norm_num_groups": 32,
                "block_out_channels": [192, 384, 576, 768],
                "down_block_types": ["ResnetDownsampleBlock2D", *["AttnDownBlock2D"] * 3],
                "downsample_type": "resnet",
                "layers_per_block": 3,
                "num_class_embeds": 1000,
                "resnet_time_scale_shift": "scale_shift",
                "sample_size": 64,
                "up_block_types": [*["AttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"],
                "upsample_type": "resnet",
            }
        },
    ),
    "flux_redux": Published(
        "Flux.1 Redux dev",
        {
            "image_encoder": {
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 2,
                "num_attention_heads": 16,
                "image_size": 384,
                "patch_size": 14,
            },
            "image_embedder": {},
            "text_encoder": CLIP_L,
            "text_encoder_2": T5_XXL,
        },
    ),
}
