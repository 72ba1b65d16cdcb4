"""Small text and image encoders, priors, and the models of sound, with the structure of the real ones."""

from __future__ import annotations

from attnfuse.tracing.contract import ShapeOptions
from tests.support.small_models.record import T5, Config, Small, small_vae

CLIP_VISION: Config = {
    "architectures": ["CLIPVisionModelWithProjection"],
    "model_type": "clip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 20,
    "patch_size": 5,
    "projection_dim": 16,
    "hidden_act": "gelu",
}

CLIP_TEXT: Config = {
    "architectures": ["CLIPTextModelWithProjection"],
    "model_type": "clip_text_model",
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 7,
    "projection_dim": 16,
    "hidden_act": "gelu",
}

PRIOR: Config = {
    "_class_name": "PriorTransformer",
    "num_attention_heads": 3,
    "attention_head_dim": 8,
    "num_layers": 2,
    "embedding_dim": 16,
    "num_embeddings": 7,
    "additional_embeddings": 4,
}

GLM: Config = {
    "architectures": ["GlmModel"],
    "model_type": "glm",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "attention_bias": True,
    "max_position_embeddings": 128,
    "pad_token_id": 3,
}

GEMMA: Config = {
    "architectures": ["GemmaModel"],
    "model_type": "gemma",
    "vocab_size": 64,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 128,
}

GEMMA_2: Config = {
    "architectures": ["Gemma2Model"],
    "model_type": "gemma2",
    "vocab_size": 64,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "query_pre_attn_scalar": 16,
    "attn_logit_softcapping": 50.0,
    "sliding_window": 4,  # shorter than the text
}

QWEN_2_5_VL: Config = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [1, 1, 2]},
    "vision_config": {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [0],
    },
    "image_token_id": 60,
    "video_token_id": 61,
    "vision_start_token_id": 62,
    "vision_end_token_id": 63,
}

QWEN_2_5_VL_SEEING: Config = {
    **QWEN_2_5_VL,
    "max_position_embeddings": 512,
    "vision_config": {**QWEN_2_5_VL["vision_config"], "depth": 2, "fullatt_block_indexes": [1]},
}

MISTRAL_3: Config = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "model_type": "mistral3",
    "text_config": {
        "model_type": "mistral",
        "vocab_size": 64,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 31,  # the pipeline takes the states before the layers 10, 20 and 30
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "sliding_window": None,
    },
    "vision_config": {
        "model_type": "pixtral",
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
    "image_token_index": 10,
}

MULTILINGUAL_CLIP: Config = {
    "architectures": ["MultilingualCLIP"],
    "model_type": "M-CLIP",
    "vocab_size": 64,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 20,
    "pad_token_id": 1,
    "type_vocab_size": 1,
    "transformerDimensions": 24,
    "numDims": 16,
}

CHAT_GLM: Config = {
    "architectures": ["ChatGLMModel"],
    "model_type": "chatglm",
    "num_layers": 3,
    "padded_vocab_size": 64,
    "hidden_size": 32,
    "ffn_hidden_size": 40,
    "kv_channels": 8,
    "num_attention_heads": 4,
    "seq_length": 32,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "add_qkv_bias": True,
    "original_rope": True,
    "use_cache": True,
}

STABLE_AUDIO: Config = {
    "_class_name": "StableAudioDiTModel",
    "sample_size": 12,
    "in_channels": 6,
    "out_channels": 6,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "num_key_value_attention_heads": 2,
    "cross_attention_dim": 16,
    "cross_attention_input_dim": 20,
    "global_states_input_dim": 40,
    "time_proj_dim": 16,
}

STABLE_AUDIO_PROJECTION: Config = {
    "_class_name": "StableAudioProjectionModel",
    "text_encoder_dim": 20,
    "conditioning_dim": 20,
    "min_value": 0,
    "max_value": 512,
}

OOBLECK: Config = {
    "_class_name": "AutoencoderOobleck",
    "encoder_hidden_size": 8,
    "downsampling_ratios": [2, 4],
    "channel_multiples": [1, 2],
    "decoder_channels": 10,
    "decoder_input_channels": 6,
    "audio_channels": 2,
}

AUDIO_LDM_2_UNET: Config = {
    "_class_name": "AudioLDM2UNet2DConditionModel",
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": 2,
    "cross_attention_dim": [[None, 24, 20], [None, 24, 20]],
}

