"""Published widths of models that make videos."""

from __future__ import annotations

from attnfuse.tracing.contract import ShapeOptions
from tools.matrix.published.record import (
    CLIP_L,
    LLAMA_3,
    T5_XXL,
    UMT5_XXL,
    Config,
    Published,
    autoencoder,
    t5,
)

_FILM = ShapeOptions(height=64, width=96, frames=5)
_VISION_H: Config = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 3,  # the pipeline takes the state before the last
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}
_WAN_IMAGE: Config = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
_COGVIDEOX_5B: Config = {"num_attention_heads": 48, "use_rotary_positional_embeddings": True}
_MOTION: Config = {"cross_attention_dim": 768, "sample_size": 64}
_COSMOS_2: Config = {"num_attention_heads": 16, "rope_scale": [1.0, 4.0, 4.0], "extra_pos_embed_type": None}

PUBLISHED: dict[str, Published] = {
    "cogvideox": Published("CogVideoX 2B", {"transformer": {}, "vae": {}}, vae=_FILM),
    "cogvideox_rotary": Published("CogVideoX 5B", {"transformer": _COGVIDEOX_5B}),
    "cogvideox_image": Published(
        "CogVideoX 1.5 5B, of a picture",
        {
            "transformer": {
                **_COGVIDEOX_5B,
                "in_channels": 32,
                "ofs_embed_dim": 512,
                "patch_size_t": 2,
                "sample_width": 170,
                "sample_height": 96,
                "sample_frames": 81,
                "patch_bias": False,
            }
        },
    ),
    "allegro": Published("Allegro", {"transformer": {}, "vae": {}}),
    "ltx": Published(
        "LTX-Video 2B",
        {"transformer": {}, "vae": {}, "text_encoder": T5_XXL},
        vae=ShapeOptions(height=64, width=96, frames=9),
    ),
    "wan": Published(
        "Wan 2.2 A14B",
        {"transformer": {}, "transformer_2": {}, "text_encoder": UMT5_XXL, "vae": {}},
        vae=_FILM,
    ),
    "wan_image": Published("Wan 2.1 14B, of a picture", {"transformer": _WAN_IMAGE}),
    "hunyuan_video": Published(
        "HunyuanVideo",
        {"transformer": {}, "vae": {}, "text_encoder": {**LLAMA_3, "num_hidden_layers": 4}, "text_encoder_2": CLIP_L},
        vae=_FILM,
    ),
    "mochi": Published(
        "Mochi 1",
        {"transformer": {}, "text_encoder": T5_XXL, "vae": {}},
        vae=ShapeOptions(height=64, width=96, frames=7),
    ),
    "latte": Published(
        "Latte 1",
        {
            "transformer": {
                "attention_head_dim": 72,
                "in_channels": 4,
                "out_channels": 8,
                "cross_attention_dim": 1152,
                "attention_bias": True,
                "patch_size": 2,
                "activation_fn": "gelu-approximate",
                "num_embeds_ada_norm": 1000,
                "norm_type": "ada_norm_single",
                "norm_elementwise_affine": False,
                "norm_eps": 1e-6,
                "caption_channels": 4096,
                "num_layers": 2,
            },
            "text_encoder": T5_XXL,
        },
    ),
    "animate_diff": Published("AnimateDiff 1.5", {"unet": _MOTION, "text_encoder": CLIP_L}),
    "animate_diff_controlnet": Published("AnimateDiff 1.5", {"controlnet": {"cross_attention_dim": 768}}),
    "animate_diff_sparse": Published(
        "AnimateDiff 1.5, SparseCtrl", {"unet": {**_MOTION, "use_motion_mid_block": False}, "controlnet": {}}
    ),
    "stable_video": Published(
        "Stable Video Diffusion XT",
        {
            "unet": {"sample_size": 96},
            "vae": {
                "block_out_channels": [128, 256, 512, 512],
                "down_block_types": ["DownEncoderBlock2D"] * 4,
                "layers_per_block": 2,
                "sample_size": 768,
            },
        },
        vae=ShapeOptions(height=576, width=1024),
    ),
    "i2vgen": Published("I2VGen-XL", {"unet": {"sample_size": 32}, "vae": autoencoder()}),
    "cosmos": Published(
        "Cosmos 1.0 7B, of a text",
        {
            "transformer": {},
            "vae": {},
            "text_encoder": t5(1024, 128, 65536, 128, feed_forward_proj="relu"),
        },
        vae=ShapeOptions(height=64, width=96, frames=9),
    ),
    "cosmos_video": Published("Cosmos 1.0 7B, of a video", {"transformer": {"in_channels": 17}}),
    "cosmos2": Published("Cosmos Predict 2 2B, of a text", {"transformer": _COSMOS_2}),
    "cosmos2_video": Published("Cosmos Predict 2 2B, of a video", {"transformer": {**_COSMOS_2, "in_channels": 17}}),
    "sky_reels_2": Published(
        "SkyReels 2 14B, of a picture",
        {
            "transformer": {**_WAN_IMAGE, "num_attention_heads": 40, "ffn_dim": 13824},
            "image_encoder": _VISION_H,
            "vae": {},
        },
        ShapeOptions(height=544, width=960),
        vae=_FILM,
    ),
    "wan_vace": Published(
        "Wan 2.1 VACE 14B", {"transformer": {"num_layers": 3, "vace_layers": [0, 2], "vace_in_channels": 96}}
    ),
    "kandinsky5": Published(
        "Kandinsky 5 Lite",
        {
            "transformer": {
                "in_visual_dim": 16,
                "out_visual_dim": 16,
                "model_dim": 1792,
                "ff_dim": 7168,
                "visual_cond": True,
            },
            "text_encoder_2": CLIP_L,
        },
    ),
    "consis_id": Published(
        "ConsisID",
        {"transformer": {**_COGVIDEOX_5B, "in_channels": 32, "is_train_face": True}},
    ),
    "easy_animate": Published(
        "EasyAnimate 5.1 12B",
        {
            "transformer": {
                "in_channels": 16,
                "out_channels": 16,
                "patch_size": 2,
                "add_norm_text_encoder": True,
            },
            "vae": {},
        },
        vae=_FILM,
    ),
    "stable_video_image": Published(
        "Stable Video Diffusion XT", {"image_encoder": {**_VISION_H, "num_hidden_layers": 2}}
    ),
    "wan_image_encoder": Published("Wan 2.1 14B, of a picture", {"image_encoder": _VISION_H}),
}
