"""Small pipelines that make pictures, with the structure of the real ones."""

from __future__ import annotations

from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, XL_TEXT_ENCODER, XL_TEXT_ENCODER_2, XL_UNET
from tests.support.small_models.record import T5, UMT5, Config, Small, small_vae

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

CONTROLNET_UNION: Config = {
    **XL_CONTROLNET,
    "_class_name": "ControlNetUnionModel",
    "num_control_type": 3,
    "num_proj_channel": 32,
    "num_trans_channel": 32,
    "num_trans_head": 2,
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

HUNYUAN_DIT_CONTROLNET: Config = {
    **{key: value for key, value in HUNYUAN_DIT.items() if key != "num_layers"},
    "_class_name": "HunyuanDiT2DControlNetModel",
    "transformer_num_layers": 6,
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

SANA_CONTROLNET: Config = {**SANA, "_class_name": "SanaControlNetModel"}

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

SD3_CONTROLNET: Config = {
    **SD3,
    "_class_name": "SD3ControlNetModel",
    "num_layers": 1,
}

FLUX_CONTROLNET: Config = {
    **FLUX,
    "_class_name": "FluxControlNetModel",
    "num_mode": 5,
    "guidance_embeds": False,
}

FLUX_2: Config = {
    "_class_name": "Flux2Transformer2DModel",
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 3,
    "joint_attention_dim": 24,
    "timestep_guidance_channels": 32,
    "axes_dims_rope": [4, 4, 4, 4],
}

CHROMA: Config = {
    "_class_name": "ChromaTransformer2DModel",
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 3,
    "joint_attention_dim": 24,
    "axes_dims_rope": [4, 4, 8],
    "approximator_num_channels": 8,
    "approximator_hidden_dim": 20,
    "approximator_layers": 1,
}

LUMINA_2: Config = {
    "_class_name": "Lumina2Transformer2DModel",
    "sample_size": 16,
    "in_channels": 4,
    "hidden_size": 48,
    "num_layers": 2,
    "num_refiner_layers": 1,
    "num_attention_heads": 6,
    "num_kv_heads": 2,
    "multiple_of": 16,
    "axes_dim_rope": [4, 2, 2],
    "axes_lens": [64, 64, 64],
    "cap_feat_dim": 24,
}

QWEN_IMAGE: Config = {
    "_class_name": "QwenImageTransformer2DModel",
    "in_channels": 16,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 3,
    "joint_attention_dim": 24,
    "axes_dims_rope": [4, 6, 6],
    "guidance_embeds": False,
}

QWEN_IMAGE_CONTROLNET: Config = {
    **{key: value for key, value in QWEN_IMAGE.items() if key != "guidance_embeds"},
    "_class_name": "QwenImageControlNetModel",
    "num_layers": 1,
    "extra_condition_channels": 4,
}

QWEN_IMAGE_VAE: Config = {
    "_class_name": "AutoencoderKLQwenImage",
    "base_dim": 8,
    "z_dim": 4,
    "dim_mult": [1, 2, 2, 3],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "latents_mean": [0.0] * 4,
    "latents_std": [1.0] * 4,
}

LUMINA: Config = {
    "_class_name": "LuminaNextDiT2DModel",
    "sample_size": 16,
    "in_channels": 4,
    "hidden_size": 48,
    "num_layers": 2,
    "num_attention_heads": 6,
    "num_kv_heads": 2,
    "multiple_of": 16,
    "cross_attention_dim": 20,
}

KOLORS_UNET: Config = {
    **XL_UNET,
    "encoder_hid_dim": 24,
    "encoder_hid_dim_type": "text_proj",
    "projection_class_embeddings_input_dim": 24 + 6 * 8,
}

KANDINSKY_UNET: Config = {
    "_class_name": "UNet2DConditionModel",
    "in_channels": 4,
    "out_channels": 8,
    "addition_embed_type": "text_image",
    "attention_head_dim": 8,
    "block_out_channels": [32, 64],
    "class_embed_type": None,
    "cross_attention_dim": 40,
    "down_block_types": ["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
    "encoder_hid_dim": 24,
    "encoder_hid_dim_type": "text_image_proj",
    "layers_per_block": 1,
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "norm_num_groups": 8,
    "resnet_time_scale_shift": "scale_shift",
    "sample_size": 8,
    "up_block_types": ["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
}

KANDINSKY_2_2_UNET: Config = {
    **KANDINSKY_UNET,
    "addition_embed_type": "image",
    "encoder_hid_dim_type": "image_proj",
}

MOVQ: Config = {
    "_class_name": "VQModel",
    "in_channels": 3,
    "block_out_channels": [32, 64],
    "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 32,
    "norm_type": "spatial",
    "num_vq_embeddings": 12,
    "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
    "vq_embed_dim": 4,
}

KANDINSKY_3_UNET: Config = {
    "_class_name": "Kandinsky3UNet",
    "in_channels": 4,
    "time_embedding_dim": 16,
    "groups": 4,
    "attention_head_dim": 8,
    "layers_per_block": 2,
    "block_out_channels": [8, 16, 32, 64],
    "cross_attention_dim": 24,
    "encoder_hid_dim": 20,
}

TINY_VAE: Config = {
    "_class_name": "AutoencoderTiny",
    "in_channels": 3,
    "block_out_channels": [8, 8],
    "latent_channels": 4,
    "encoder_block_out_channels": [8, 8],
    "decoder_block_out_channels": [8, 8],
    "num_encoder_blocks": [1, 1],
    "num_decoder_blocks": [1, 1],
}

SMALL: dict[str, Small] = {
    "sd3": Small(
        "StableDiffusion3Pipeline",
        {
            "transformer": SD3,
            "vae": small_vae(use_quant_conv=False, use_post_quant_conv=False),
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
    "sdxl_controlnet_union": Small(
        "StableDiffusionXLControlNetUnionPipeline",
        {"controlnet": CONTROLNET_UNION, "vae": SMALL_VAE, "text_encoder_2": XL_TEXT_ENCODER_2},
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
        {"transformer": PIXART, "vae": small_vae(), "text_encoder": T5},
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
        "DiTPipeline", {"transformer": DIT, "vae": small_vae()}, "DDIMScheduler", ShapeOptions(height=16, width=16)
    ),
    "hunyuan_dit": Small(
        "HunyuanDiTPipeline",
        {"transformer": HUNYUAN_DIT, "text_encoder": BERT, "text_encoder_2": T5},
        "DDPMScheduler",
        ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "hunyuan_dit_controlnet": Small(
        "HunyuanDiTControlNetPipeline",
        {"transformer": {**HUNYUAN_DIT, "num_layers": 6}, "controlnet": HUNYUAN_DIT_CONTROLNET},
        "DDPMScheduler",
        ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "aura_flow": Small(
        "AuraFlowPipeline",
        {"transformer": AURA_FLOW, "vae": small_vae(), "text_encoder": UMT5},
        shapes=ShapeOptions(height=24, width=32, sequence_length=11),
    ),
    "sana": Small(
        "SanaPipeline",
        {"transformer": SANA, "vae": DC_VAE},
        "DPMSolverMultistepScheduler",
        ShapeOptions(height=16, width=24, sequence_length=7),
    ),
    "sana_controlnet": Small(
        "SanaControlNetPipeline",
        {"transformer": {**SANA, "num_layers": 2}, "controlnet": SANA_CONTROLNET},
        "DPMSolverMultistepScheduler",
        ShapeOptions(height=256, width=384, sequence_length=7),
    ),
    "sana_sprint": Small(
        "SanaSprintPipeline",
        {"transformer": {**SANA, "guidance_embeds": True}},
        "SCMScheduler",
        ShapeOptions(height=256, width=384, sequence_length=7),
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
    "sd3_controlnet": Small(
        "StableDiffusion3ControlNetPipeline",
        {"transformer": SD3, "controlnet": SD3_CONTROLNET},
        shapes=ShapeOptions(height=128, width=96),
    ),
    "flux_controlnet": Small(
        "FluxControlNetPipeline",
        {"transformer": FLUX, "controlnet": FLUX_CONTROLNET},
        shapes=ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "flux_controlnet_pixels": Small(
        "FluxControlNetPipeline",
        {
            "transformer": FLUX,
            "controlnet": {**FLUX_CONTROLNET, "num_mode": None, "conditioning_embedding_channels": 4, "patch_size": 2},
        },
        shapes=ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "flux2": Small(
        "Flux2Pipeline",
        {
            "transformer": FLUX_2,
            "vae": {**small_vae(norm_num_groups=8), "_class_name": "AutoencoderKLFlux2"},
        },
        shapes=ShapeOptions(height=16, width=24, sequence_length=11),
    ),
    "chroma": Small(
        "ChromaPipeline", {"transformer": CHROMA}, shapes=ShapeOptions(height=64, width=96, sequence_length=11)
    ),
    "qwen_image": Small(
        "QwenImagePipeline",
        {"transformer": QWEN_IMAGE, "vae": QWEN_IMAGE_VAE},
        shapes=ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "qwen_image_controlnet": Small(
        "QwenImageControlNetInpaintPipeline",
        {"transformer": QWEN_IMAGE, "controlnet": QWEN_IMAGE_CONTROLNET},
        shapes=ShapeOptions(height=64, width=96, sequence_length=11),
    ),
    "lumina": Small(
        "LuminaPipeline", {"transformer": LUMINA}, shapes=ShapeOptions(height=64, width=96, sequence_length=11)
    ),
    "lumina2": Small(
        "Lumina2Pipeline", {"transformer": LUMINA_2}, shapes=ShapeOptions(height=64, width=96, sequence_length=11)
    ),
    "kolors": Small(
        "KolorsPipeline",
        {"unet": KOLORS_UNET, "vae": SMALL_VAE},
        "EulerDiscreteScheduler",
        ShapeOptions(height=20, width=24, sequence_length=11),
    ),
    "kandinsky": Small(
        "KandinskyPipeline",
        {"unet": KANDINSKY_UNET, "movq": MOVQ},
        "DDIMScheduler",
        ShapeOptions(height=16, width=24, sequence_length=11),
    ),
    "kandinsky22": Small(
        "KandinskyV22Pipeline",
        {"unet": KANDINSKY_2_2_UNET, "movq": MOVQ},
        "DDPMScheduler",
        ShapeOptions(height=16, width=24),
    ),
    "kandinsky22_hint": Small(
        "KandinskyV22ControlnetPipeline",
        {"unet": {**KANDINSKY_2_2_UNET, "addition_embed_type": "image_hint", "in_channels": 8}},
        "DDPMScheduler",
        ShapeOptions(height=64, width=64),
    ),
    "kandinsky3": Small(
        "Kandinsky3Pipeline",
        {"unet": KANDINSKY_3_UNET},
        "DDPMScheduler",
        ShapeOptions(height=64, width=128, sequence_length=11),
    ),
    "sd_tiny": Small("StableDiffusionPipeline", {"vae": TINY_VAE}, "DDIMScheduler", ShapeOptions(height=32, width=48)),
}
"""By a name of their own."""
