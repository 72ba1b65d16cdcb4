"""The pipelines of videos and of sound that are recorded, by class and what is peculiar to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attnfuse.tracing.contract import ShapeOptions
from tests.support.checkpoints import SMALL_VAE, XL_TEXT_ENCODER
from tests.support.recorder.record import (
    CAST,
    FLOW,
    PICTURE,
    PICTURES,
    SINGLE_VAE,
    TAKEN_APART,
    WIDE,
    WRITTEN,
    Embedding,
    Recording,
    varied,
)
from tests.support.small_models import encoders, newer_videos, videos
from tests.support.small_models.record import T5, UMT5, small_vae

_FIVE: Final = ShapeOptions(height=64, width=96, frames=5)
_COGVIDEOX: Final = Recording(
    {
        "transformer": {**videos.COGVIDEOX, "max_text_seq_length": 226},
        "vae": videos.COGVIDEOX_VAE,
        "text_encoder": T5,
    },
    "CogVideoXDDIMScheduler",
    ShapeOptions(height=64, width=64, frames=5),
)
_WAN: Final = Recording(
    {"transformer": videos.WAN, "vae": videos.WAN_VAE, "text_encoder": UMT5}, "UniPCMultistepScheduler", _FIVE
)
_LINES: Final = "x" * (271 - 2)
"""A word whose token is that of two ends of lines in Llama's vocabulary."""

_TEMPLATE: Final = {
    "template": f"a a a a <image> {_LINES} {_LINES} {_LINES} {{}}",
    "crop_start": 103,
    "image_emb_start": 5,
    "image_emb_end": 581,
    "image_emb_len": 576,
    "double_return_token_id": 271,
}
_LTX: Final = Recording(
    {"transformer": videos.LTX, "vae": videos.LTX_VAE, "text_encoder": T5},
    FLOW,
    ShapeOptions(height=64, width=96, frames=9),
)
_FORCING: Final = varied(
    _WAN,
    {
        "transformer": {
            **videos.WAN,
            "_class_name": "SkyReelsV2Transformer3DModel",
            "inject_sample_info": True,
        }
    },
)
_SEEN: Final = {**encoders.CLIP_VISION, "num_hidden_layers": 3}
_COSMOS: Final = Recording(
    {"transformer": newer_videos.COSMOS, "vae": newer_videos.COSMOS_VAE, "text_encoder": T5},
    "EDMEulerScheduler",
    ShapeOptions(height=64, width=96, frames=9),
    tokens={"tokenizer": 512},
)
_ANIMATE_DIFF: Final = Recording(
    {"unet": videos.MOTION_UNET, "vae": SMALL_VAE, "text_encoder": XL_TEXT_ENCODER},
    "DDIMScheduler",
    ShapeOptions(height=64, width=96, frames=3),
)


