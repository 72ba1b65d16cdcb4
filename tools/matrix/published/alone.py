"""Published widths of the models that the matrix compiles alone, and the shapes they are called with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.matrix.published.record import (
    ALONE,
    CLIP_L,
    LLAMA_3,
    SD_2_UNET,
    SD_UNET,
    Config,
    Published,
    decoder,
)

Shapes = Mapping[str, tuple[int, ...]]


def _alone(model: str, config: Config, inputs: Shapes, fixed: Mapping[str, Any] | None = None) -> Published:
    return Published(model, {ALONE: config}, inputs=inputs, fixed=fixed or {})


def _text(length: int, *names: str) -> Shapes:
    """Token ids, and masks, of two texts."""
    shape = {"attention_mask_4d": (2, 1, length, length)}
    return {name.removesuffix("_4d"): shape.get(name, (2, length)) for name in ("input_ids", *names)}


def _unet(width: int, side: int = 64, channels: int = 4) -> dict[str, tuple[int, ...]]:
    return {"sample": (2, channels, side, side), "encoder_hidden_states": (2, 77, width)}


def _bert(**changes: Any) -> Config:
    return {
        "vocab_size": 1024,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 2,
        "max_position_embeddings": 514,
        "pad_token_id": 1,
        **changes,
    }


def _vision(model: str, width: int, heads: int, patch: int, side: int, **changes: Any) -> Published:
    config = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "image_size": side,
        "patch_size": patch,
        **changes,
    }
    return _alone(model, config, {"pixel_values": (2, 3, side, side)})


_MASK_4D = "attention_mask_4d"
_QWEN_2_5 = decoder(3584, 28, 4, 18944)
_QWEN_3 = decoder(4096, 32, 8, 12288, head_dim=128)
_MISTRAL = decoder(4096, 32, 8, 14336, sliding_window=None)
_GEMMA = decoder(2048, 8, 1, 16384, head_dim=256)
_GPT_2: Config = {"n_layer": 2}
_ASYMMETRIC: Config = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "down_block_out_channels": [128, 256, 512, 512],
    "layers_per_down_block": 2,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "up_block_out_channels": [192, 384, 768, 768],
    "layers_per_up_block": 3,
    "sample_size": 512,
}
_EASY_ANIMATE: Config = {"in_channels": 16, "out_channels": 16, "patch_size": 2, "add_norm_text_encoder": True}

PUBLISHED: dict[str, Published] = {
    "unet_mask": _alone("Stable Diffusion 1.5", SD_UNET, {**_unet(768), "encoder_attention_mask": (2, 77)}),
    "unet_simple_cross": _alone(
        "DeepFloyd IF XL, 64 px",
        {
            "in_channels": 3,
            "out_channels": 6,
            "block_out_channels": [704, 1408, 2112, 2816],
            "layers_per_block": 3,
            "cross_attention_dim": 2816,
            "attention_head_dim": 64,
            "encoder_hid_dim": 4096,
            "encoder_hid_dim_type": "text_proj",
            "addition_embed_type": "text",
            "addition_embed_type_num_heads": 64,
            "resnet_time_scale_shift": "scale_shift",
            "act_fn": "gelu",
            "down_block_types": ["ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3],
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "up_block_types": [*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"],
            "sample_size": 64,
        },
        _unet(4096, channels=3),
    ),
    "unet_dual_cross": _alone(
        "Stable Diffusion x4 upscaler, without its noise level",
        {
            "in_channels": 7,
            "block_out_channels": [256, 512, 512, 1024],
            "cross_attention_dim": 1024,
            "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 3],
            "up_block_types": [*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"],
            "only_cross_attention": [True, True, True, False],
            "use_linear_projection": True,
            "sample_size": 128,
        },
        _unet(1024, 128, 7),
    ),
    "unet_upcast": _alone("Stable Diffusion 2.1", SD_2_UNET, _unet(1024, 96)),
    "unet2d": _alone(
        "DDPM CelebA-HQ, 256 px",
        {
            "sample_size": 256,
            "block_out_channels": [128, 128, 256, 256, 512, 512],
            "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
            "attention_head_dim": None,
        },
        {"sample": (2, 3, 256, 256)},
    ),
    "unet1d": _alone(
        "Dance Diffusion, seven of its levels",
        {
            "extra_in_channels": 16,
            "block_out_channels": [128, 128, 256, 256, 512, 512, 512],
            "down_block_types": ["DownBlock1DNoSkip", *["DownBlock1D"] * 4, *["AttnDownBlock1D"] * 2],
            "up_block_types": [*["AttnUpBlock1D"] * 2, *["UpBlock1D"] * 4, "UpBlock1DNoSkip"],
        },
        {"sample": (2, 2, 65536)},
    ),
    "stable_cascade_prior": _alone(
        "Stable Cascade, prior",
        {
            "down_num_layers_per_block": [2, 2],
            "up_num_layers_per_block": [2, 2],
            "clip_image_in_channels": 768,
            "clip_text_in_channels": 1280,
            "clip_text_pooled_in_channels": 1280,
        },
        {
            "sample": (2, 16, 24, 24),
            "clip_text_pooled": (2, 1, 1280),
            "clip_text": (2, 77, 1280),
            "clip_img": (2, 1, 768),
        },
    ),
    "uvit": _alone(
        "aMUSEd, 512 px",
        {"num_hidden_layers": 2},
        {"input_ids": (2, 32, 32), "encoder_hidden_states": (2, 77, 768), "pooled_text_emb": (2, 768)},
    ),
    "pixart_sigma_conditions": _alone(
        "PixArt-α XL/2, 1024 px",
        {"caption_channels": 4096, "use_additional_conditions": True},
        {
            "hidden_states": (2, 4, 128, 128),
            "encoder_hidden_states": (2, 120, 4096),
            "encoder_attention_mask": (2, 120),
        },
    ),
    "bria": _alone(
        "Bria 3, as its class has it",
        {},
        {
            "hidden_states": (1, 4096, 64),
            "encoder_hidden_states": (1, 128, 4096),
            "img_ids": (4096, 3),
            "txt_ids": (128, 3),
        },
    ),
    "hidream": _alone(
        "HiDream-I1",
        {
            "patch_size": 2,
            "in_channels": 16,
            "caption_channels": [4096, 4096],
            "axes_dims_rope": [64, 32, 32],
            "llama_layers": [0, 1],
            "force_inference_output": True,
        },
        {
            "hidden_states": (1, 16, 128, 128),
            "encoder_hidden_states_t5": (1, 128, 4096),
            "encoder_hidden_states_llama3": (2, 1, 128, 4096),
            "pooled_embeds": (1, 2048),
        },
    ),
    "omnigen": _alone(
        "OmniGen 1",
        {"rope_scaling": {"long_factor": [1.0] * 48, "short_factor": [1.0] * 48}},
        {
            "hidden_states": (2, 4, 128, 128),
            "input_ids": (2, 77),
            "attention_mask": (2, 4174, 4174),
            "position_ids": (2, 4174),
        },
    ),
    "unet3d": _alone(
        "ModelScope, text to video",
        {"sample_size": 32},
        {"sample": (2, 4, 16, 32, 32), "encoder_hidden_states": (2, 77, 1024)},
    ),
    "transformer_temporal": _alone(
        "ModelScope, text to video: one of its blocks",
        {"num_attention_heads": 5, "attention_head_dim": 64, "in_channels": 320, "num_layers": 2},
        {"hidden_states": (32, 320, 32, 32)},
        {"return_dict": False, "num_frames": 16},
    ),
    "consisid": _alone(
        "ConsisID, without a face",
        {"num_attention_heads": 48, "in_channels": 32, "use_rotary_positional_embeddings": True},
        {
            "hidden_states": (1, 13, 32, 60, 90),
            "encoder_hidden_states": (1, 226, 4096),
            "rotary_cos": (17550, 64),
            "rotary_sin": (17550, 64),
        },
    ),
    "cosmos": _alone(
        "Cosmos 1.0 7B, of a text",
        {},
        {
            "hidden_states": (1, 16, 16, 88, 160),
            "encoder_hidden_states": (1, 512, 1024),
            "padding_mask": (1, 1, 704, 1280),
        },
    ),
    "easyanimate": _alone(
        "EasyAnimate 5.1 12B",
        _EASY_ANIMATE,
        {"hidden_states": (1, 16, 13, 64, 64), "encoder_hidden_states": (1, 256, 3584)},
    ),
    "hunyuan_video_framepack": _alone(
        "FramePack (HunyuanVideo)",
        {"has_image_proj": True, "has_clean_x_embedder": True},
        {
            "hidden_states": (1, 16, 9, 80, 80),
            "encoder_hidden_states": (1, 256, 4096),
            "encoder_attention_mask": (1, 256),
            "pooled_projections": (1, 768),
            "image_embeds": (1, 729, 1152),
            "indices_latents": (9,),
        },
    ),
    "kandinsky5": _alone(
        "Kandinsky 5 Lite",
        {"in_visual_dim": 16, "out_visual_dim": 16, "model_dim": 1792, "ff_dim": 7168},
        {
            "hidden_states": (1, 31, 64, 96, 16),
            "encoder_hidden_states": (1, 512, 3584),
            "pooled_projections": (1, 768),
            "frames": (31,),
            "rows": (32,),
            "columns": (48,),
            "text_rope_pos": (512,),
        },
    ),
    "skyreels_v2": _alone(
        "SkyReels 2 1.3B, of a text",
        {"num_attention_heads": 12, "ffn_dim": 8960},
        {"hidden_states": (1, 16, 25, 68, 120), "encoder_hidden_states": (1, 512, 4096)},
    ),
    "wan_vace": _alone(
        "Wan 2.1 VACE 1.3B",
        {"num_attention_heads": 12, "ffn_dim": 8960, "vace_layers": [0]},
        {
            "hidden_states": (1, 16, 21, 60, 104),
            "encoder_hidden_states": (1, 512, 4096),
            "control_hidden_states": (1, 96, 21, 60, 104),
        },
    ),
    "cogvideox_1_5": _alone(
        "CogVideoX 1.5 5B, of a picture",
        {
            "num_attention_heads": 48,
            "in_channels": 32,
            "ofs_embed_dim": 512,
            "patch_size_t": 2,
            "patch_bias": False,
            "sample_width": 170,
            "sample_height": 96,
            "sample_frames": 81,
            "use_rotary_positional_embeddings": True,
        },
        {
            "hidden_states": (1, 22, 32, 96, 170),
            "encoder_hidden_states": (1, 226, 4096),
            "rotary_cos": (44880, 64),
            "rotary_sin": (44880, 64),
        },
    ),
    "controlnet_xs": _alone(
        "ControlNet-XS for Stable Diffusion 2.1",
        {"num_attention_heads": [5, 10, 20, 20]},
        {**_unet(1024, 96), "controlnet_cond": (2, 3, 768, 768)},
    ),
    "controlnet_sana": _alone(
        "Sana 1.6B, 1024 px",
        {},
        {
            "hidden_states": (2, 32, 32, 32),
            "encoder_hidden_states": (2, 300, 2304),
            "controlnet_cond": (2, 32, 32, 32),
            "encoder_attention_mask": (2, 300),
        },
    ),
    "unet_controlled": _alone(
        "Stable Diffusion 1.5, its first level",
        {
            **SD_UNET,
            "block_out_channels": [320],
            "down_block_types": ["CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D"],
            "layers_per_block": 1,  # as many as there are inputs for
        },
        {**_unet(768), "down_0": (2, 320, 64, 64), "down_1": (2, 320, 64, 64), "mid": (2, 320, 64, 64)},
    ),
    "vae_asymmetric_decode": _alone("Asymmetric autoencoder x1.5", _ASYMMETRIC, {"latents": (1, 4, 64, 64)}),
    "vae_asymmetric_encode": _alone("Asymmetric autoencoder x1.5", _ASYMMETRIC, {"image": (1, 3, 512, 512)}),
    "vae_cosmos_decode": _alone("Cosmos 1.0, autoencoder, short film", {}, {"latents": (1, 16, 2, 8, 12)}),
    "vae_cosmos_encode": _alone("Cosmos 1.0, autoencoder, short film", {}, {"image": (1, 3, 9, 64, 96)}),
    "vae_magvit_decode": _alone("EasyAnimate 5.1, autoencoder, short film", {}, {"latents": (1, 16, 2, 8, 12)}),
    "vae_consistency_decode": _alone("Consistency decoder", {}, {"latents": (1, 4, 64, 64)}),
    "clip_text_mask": _alone("CLIP ViT-L/14", {**CLIP_L, "eos_token_id": 2}, _text(77, "attention_mask")),
    "siglip_vision": _vision("SigLIP so400m", 1152, 16, 14, 384, intermediate_size=4304),
    "vit": _vision("ViT-B/16", 768, 12, 16, 224),
    "dinov2": _alone(
        "DINOv2 large",
        {"hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 16, "image_size": 518, "patch_size": 14},
        {"pixel_values": (2, 3, 518, 518)},
    ),
    "swin": _alone(
        "Swin-B",
        {"embed_dim": 128, "depths": [2, 2, 2, 2], "num_heads": [4, 8, 16, 32], "window_size": 7},
        {"pixel_values": (2, 3, 224, 224)},
    ),
    "roberta": _alone("RoBERTa base", _bert(), _text(512, "attention_mask")),
    "xlm_roberta": _alone(
        "XLM-RoBERTa large",
        _bert(hidden_size=1024, intermediate_size=4096, num_attention_heads=16),
        _text(512, "attention_mask"),
    ),
    "gpt2": _alone("GPT-2", _GPT_2, _text(512)),
    "gpt2_mask": _alone("GPT-2", _GPT_2, _text(512, "attention_mask")),
    "llama": _alone("Llama 3 8B", LLAMA_3, _text(512, "attention_mask")),
    "llama_nomask": _alone("Llama 3 8B", LLAMA_3, _text(512)),
    "llama_4dmask": _alone("Llama 3 8B", LLAMA_3, _text(512, _MASK_4D)),
    "qwen2": _alone("Qwen2.5 7B", _QWEN_2_5, _text(512, "attention_mask")),
    "qwen2_4dmask": _alone("Qwen2.5 7B", _QWEN_2_5, _text(512, _MASK_4D)),
    "qwen3_4dmask": _alone("Qwen3 8B", _QWEN_3, _text(512, _MASK_4D)),
    "mistral": _alone("Mistral 7B", _MISTRAL, _text(512, "attention_mask")),
    "mistral_4dmask": _alone("Mistral 7B", _MISTRAL, _text(512, _MASK_4D)),
    "gemma": _alone("Gemma 2B", _GEMMA, _text(512, "attention_mask")),
    "gemma_4dmask": _alone("Gemma 2B", _GEMMA, _text(512, _MASK_4D)),
}
