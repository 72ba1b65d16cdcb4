"""What is said of a published model, and configurations that several pipelines have. Imports no MindSpore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attnfuse.tracing.contract import ShapeOptions

Config = dict[str, Any]

ALONE = ""
"""The part of a model that is alone."""


@dataclass(frozen=True, slots=True)
class Published:
    """The widths of one published model, for a group of the matrix.

    `configs` are by part. `shapes` are those of every part, the pipeline's own defaults if not said; `vae` those of
    the autoencoder instead, where a whole film would be traced frame by frame. Of a model alone `inputs` are the shapes
    it is called with, and `fixed` what of its constant arguments is another.
    """

    model: str
    configs: Mapping[str, Config]
    shapes: ShapeOptions = field(default_factory=ShapeOptions)
    vae: ShapeOptions | None = None
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)


def t5(width: int, heads: int, inner: int, head_dim: int = 64, **changes: Any) -> Config:
    """An encoder of T5."""
    return {
        "vocab_size": 32128,
        "d_model": width,
        "d_kv": head_dim,
        "d_ff": inner,
        "num_layers": 2,
        "num_heads": heads,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": False,
        "use_cache": False,
        **changes,
    }


def clip(width: int, heads: int, projection: int, **changes: Any) -> Config:
    """A text encoder of CLIP."""
    return {
        "vocab_size": 49408,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "max_position_embeddings": 77,
        "projection_dim": projection,
        "hidden_act": "quick_gelu",
        **changes,
    }


def decoder(width: int, heads: int, keys: int, inner: int, **changes: Any) -> Config:
    """A language model of Llama's build; `keys` is the number of heads of key and value.

    Its words are few: they take gigabytes, and nothing else depends on how many there are.
    """
    return {
        "vocab_size": 1024,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "max_position_embeddings": 8192,
        **changes,
    }


def autoencoder(latents: int = 4, side: int = 512, **changes: Any) -> Config:
    """An AutoencoderKL of Stable Diffusion's build; `side` is the picture's, in pixels."""
    return {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": latents,
        "sample_size": side,
        **changes,
    }


CLIP_L = clip(768, 12, 768)
CLIP_G = clip(1280, 20, 1280, hidden_act="gelu")
CLIP_H = clip(1024, 16, 1024, hidden_act="gelu")
T5_XXL = t5(4096, 64, 10240)
UMT5_XXL = t5(4096, 64, 10240, vocab_size=256384)
LLAMA_3 = decoder(4096, 32, 8, 14336, rms_norm_eps=1e-5, rope_theta=500000.0)
GEMMA_2 = decoder(
    2304,
    8,
    4,
    9216,
    head_dim=256,
    query_pre_attn_scalar=256,
    attn_logit_softcapping=50.0,
    sliding_window=4096,
)
SD_UNET: Config = {"cross_attention_dim": 768, "sample_size": 64}
SD_2_UNET: Config = {
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "sample_size": 96,
    "upcast_attention": True,
    "use_linear_projection": True,
}
SDXL_UNET: Config = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
    "transformer_layers_per_block": [1, 2, 2],  # of 10
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}