AUDIO_LDM_2_PROJECTION: Config = {
    "_class_name": "AudioLDM2ProjectionModel",
    "text_encoder_dim": 16,
    "text_encoder_1_dim": 20,
    "langauge_model_dim": 24,
}

GPT_2: Config = {
    "architectures": ["GPT2Model"],
    "model_type": "gpt2",
    "vocab_size": 64,
    "n_positions": 32,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "max_new_tokens": 4,
}

CLAP: Config = {
    "architectures": ["ClapModel"],
    "model_type": "clap",
    "projection_dim": 16,
    "text_config": {
        "model_type": "clap_text_model",
        "vocab_size": 64,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 514,
        "projection_dim": 16,
    },
    "audio_config": {
        "model_type": "clap_audio_model",
        "spec_size": 32,
        "num_mel_bins": 8,
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "window_size": 2,
        "num_hidden_layers": 2,
        "projection_dim": 16,
    },
}

SMALL: dict[str, Small] = {
    "audio_ldm_2": Small(
        "AudioLDM2Pipeline",
        {
            "unet": AUDIO_LDM_2_UNET,
            "vae": small_vae(),
            "text_encoder": CLAP,
            "text_encoder_2": {**T5, "d_model": 20},
            "projection_model": AUDIO_LDM_2_PROJECTION,
            "language_model": GPT_2,
        },
        "DDIMScheduler",
        ShapeOptions(batch=2, sequence_length=9),
    ),
    "stable_video_image": Small(
        "StableVideoDiffusionPipeline", {"image_encoder": CLIP_VISION}, shapes=ShapeOptions(batch=2)
    ),
    "wan_image_encoder": Small(
        "WanImageToVideoPipeline",
        {"image_encoder": {**CLIP_VISION, "architectures": ["CLIPVisionModel"], "num_hidden_layers": 3}},
        "UniPCMultistepScheduler",
    ),
    "kandinsky_prior": Small(
        "KandinskyPriorPipeline",
        {"prior": PRIOR, "image_encoder": CLIP_VISION, "text_encoder": CLIP_TEXT},
        "UnCLIPScheduler",
        ShapeOptions(batch=1),
    ),
    "cogview4_glm": Small("CogView4Pipeline", {"text_encoder": GLM}, shapes=ShapeOptions(batch=2, sequence_length=16)),
    "sana_gemma2": Small("SanaPipeline", {"text_encoder": GEMMA_2}, shapes=ShapeOptions(batch=2, sequence_length=9)),
    "lumina_gemma": Small("LuminaPipeline", {"text_encoder": GEMMA}, shapes=ShapeOptions(batch=2, sequence_length=9)),
    "flux2_mistral": Small(
        "Flux2Pipeline", {"text_encoder": MISTRAL_3}, shapes=ShapeOptions(batch=2, sequence_length=9)
    ),
    "kandinsky_text": Small(
        "KandinskyPipeline", {"text_encoder": MULTILINGUAL_CLIP}, shapes=ShapeOptions(batch=2, sequence_length=9)
    ),
    "kolors_glm": Small("KolorsPipeline", {"text_encoder": CHAT_GLM}, shapes=ShapeOptions(batch=2, sequence_length=9)),
    "lumina2_gemma2": Small(
        "Lumina2Pipeline", {"text_encoder": GEMMA_2}, shapes=ShapeOptions(batch=2, sequence_length=9)
    ),
    "qwen_image_qwen": Small(
        "QwenImagePipeline", {"text_encoder": QWEN_2_5_VL}, shapes=ShapeOptions(batch=2, sequence_length=5)
    ),
    "qwen_image_edit": Small(
        "QwenImageEditPlusPipeline",
        {"text_encoder": QWEN_2_5_VL_SEEING},
        shapes=ShapeOptions(height=64, width=96, sequence_length=5),
    ),
    "stable_audio": Small(
        "StableAudioPipeline",
        {
            "transformer": STABLE_AUDIO,
            "projection_model": STABLE_AUDIO_PROJECTION,
            "vae": OOBLECK,
            "text_encoder": {**T5, "d_model": 20},
        },
        "CosineDPMSolverMultistepScheduler",
        ShapeOptions(sequence_length=9),
    ),
}
