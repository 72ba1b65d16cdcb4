"""Models of published configurations, for measuring: no part of the corpus.

Where a model repeats one block, the graphs below hold fewer of it: ratios of what two graphs of it cost hardly change
with the number, the time to trace them does. `tools.bench.real_models` tells how many, of how many. Worker side:
imports mindone and transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as configs
from mindone import diffusers, transformers

from tools.corpus.models import (
    FLOAT,
    HALF,
    SD3,
    Call,
    Case,
    Conditioned,
    DecoderMasked,
    DiT,
    HunyuanDiT,
    Input,
    PixArtMasked,
    Tokens,
    UNetXL,
    VaeDecode,
)
from tools.make_checkpoint import CONFIGS

_BOTH = ("float16", "bfloat16")


class _FluxGuided(Call):
    def construct(self, hidden_states, encoder_hidden_states, pooled, timestep, img_ids, txt_ids, guidance):  # type: ignore[no-untyped-def]
        return self.model(
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            pooled_projections=pooled,
            timestep=timestep,
            img_ids=img_ids,
            txt_ids=txt_ids,
            guidance=guidance,
        )[0]


def _unet(model: str) -> Callable[[], Any]:
    return lambda: diffusers.UNet2DConditionModel.from_config(CONFIGS[model])


def _vae() -> Any:
    """The autoencoder of Stable Diffusion 1 and 2, 512 pixels a side."""
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )


def _sd3() -> Any:
    """Stable Diffusion 3 medium."""
    return diffusers.SD3Transformer2DModel.from_config({**CONFIGS["sd3"], "num_layers": 6})


def _flux() -> Any:
    """Flux dev."""
    return diffusers.FluxTransformer2DModel.from_config({**CONFIGS["flux"], "num_layers": 3, "num_single_layers": 6})


def _pixart() -> Any:
    """PixArt-Sigma XL/2, 1024 pixels a side."""
    return diffusers.PixArtTransformer2DModel(
        num_attention_heads=16,
        attention_head_dim=72,
        in_channels=4,
        out_channels=8,
        num_layers=7,
        cross_attention_dim=1152,
        caption_channels=4096,
        sample_size=128,
        interpolation_scale=2,
        use_additional_conditions=False,
    )


def _wan() -> Any:
    """Wan 2.1, 1.3B, text to video."""
    return diffusers.WanTransformer3DModel(
        num_attention_heads=12,
        attention_head_dim=128,
        in_channels=16,
        out_channels=16,
        text_dim=4096,
        freq_dim=256,
        ffn_dim=8960,
        num_layers=5,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=1024,
    )


def _hunyuandit() -> Any:
    """HunyuanDiT 1.1, 1024 pixels a side; the second half of its blocks takes in the first's results."""
    return diffusers.HunyuanDiT2DModel(
        num_attention_heads=16,
        attention_head_dim=88,
        in_channels=4,
        patch_size=2,
        activation_fn="gelu-approximate",
        sample_size=128,
        hidden_size=1408,
        num_layers=8,
        mlp_ratio=4.3637,
        learn_sigma=True,
        cross_attention_dim=1024,
        cross_attention_dim_t5=2048,
        pooled_projection_dim=1024,
        text_len=77,
        text_len_t5=256,
    )


def _dit() -> Any:
    """DiT-XL/2, 512 pixels a side."""
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=16,
        attention_head_dim=72,
        in_channels=4,
        out_channels=8,
        num_layers=7,
        sample_size=64,
        num_embeds_ada_norm=1000,
    )


def _clip_l() -> Any:
    """CLIP ViT-L/14, the text encoder of Stable Diffusion 1."""
    config = configs.CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
    )
    return transformers.CLIPTextModel(config)


def _clip_g() -> Any:
    """OpenCLIP ViT-bigG/14, the second text encoder of Stable Diffusion XL."""
    config = configs.CLIPTextConfig(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=8,
        num_attention_heads=20,
        hidden_act="gelu",
        projection_dim=1280,
    )
    return transformers.CLIPTextModelWithProjection(config)


def _t5() -> Any:
    """The encoder of T5 1.1 XXL."""
    config = configs.T5Config(
        vocab_size=32128,
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=4,
        num_heads=64,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
    )
    return transformers.T5EncoderModel(config)


