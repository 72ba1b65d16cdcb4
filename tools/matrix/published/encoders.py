"""Published widths of text and image encoders, priors, and the models of sound."""

from __future__ import annotations

from attnfuse.tracing.contract import ShapeOptions
from tools.matrix.published.record import CLIP_L, GEMMA_2, LLAMA_3, Config, Published, autoencoder, decoder, t5

_QWEN_2_5_VL: Config = decoder(
    3584,
    28,
    4,
    18944,
    rope_scaling={"type": "default", "rope_type": "default", "mrope_section": [16, 24, 24]},
    vision_config={"depth": 2, "hidden_size": 1280, "num_heads": 16, "out_hidden_size": 3584},
)

PUBLISHED: dict[str, Published] = {
    "audio_ldm_2": Published(
        "AudioLDM 2",
        {
            "unet": {
                "in_channels": 8,
                "out_channels": 8,
                "block_out_channels": [128, 256, 384, 640],
                "cross_attention_dim": [[None, 768, 1024]] * 4,
                "sample_size": 256,
            },
            "vae": autoencoder(
                8,
                1024,
                in_channels=1,
                out_channels=1,
                block_out_channels=[128, 256, 512],
                down_block_types=["DownEncoderBlock2D"] * 3,
                up_block_types=["UpDecoderBlock2D"] * 3,
            ),
            "text_encoder": {
                "projection_dim": 512,
                "text_config": {"model_type": "clap_text_model", "num_hidden_layers": 2, "projection_dim": 512},
                "audio_config": {"model_type": "clap_audio_model", "projection_dim": 512},
            },
            "text_encoder_2": t5(1024, 16, 2816),
            "projection_model": {"text_encoder_dim": 512, "text_encoder_1_dim": 1024, "langauge_model_dim": 768},
            "language_model": {"n_embd": 768, "n_head": 12, "n_layer": 2, "max_new_tokens": 8},
        },
        ShapeOptions(sequence_length=512),
    ),
    "kandinsky_prior": Published(
        "Kandinsky 2.1, prior",
        {
            "prior": {},
            "image_encoder": {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 2,
                "num_attention_heads": 16,
                "image_size": 224,
                "patch_size": 14,
                "projection_dim": 768,
            },
            "text_encoder": CLIP_L,
        },
    ),
    "cogview4_glm": Published(
        "GLM-4 9B (CogView4)",
        {"text_encoder": decoder(4096, 32, 2, 13696, head_dim=128, attention_bias=True, pad_token_id=3)},
        ShapeOptions(sequence_length=224),
    ),
    "sana_gemma2": Published("Gemma 2 2B (Sana)", {"text_encoder": GEMMA_2}),
    "lumina_gemma": Published("Gemma 2B (Lumina-Next)", {"text_encoder": decoder(2048, 8, 1, 16384, head_dim=256)}),
    "flux2_mistral": Published(
        "Mistral Small 3 24B (Flux.2)",
        {
            "text_encoder": {
                "text_config": decoder(
                    5120,
                    32,
                    8,
                    32768,
                    model_type="mistral",
                    head_dim=128,
                    num_hidden_layers=31,  # of 40; the pipeline takes the states before the layers 10, 20 and 30
                    sliding_window=None,
                ),
                "vision_config": {"model_type": "pixtral", "num_hidden_layers": 2},
                "image_token_index": 10,
            }
        },
    ),
    "kandinsky_text": Published(
        "XLM-RoBERTa large (Kandinsky 2.1)",
        {
            "text_encoder": {
                "vocab_size": 1024,
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 2,
                "num_attention_heads": 16,
                "max_position_embeddings": 514,
                "pad_token_id": 1,
                "type_vocab_size": 1,
                "transformerDimensions": 1024,
                "numDims": 768,
            }
        },
    ),
    "kolors_glm": Published(
        "ChatGLM3 6B (Kolors)",
        {
            "text_encoder": {
                "num_layers": 2,
                "padded_vocab_size": 1024,
                "hidden_size": 4096,
                "ffn_hidden_size": 13696,
                "kv_channels": 128,
                "num_attention_heads": 32,
                "seq_length": 32768,
                "multi_query_attention": True,
                "multi_query_group_num": 2,
                "add_qkv_bias": True,
                "original_rope": True,
                "use_cache": True,
            }
        },
    ),
    "lumina2_gemma2": Published("Gemma 2 2B (Lumina-Image 2.0)", {"text_encoder": GEMMA_2}),
    "qwen_image_qwen": Published("Qwen2.5-VL 7B (Qwen-Image)", {"text_encoder": _QWEN_2_5_VL}),
    "qwen_image_edit": Published(
        "Qwen2.5-VL 7B (Qwen-Image-Edit 2509)",
        {
            "text_encoder": {
                **_QWEN_2_5_VL,
                # Of both kinds of block, with attention in windows and over the whole picture.
                "vision_config": {**_QWEN_2_5_VL["vision_config"], "fullatt_block_indexes": [1]},
                "image_token_id": 1020,
                "video_token_id": 1021,
                "vision_start_token_id": 1022,
                "vision_end_token_id": 1023,
            }
        },
    ),
    "hunyuan_video_picture": Published(
        "Llava Llama 3 8B (HunyuanVideo, of a picture)",
        {
            "text_encoder": {
                "text_config": {**LLAMA_3, "model_type": "llama", "num_hidden_layers": 4},
                "vision_config": {
                    "model_type": "clip_vision_model",
                    "hidden_size": 1024,
                    "intermediate_size": 4096,
                    "num_hidden_layers": 3,  # the state before the last is taken
                    "num_attention_heads": 16,
                    "image_size": 336,
                    "patch_size": 14,
                    "projection_dim": 768,
                },
                "image_token_index": 1020,
                "pad_token_id": 1021,
            }
        },
    ),
    "stable_audio": Published(
        "Stable Audio Open 1.0",
        {
            "transformer": {},
            "projection_model": {
                "text_encoder_dim": 768,
                "conditioning_dim": 768,
                "min_value": 0,
                "max_value": 512,
            },
            "vae": {},
            "text_encoder": t5(768, 12, 3072, feed_forward_proj="relu"),
        },
        ShapeOptions(sequence_length=128),
    ),
}
