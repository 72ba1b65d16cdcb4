"""Published widths of models that make pictures."""

from __future__ import annotations

from attnfuse.tracing.contract import ShapeOptions
from tools.matrix.published.record import (
    CLIP_G,
    CLIP_L,
    SD_2_UNET,
    SD_UNET,
    SDXL_UNET,
    T5_XXL,
    Config,
    Published,
    autoencoder,
    t5,
)

_NO_QUANT = {"use_quant_conv": False, "use_post_quant_conv": False}
_SD3: Config = {"num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 192}
_FLUX: Config = {"guidance_embeds": True}
_SD_2_CONTROLNET: Config = {key: SD_2_UNET[key] for key in ("attention_head_dim", "cross_attention_dim")}
_SDXL_CONTROLNET: Config = {
    key: value for key, value in SDXL_UNET.items() if key not in ("sample_size", "up_block_types")
}
_PIXART: Config = {"caption_channels": 4096, "sample_size": 64}
_HUNYUAN_DIT: Config = {"in_channels": 4, "patch_size": 2, "sample_size": 128, "hidden_size": 1408}
_MT5_XL = t5(2048, 32, 5120, vocab_size=250112)
_COGVIEW_4: Config = {"num_attention_heads": 32, "attention_head_dim": 128, "rope_axes_dim": [256, 256]}
_KANDINSKY: Config = {
    "out_channels": 8,
    "attention_head_dim": 64,
    "block_out_channels": [384, 768, 1152, 1536],
    "cross_attention_dim": 768,
    "down_block_types": ["ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3],
    "layers_per_block": 3,
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "resnet_time_scale_shift": "scale_shift",
    "sample_size": 64,
    "up_block_types": [*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"],
}
_KANDINSKY_2_2: Config = {
    **_KANDINSKY,
    "addition_embed_type": "image",
    "encoder_hid_dim": 1280,
    "encoder_hid_dim_type": "image_proj",
}
_MOVQ: Config = {
    "block_out_channels": [128, 256, 256, 512],
    "down_block_types": [*["DownEncoderBlock2D"] * 3, "AttnDownEncoderBlock2D"],
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_type": "spatial",
    "num_vq_embeddings": 16384,
    "up_block_types": ["AttnUpDecoderBlock2D", *["UpDecoderBlock2D"] * 3],
    "vq_embed_dim": 4,
}

PUBLISHED: dict[str, Published] = {
    "sd3": Published(
        "Stable Diffusion 3 medium",
        {
            "transformer": _SD3,
            "vae": autoencoder(16, 1024, **_NO_QUANT),
            "text_encoder": CLIP_L,
            "text_encoder_2": CLIP_G,
            "text_encoder_3": T5_XXL,
        },
    ),
    "sd35": Published(
        "Stable Diffusion 3.5 medium",
        {
            # Of both kinds of block, with a second attention and without.
            "transformer": {
                **_SD3,
                "pos_embed_max_size": 384,
                "qk_norm": "rms_norm",
                "num_layers": 4,
                "dual_attention_layers": [0, 1],
            }
        },
    ),
    "flux": Published("Flux.1 dev", {"transformer": _FLUX, "text_encoder": CLIP_L, "text_encoder_2": T5_XXL}),
    "sd_controlnet": Published(
        "Stable Diffusion 2.1",
        {
            "unet": SD_2_UNET,
            "controlnet": {**_SD_2_CONTROLNET, "upcast_attention": True, "use_linear_projection": True},
            "vae": autoencoder(side=768),
        },
    ),
    "sdxl_controlnet": Published(
        "Stable Diffusion XL",
        {
            "unet": SDXL_UNET,
            "controlnet": _SDXL_CONTROLNET,
            "vae": autoencoder(side=1024, force_upcast=True),
            "text_encoder_2": CLIP_G,
        },
    ),
    "sdxl_controlnet_union": Published(
        "ControlNet Union SDXL",
        {
            "controlnet": _SDXL_CONTROLNET,
            "vae": autoencoder(side=1024, force_upcast=True),
            "text_encoder_2": CLIP_G,
        },
    ),
    "sd_adapter": Published("Stable Diffusion 1.5", {"unet": SD_UNET, "adapter": {}, "vae": autoencoder()}),
    "pixart_alpha": Published(
        "PixArt-α XL/2, 512 px", {"transformer": _PIXART, "vae": autoencoder(), "text_encoder": T5_XXL}
    ),
    "pixart_alpha_1024": Published("PixArt-α XL/2, 1024 px", {"transformer": {**_PIXART, "sample_size": 128}}),
    "dit": Published(
        "DiT-XL/2, 512 px",
        {
            "transformer": {
                "attention_head_dim": 72,
                "in_channels": 4,
                "out_channels": 8,
                "sample_size": 64,
                "num_embeds_ada_norm": 1000,
            },
            "vae": autoencoder(),
        },
    ),
    "hunyuan_dit": Published(
        "HunyuanDiT 1.1",
        {
            "transformer": {**_HUNYUAN_DIT, "num_layers": 4},  # the second half takes in what the first gave
            "text_encoder": {
                "vocab_size": 47020,
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 2,
                "num_attention_heads": 16,
                "max_position_embeddings": 77,  # of 512: its tokenizer fills texts up to that
            },
            "text_encoder_2": _MT5_XL,
        },
    ),
    "hunyuan_dit_controlnet": Published(
        "HunyuanDiT 1.1",
        {
            "transformer": {**_HUNYUAN_DIT, "num_layers": 6},
            "controlnet": {**_HUNYUAN_DIT, "transformer_num_layers": 6},
        },
    ),
    "aura_flow": Published(
        "AuraFlow 0.3",
        {"transformer": {"pos_embed_max_size": 9216}, "vae": autoencoder(side=1024), "text_encoder": _MT5_XL},
    ),
    "sana": Published(
        "Sana 1.6B, 1024 px",
        {
            "transformer": {},
            "vae": {
                "encoder_block_types": [*["ResBlock"] * 3, *["EfficientViTBlock"] * 3],
                "decoder_block_types": [*["ResBlock"] * 3, *["EfficientViTBlock"] * 3],
                "upsample_block_type": "interpolate",
                "downsample_block_type": "Conv",
            },
        },
    ),
    "sana_controlnet": Published("Sana 1.6B, 1024 px", {"transformer": {}, "controlnet": {}}),
    "cogview3": Published("CogView3-Plus 3B", {"transformer": {}, "text_encoder": T5_XXL}),
    "cogview4": Published("CogView4 6B", {"transformer": _COGVIEW_4}, ShapeOptions(sequence_length=224)),
    "sd3_controlnet": Published("Stable Diffusion 3 medium", {"transformer": _SD3, "controlnet": _SD3}),
    "flux_controlnet": Published(
        "Flux.1 dev, ControlNet Union", {"transformer": _FLUX, "controlnet": {**_FLUX, "num_mode": 10}}
    ),
    "flux_controlnet_pixels": Published(
        "Flux.1 dev, XLabs' ControlNet",
        {
            "transformer": _FLUX,
            "controlnet": {**_FLUX, "conditioning_embedding_channels": 16, "patch_size": 2},
        },
    ),
    "flux2": Published("Flux.2 dev", {"transformer": {}, "vae": {}}),
    "chroma": Published("Chroma 1", {"transformer": {}}),
    "qwen_image": Published("Qwen-Image", {"transformer": {}, "vae": {}}),
    "qwen_image_controlnet": Published(
        "Qwen-Image, inpainting ControlNet", {"transformer": {}, "controlnet": {"extra_condition_channels": 4}}
    ),
    "lumina": Published("Lumina-Next", {"transformer": {"num_kv_heads": 8}}),
    "lumina2": Published("Lumina-Image 2.0", {"transformer": {"axes_lens": [300, 512, 512], "cap_feat_dim": 2304}}),
    "kolors": Published(
        "Kolors",
        {
            "unet": {
                **SDXL_UNET,
                "encoder_hid_dim": 4096,
                "encoder_hid_dim_type": "text_proj",
                "projection_class_embeddings_input_dim": 5632,
            },
            "vae": autoencoder(side=1024, force_upcast=True),
        },
    ),
    "kandinsky": Published(
        "Kandinsky 2.1",
        {
            "unet": {
                **_KANDINSKY,
                "addition_embed_type": "text_image",
                "encoder_hid_dim": 1024,
                "encoder_hid_dim_type": "text_image_proj",
            },
            "movq": _MOVQ,
        },
    ),
    "kandinsky22": Published("Kandinsky 2.2", {"unet": _KANDINSKY_2_2, "movq": _MOVQ}),
    "kandinsky22_hint": Published(
        "Kandinsky 2.2, ControlNet depth",
        {"unet": {**_KANDINSKY_2_2, "addition_embed_type": "image_hint", "in_channels": 8}},
    ),
    "kandinsky3": Published("Kandinsky 3", {"unet": {}}),
    "sd_tiny": Published(
        "TAESD", {"vae": {"block_out_channels": [64, 64, 64, 64]}}, ShapeOptions(height=512, width=512)
    ),
}