def _llama() -> Any:
    """LLaMA 3 of 8 G parameters, the text encoder of HunyuanVideo: 32 heads, 8 of key and value."""
    config = configs.LlamaConfig(
        vocab_size=128320,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=4,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        attn_implementation="eager",
        pad_token_id=128258,
    )
    return transformers.LlamaModel(config)


def _text(length: int, masked: bool = False) -> tuple[Input, ...]:
    mask: tuple[Input, ...] = (("attention_mask", (1, length), "int64"),) if masked else ()
    return (("input_ids", (1, length), "int64"), *mask)


REAL_SIZE: dict[str, Case] = {
    "real_unet_sd15": Case(
        "A",
        _unet("sd15"),
        Conditioned,
        (
            ("sample", (2, 4, 64, 64), FLOAT),
            ("timestep", (1,), "int64"),
            ("encoder_hidden_states", (2, 77, 768), FLOAT),
        ),
        HALF,
    ),
    "real_unet_sdxl": Case(
        "A",
        _unet("sdxl"),
        UNetXL,
        (
            ("sample", (2, 4, 128, 128), FLOAT),
            ("timestep", (1,), "int64"),
            ("encoder_hidden_states", (2, 77, 2048), FLOAT),
            ("text_embeds", (2, 1280), FLOAT),
            ("time_ids", (2, 6), FLOAT),
        ),
        HALF,
    ),
    "real_vae_decode": Case("D", _vae, VaeDecode, (("latents", (1, 4, 64, 64), FLOAT),), _BOTH),
    "real_sd3": Case(
        "E",
        _sd3,
        SD3,
        (
            ("hidden_states", (2, 16, 128, 128), FLOAT),
            ("encoder_hidden_states", (2, 333, 4096), FLOAT),
            ("pooled_projections", (2, 2048), FLOAT),
            ("timestep", (2,), "int64"),
        ),
        _BOTH,
    ),
    "real_flux": Case(
        "N",
        _flux,
        _FluxGuided,
        (
            ("hidden_states", (1, 4096, 64), FLOAT),
            ("encoder_hidden_states", (1, 512, 4096), FLOAT),
            ("pooled_projections", (1, 768), FLOAT),
            ("timestep", (1,), FLOAT),
            ("img_ids", (4096, 3), FLOAT),
            ("txt_ids", (512, 3), FLOAT),
            ("guidance", (1,), FLOAT),
        ),
        _BOTH,
    ),
    "real_pixart": Case(
        "B",
        _pixart,
        PixArtMasked,
        (
            ("hidden_states", (2, 4, 128, 128), FLOAT),
            ("timestep", (2,), "int64"),
            ("encoder_hidden_states", (2, 300, 4096), FLOAT),
            ("encoder_attention_mask", (2, 300), FLOAT),
        ),
        _BOTH,
    ),
    "real_wan": Case(
        "N",
        _wan,
        Conditioned,
        (
            ("hidden_states", (1, 16, 21, 60, 104), FLOAT),
            ("timestep", (1,), "int64"),
            ("encoder_hidden_states", (1, 512, 4096), FLOAT),
        ),
        _BOTH,
    ),
    "real_hunyuandit": Case(
        "F",
        _hunyuandit,
        HunyuanDiT,
        (
            ("hidden_states", (2, 4, 128, 128), FLOAT),
            ("timestep", (2,), FLOAT),
            ("encoder_hidden_states", (2, 77, 1024), FLOAT),
            ("text_embedding_mask", (2, 77), FLOAT),
            ("encoder_hidden_states_t5", (2, 256, 2048), FLOAT),
            ("text_embedding_mask_t5", (2, 256), FLOAT),
            ("image_meta_size", (2, 6), FLOAT),
            ("style", (2,), "int64"),
            ("rotary_cos", (4096, 88), "float32"),
            ("rotary_sin", (4096, 88), "float32"),
        ),
        HALF,
    ),
    "real_dit": Case(
        "A",
        _dit,
        DiT,
        (("hidden_states", (2, 4, 64, 64), FLOAT), ("timestep", (2,), "int64"), ("class_labels", (2,), "int64")),
        HALF,
    ),
    "real_clip_l": Case("H", _clip_l, Tokens, _text(77), HALF),
    "real_clip_g": Case("H", _clip_g, Tokens, _text(77), HALF),
    "real_t5": Case("I", _t5, Tokens, _text(512), _BOTH),
    "real_llama": Case("K", _llama, DecoderMasked, _text(351, masked=True), _BOTH),
}
"""By the name that `tools.corpus.worker` takes."""