RECORDINGS: Final[Mapping[str, Recording]] = {
    "CogVideoXPipeline": _COGVIDEOX,
    "CogVideoXImageToVideoPipeline": varied(
        _COGVIDEOX,
        {
            "transformer": {
                **videos.COGVIDEOX,
                "max_text_seq_length": 226,
                "in_channels": 8,
                "use_rotary_positional_embeddings": True,
                "use_learned_positional_embeddings": False,
            }
        },
        {"image": PICTURE},
    ),
    "CogVideoXVideoToVideoPipeline": varied(_COGVIDEOX, call={"video": PICTURES}),
    "CogVideoXFunControlPipeline": varied(
        _COGVIDEOX,
        {"transformer": {**videos.COGVIDEOX, "max_text_seq_length": 226, "in_channels": 8}},
        {"control_video": PICTURES},
    ),
    "ConsisIDPipeline": varied(
        _COGVIDEOX,
        {"transformer": {**newer_videos.CONSIS_ID, "max_text_seq_length": 226}},
        {
            "image": PICTURE,
            "id_vit_hidden": [Embedding((1, 577, 16)), Embedding((1, 577, 16))],
            "id_cond": Embedding((1, 12)),
        },
    ),
    "AllegroPipeline": Recording(
        {
            "transformer": {**videos.ALLEGRO, "caption_channels": 24},
            "vae": videos.ALLEGRO_VAE,
            "text_encoder": T5,
        },
        "EulerAncestralDiscreteScheduler",
        otherwise={"vae_decoder_tile: z is": "it goes through in tiles, one of which is traced"},
    ),
    "LTXPipeline with noise in its latents": Recording(
        {"transformer": videos.LTX, "vae": {**videos.LTX_VAE, "timestep_conditioning": True}, "text_encoder": T5},
        FLOW,
        ShapeOptions(height=64, width=96, frames=9),
    ),
    "LTXPipeline": _LTX,
    "LTXImageToVideoPipeline": varied(_LTX, call={"image": PICTURE}, words=100),  # it fails where it cuts a text off
    "LTXConditionPipeline": varied(_LTX, call={"image": PICTURE}),
    "LTXLatentUpsamplePipeline": Recording(
        {"vae": videos.LTX_VAE, "latent_upsampler": videos.LTX_UPSAMPLER},
        FLOW,
        ShapeOptions(height=64, width=96, frames=9),
        {"video": PICTURES},
    ),
    "WanPipeline of text and picture": varied(_WAN, options={"expand_timesteps": True}),
    "WanImageToVideoPipeline of text and picture": varied(
        _WAN, call={"image": PICTURE}, options={"expand_timesteps": True}
    ),
    "WanImageToVideoPipeline of first and last frame": varied(
        _WAN,
        {
            "transformer": {
                **videos.WAN,
                "in_channels": 12,
                "image_dim": 24,
                "added_kv_proj_dim": 24,
                "pos_embed_seq_len": 514,
            },
            "image_encoder": {**_SEEN, "architectures": ["CLIPVisionModel"], "image_size": 80},
        },
        {"image": PICTURE, "last_image": PICTURE},
        otherwise={"image_encoder: pixel_values is [2, 3, 80, 80] float32": CAST},
    ),
    "LucyEditPipeline": varied(
        _WAN,
        {"transformer": {**videos.WAN, "in_channels": 8}},
        {"video": PICTURES},
        otherwise={"vae_encoder: x is [1, 3, 5, 64, 96] float32": SINGLE_VAE},
    ),
    "SkyReelsV2DiffusionForcingPipeline": _FORCING,
    "SkyReelsV2DiffusionForcingImageToVideoPipeline": varied(
        _FORCING, call={"image": PICTURE}, otherwise={"vae_decoder: z is [1, 4, 2, 8, 12] float32": SINGLE_VAE}
    ),
    "SkyReelsV2DiffusionForcingVideoToVideoPipeline": varied(
        _FORCING,
        call={"video": PICTURES, "overlap_history": 17},
        otherwise={"vae_encoder: x is [1, 3, 17, 64, 96] float32": SINGLE_VAE},
        shapes=ShapeOptions(height=64, width=96, frames=21),
    ),
    "WanPipeline": varied(_WAN, {"transformer_2": videos.WAN}, options={"boundary_ratio": 0.9}),
    "WanImageToVideoPipeline": varied(
        _WAN,
        {
            "transformer": {**videos.WAN, "in_channels": 12, "image_dim": 24, "added_kv_proj_dim": 24},
            "image_encoder": {**_SEEN, "architectures": ["CLIPVisionModel"], "image_size": 80},
        },
        {"image": PICTURE},
        otherwise={"image_encoder: pixel_values is [1, 3, 80, 80] float32": CAST},
    ),
    "WanVideoToVideoPipeline": varied(
        _WAN,
        call={"video": PICTURES},
        otherwise={"vae_encoder: x is [1, 3, 5, 64, 96] float32": SINGLE_VAE},
    ),
    "WanVACEPipeline": varied(
        _WAN,
        {
            "transformer": {
                **videos.WAN,
                "_class_name": "WanVACETransformer3DModel",
                "num_layers": 3,
                "vace_layers": [0, 2],
                "vace_in_channels": 4 + 4 + 64,
            }
        },
    ),
    "SkyReelsV2Pipeline": varied(_WAN, {"transformer": {**videos.WAN, "_class_name": "SkyReelsV2Transformer3DModel"}}),
    "SkyReelsV2ImageToVideoPipeline": varied(
        _WAN,
        {
            "transformer": {
                **videos.WAN,
                "_class_name": "SkyReelsV2Transformer3DModel",
                "in_channels": 12,
                "image_dim": 24,
                "added_kv_proj_dim": 24,
            },
            "image_encoder": {**_SEEN, "image_size": 80},
        },
        {"image": PICTURE},
        otherwise={"image_encoder: pixel_values is [1, 3, 80, 80] float32": CAST},
    ),
    "HunyuanVideoPipeline": Recording(
        {
            "transformer": videos.HUNYUAN_VIDEO,
            "vae": videos.HUNYUAN_VIDEO_VAE,
            "text_encoder": videos.LLAMA,
            "text_encoder_2": XL_TEXT_ENCODER,
        },
        FLOW,
        _FIVE,
    ),
    "HunyuanSkyreelsImageToVideoPipeline": Recording(
        {
            "transformer": {**videos.HUNYUAN_VIDEO, "in_channels": 8},
            "vae": videos.HUNYUAN_VIDEO_VAE,
            "text_encoder": videos.LLAMA,
            "text_encoder_2": XL_TEXT_ENCODER,
        },
        FLOW,
        _FIVE,
        {"image": PICTURE},
    ),
    "HunyuanVideoImageToVideoPipeline": Recording(
        {
            "transformer": {**videos.HUNYUAN_VIDEO, "in_channels": 9, "image_condition_type": "latent_concat"},
            "vae": videos.HUNYUAN_VIDEO_VAE,
            "text_encoder": {
                "architectures": ["LlavaForConditionalGeneration"],
                "model_type": "llava",
                "text_config": {"model_type": "llama", "hidden_size": 48},
                "image_token_index": len("<image>") + 2,
                "pad_token_id": 1,
            },
            "text_encoder_2": XL_TEXT_ENCODER,
        },
        FLOW,
        _FIVE,
        {"image": PICTURE, "prompt_template": _TEMPLATE},
        otherwise={"transformer: timestep is [1] float16": "after the first, which is float32"},
    ),
    "MochiPipeline": Recording(
        {
            "transformer": {**videos.MOCHI, "max_sequence_length": 256},
            "vae": {**videos.MOCHI_VAE, "latents_mean": [0.0] * 12, "latents_std": [1.0] * 12},
            "text_encoder": T5,
        },
        FLOW,
        ShapeOptions(height=64, width=96, frames=7),
    ),
    "LattePipeline": Recording(
        {"transformer": videos.LATTE, "vae": small_vae(), "text_encoder": T5},
        "DDIMScheduler",
        ShapeOptions(height=64, width=96, frames=3),
    ),
    "AnimateDiffPipeline": _ANIMATE_DIFF,
    "AnimateDiffControlNetPipeline": varied(
        _ANIMATE_DIFF,
        {
            "controlnet": {
                "_class_name": "ControlNetModel",
                "block_out_channels": [16, 32],
                "layers_per_block": 1,
                "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
                "cross_attention_dim": 32,
                "in_channels": 4,
            }
        },
        {"conditioning_frames": PICTURES},
    ),
    "AnimateDiffSparseControlNetPipeline": varied(
        _ANIMATE_DIFF, {"controlnet": videos.SPARSE_CONTROLNET}, {"conditioning_frames": [PICTURE]}
    ),
    "StableVideoDiffusionPipeline": Recording(
        {
            "unet": {**videos.STABLE_VIDEO_UNET, "cross_attention_dim": 16},
            "vae": videos.TEMPORAL_VAE,
            "image_encoder": encoders.CLIP_VISION,
        },
        "EulerDiscreteScheduler",
        WIDE,
        {"image": PICTURE},
    ),
    "I2VGenXLPipeline": Recording(
        {
            "unet": videos.I2VGEN_UNET,
            "vae": small_vae(),
            "text_encoder": {**XL_TEXT_ENCODER, "hidden_size": 24},
            "image_encoder": {**encoders.CLIP_VISION, "projection_dim": 24},
        },
        "DDIMScheduler",
        ShapeOptions(height=64, width=96, frames=3),
        {"image": PICTURE},
    ),
    "CosmosTextToWorldPipeline": _COSMOS,
    "CosmosVideoToWorldPipeline": varied(
        _COSMOS, {"transformer": {**newer_videos.COSMOS, "in_channels": 5}}, {"image": PICTURE}
    ),
    "Cosmos2TextToImagePipeline": varied(
        _COSMOS,
        {"vae": videos.WAN_VAE, "transformer": {**newer_videos.COSMOS, "extra_pos_embed_type": None}},
        scheduler=FLOW,
        shapes=WIDE,
    ),
    "Cosmos2VideoToWorldPipeline": varied(
        _COSMOS,
        {
            "vae": videos.WAN_VAE,
            "transformer": {**newer_videos.COSMOS, "in_channels": 5, "extra_pos_embed_type": None},
        },
        {"image": PICTURE},
        scheduler=FLOW,
        otherwise={
            "transformer: timestep is [1, 1, 3, 1, 1]": "of every frame in turn: see the patch `frame_timesteps`"
        },
    ),
    "Kandinsky5T2VPipeline": Recording(
        {
            "transformer": {**newer_videos.KANDINSKY_5, "in_text_dim": 32, "in_text_dim2": 32},
            "vae": videos.HUNYUAN_VIDEO_VAE,
            "text_encoder": encoders.QWEN_2_5_VL,
            "text_encoder_2": XL_TEXT_ENCODER,
        },
        FLOW,
        _FIVE,
    ),
    "EasyAnimatePipeline": Recording(
        {
            "transformer": {**newer_videos.EASY_ANIMATE, "text_embed_dim": 32},
            "vae": newer_videos.MAGVIT,
            "text_encoder": encoders.QWEN_2_5_VL,
        },
        FLOW,
        _FIVE,
    ),
    "StableAudioPipeline": Recording(
        {
            "transformer": encoders.STABLE_AUDIO,
            "projection_model": encoders.STABLE_AUDIO_PROJECTION,
            "vae": encoders.OOBLECK,
            "text_encoder": {**T5, "d_model": 20},
        },
        "CosineDPMSolverMultistepScheduler",
        tokens={"tokenizer": 128},
        otherwise={
            "projection_model.construct is called": TAKEN_APART,
            "vae.decode is called": TAKEN_APART,
            "projection_model_": TAKEN_APART,
        },
    ),
    "AudioLDM2Pipeline": Recording(
        {
            "unet": encoders.AUDIO_LDM_2_UNET,
            "vae": small_vae(),
            "text_encoder": encoders.CLAP,
            "text_encoder_2": {**T5, "d_model": 20},
            "projection_model": encoders.AUDIO_LDM_2_PROJECTION,
            "language_model": encoders.GPT_2,
        },
        "DDIMScheduler",
        call={"transcription": "word " * 1200},
        otherwise={
            "language_model: inputs_embeds is": WRITTEN,
            "language_model: attention_mask is": WRITTEN,
        },
        tokens={"tokenizer": 512, "tokenizer_2": 512},
    ),
}
