"""Small pipelines of pictures that are made in stages, of pixels or without a text, with the structure of real ones."""

from __future__ import annotations

from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.demo import TEXT_ENCODER
from tests.support.checkpoints import SD21_UNET, XL_TEXT_ENCODER
from tests.support.small_models.encoders import CLIP_TEXT, CLIP_VISION, PRIOR
from tests.support.small_models.pictures import KANDINSKY_2_2_UNET
from tests.support.small_models.record import T5, Config, Small

IF_UNET: Config = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 16,
    "in_channels": 3,
    "out_channels": 6,
    "act_fn": "gelu",
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
    "attention_head_dim": 8,
    "block_out_channels": [32, 64],
    "cross_attention_dim": 64,
    "cross_attention_norm": "group_norm",
    "down_block_types": ["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
    "encoder_hid_dim": 24,
    "encoder_hid_dim_type": "text_proj",
    "layers_per_block": 1,
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "norm_num_groups": 8,
    "resnet_time_scale_shift": "scale_shift",
    "up_block_types": ["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
}

IF_LARGER_UNET: Config = {**IF_UNET, "in_channels": 6, "class_embed_type": "timestep"}

MARIGOLD_UNET: Config = {**SD21_UNET, "in_channels": 8}

_CASCADE: Config = {
    "_class_name": "StableCascadeUNet",
    "timestep_ratio_embedding_dim": 8,
    "conditioning_dim": 32,
    "num_attention_heads": [2, 2],
    "down_num_layers_per_block": [1, 1],
    "up_num_layers_per_block": [1, 1],
    "clip_text_pooled_in_channels": 16,
    "clip_seq": 4,
    "kernel_size": 3,
}

CASCADE_PRIOR: Config = {
    **_CASCADE,
    "in_channels": 6,
    "out_channels": 6,
    "patch_size": 1,
    "block_out_channels": [32, 32],
    "down_blocks_repeat_mappers": [1, 1],
    "up_blocks_repeat_mappers": [1, 1],
    "block_types_per_layer": [["SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"]] * 2,
    "clip_text_in_channels": 16,
    "clip_image_in_channels": 16,
    "timestep_conditioning_type": ["sca", "crp"],
    "switch_level": [False],
}

CASCADE_DECODER: Config = {
    **_CASCADE,
    "in_channels": 4,
    "out_channels": 4,
    "patch_size": 2,
    "block_out_channels": [16, 32],
    "down_blocks_repeat_mappers": [1, 1],
    "up_blocks_repeat_mappers": [2, 2],
    "block_types_per_layer": [
        ["SDCascadeResBlock", "SDCascadeTimestepBlock"],
        ["SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"],
    ],
    "effnet_in_channels": 6,
    "pixel_mapper_in_channels": 3,
    "timestep_conditioning_type": ["sca"],
}

WUERSTCHEN_PRIOR: Config = {
    "_class_name": "WuerstchenPrior",
    "c_in": 6,
    "c": 32,
    "c_cond": 16,
    "c_r": 8,
    "depth": 2,
    "nhead": 2,
}

WUERSTCHEN_DECODER: Config = {
    "_class_name": "WuerstchenDiffNeXt",
    "c_in": 4,
    "c_out": 4,
    "c_r": 8,
    "patch_size": 2,
    "c_cond": 20,
    "c_hidden": [16, 32],
    "nhead": [-1, 2],
    "blocks": [1, 1],
    "level_config": ["CT", "CTA"],
    "inject_effnet": [False, True],
    "effnet_embd": 6,
    "clip_embd": 16,
}

PAELLA: Config = {
    "_class_name": "PaellaVQModel",
    "embed_dim": 16,
    "bottleneck_blocks": 1,
    "num_vq_embeddings": 8,
}

UNET_2D: Config = {
    "_class_name": "UNet2DModel",
    "sample_size": 16,
    "block_out_channels": [32, 64],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": 8,
}

SIGLIP: Config = {
    "architectures": ["SiglipVisionModel"],
    "model_type": "siglip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 20,
    "patch_size": 5,
}

REDUX: Config = {"_class_name": "ReduxImageEncoder", "redux_dim": 24, "txt_in_features": 24}

CLIP_TEXT_STATES: Config = {**CLIP_TEXT, "architectures": ["CLIPTextModel"]}

SMALL: dict[str, Small] = {
    "deepfloyd_if": Small(
        "IFPipeline", {"unet": IF_UNET}, "DDPMScheduler", ShapeOptions(height=16, width=24, sequence_length=7)
    ),
    "deepfloyd_if_larger": Small(
        "IFSuperResolutionPipeline",
        {"unet": IF_LARGER_UNET},
        "DDPMScheduler",
        ShapeOptions(height=16, width=24, sequence_length=7),
    ),
    "marigold": Small(
        "MarigoldDepthPipeline",
        {"unet": MARIGOLD_UNET, "text_encoder": TEXT_ENCODER},
        "DDIMScheduler",
        ShapeOptions(height=64, width=96),
    ),
    "kandinsky22_combined": Small(
        "KandinskyV22CombinedPipeline",
        {
            "unet": KANDINSKY_2_2_UNET,
            "prior_prior": PRIOR,
            "prior_image_encoder": CLIP_VISION,
            "prior_text_encoder": CLIP_TEXT,
        },
        "DDPMScheduler",
        ShapeOptions(height=64, width=64),
    ),
    "stable_cascade_prior": Small(
        "StableCascadePriorPipeline",
        {"prior": CASCADE_PRIOR, "text_encoder": CLIP_TEXT},
        "DDPMWuerstchenScheduler",
        ShapeOptions(height=256, width=384),
    ),
    "stable_cascade": Small(
        "StableCascadeDecoderPipeline",
        {"decoder": CASCADE_DECODER, "vqgan": PAELLA},
        "DDPMWuerstchenScheduler",
        ShapeOptions(height=64, width=96),
    ),
    "wuerstchen_prior": Small(
        "WuerstchenPriorPipeline",
        {"prior": WUERSTCHEN_PRIOR, "text_encoder": CLIP_TEXT_STATES},
        "DDPMWuerstchenScheduler",
        ShapeOptions(height=256, width=384),
    ),
    "wuerstchen": Small(
        "WuerstchenDecoderPipeline",
        {"decoder": WUERSTCHEN_DECODER, "text_encoder": CLIP_TEXT_STATES},
        "DDPMWuerstchenScheduler",
        ShapeOptions(height=64, width=96),
    ),
    "ddpm": Small("DDPMPipeline", {"unet": UNET_2D}, "DDPMScheduler", ShapeOptions(height=16, width=24)),
    "consistency": Small(
        "ConsistencyModelPipeline",
        {"unet": {**UNET_2D, "num_class_embeds": 5}},
        "CMStochasticIterativeScheduler",
        ShapeOptions(height=16, width=24),
    ),
    "flux_redux": Small(
        "FluxPriorReduxPipeline",
        {"image_encoder": SIGLIP, "image_embedder": REDUX, "text_encoder": XL_TEXT_ENCODER, "text_encoder_2": T5},
        shapes=ShapeOptions(sequence_length=11),
    ),
}
"""By a name of their own."""
