"""Encoders of text and pictures, alone: what prompts and pictures of conditions go through before a diffusion model."""

from __future__ import annotations

from collections.abc import Mapping

from tools.matrix.alone.record import Alone, Config, Tensor

_NO_DICT = {"return_dict": False}
_POOLED = ("last_hidden_state", "pooler_output")
_NO_CACHE = {"return_dict": False, "use_cache": False}
_IDS = {"input_ids": Tensor((2, 12), "int64")}
_MASKED = {**_IDS, "attention_mask": Tensor((2, 12), "int64")}
_MASKED_4D = {**_IDS, "attention_mask": Tensor((2, 1, 12, 12))}


def _decoder_only(kind: str, class_name: str, **changes: object) -> Config:
    """A decoder of Llama's build, with fewer heads of keys than of queries."""
    return {
        "architectures": [class_name],
        "model_type": kind,
        "vocab_size": 64,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 16,
        "pad_token_id": 0,
        **changes,
    }


def _bert(kind: str, class_name: str, **changes: object) -> Config:
    return {
        "architectures": [class_name],
        "model_type": kind,
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 16,
        **changes,
    }


def _vision(kind: str, class_name: str, **changes: object) -> Alone:
    """An encoder of pictures of 24 × 24 pixels in patches of 4."""
    config = {
        "architectures": [class_name],
        "model_type": kind,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 24,
        "patch_size": 4,
        "num_channels": 3,
        **changes,
    }
    return Alone(config, {"pixel_values": Tensor((2, 3, 24, 24))}, fixed=_NO_DICT, outputs=_POOLED)


_CLIP: Config = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "projection_dim": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
    "eos_token_id": 2,
}
_T5: Config = {
    "vocab_size": 64,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 3,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "is_encoder_decoder": False,
    "use_cache": False,
}
_LLAMA = _decoder_only("llama", "LlamaModel")
_QWEN2 = _decoder_only("qwen2", "Qwen2Model")
_QWEN3 = _decoder_only("qwen3", "Qwen3Model", head_dim=8)
_MISTRAL = _decoder_only("mistral", "MistralModel", sliding_window=None)
_GEMMA = _decoder_only("gemma", "GemmaModel", head_dim=8)
_GPT2: Config = {
    "architectures": ["GPT2Model"],
    "model_type": "gpt2",
    "vocab_size": 64,
    "n_positions": 16,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
}

ALONE: Mapping[str, Alone] = {
    "clip_text_mask": Alone(_CLIP, _MASKED, fixed=_NO_DICT, outputs=_POOLED),
    "siglip_vision": _vision("siglip_vision_model", "SiglipVisionModel"),
    "vit": _vision("vit", "ViTModel"),
    "dinov2": _vision("dinov2", "Dinov2Model", mlp_ratio=2),
    "swin": Alone(
        {
            "architectures": ["SwinModel"],
            "model_type": "swin",
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [2, 4],
            "window_size": 4,
        },
        {"pixel_values": Tensor((2, 3, 32, 32))},
        fixed=_NO_DICT,
    ),
    "roberta": Alone(
        _bert("roberta", "RobertaModel", max_position_embeddings=18, pad_token_id=1),
        _MASKED,
        fixed=_NO_DICT,
        outputs=_POOLED,
    ),
    "xlm_roberta": Alone(
        _bert("xlm-roberta", "XLMRobertaModel", max_position_embeddings=18, pad_token_id=1),
        _MASKED,
        fixed=_NO_DICT,
        outputs=_POOLED,
    ),
    "gpt2": Alone(_GPT2, _IDS, fixed=_NO_CACHE),
    "gpt2_mask": Alone(_GPT2, _MASKED, fixed=_NO_CACHE),
    "llama": Alone(_LLAMA, _MASKED, fixed=_NO_CACHE),
    "llama_nomask": Alone(_LLAMA, _IDS, fixed=_NO_CACHE),
    "llama_4dmask": Alone(_LLAMA, _MASKED_4D, fixed=_NO_CACHE),
    "qwen2": Alone(_QWEN2, _MASKED, fixed=_NO_CACHE, cause="mindone takes a keyword argument out of its dictionary"),
    "qwen2_4dmask": Alone(_QWEN2, _MASKED_4D, fixed=_NO_CACHE),
    "qwen3_4dmask": Alone(_QWEN3, _MASKED_4D, fixed=_NO_CACHE),
    "mistral": Alone(_MISTRAL, _MASKED, fixed=_NO_CACHE),
    "mistral_4dmask": Alone(_MISTRAL, _MASKED_4D, fixed=_NO_CACHE),
    "gemma": Alone(_GEMMA, _MASKED, fixed=_NO_CACHE),
    "gemma_4dmask": Alone(_GEMMA, _MASKED_4D, fixed=_NO_CACHE),
}
