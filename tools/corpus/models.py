"""The corpus's cases: models of `builders`, and how each is called.

Every head size, sequence length and head count differs from the others of its model wherever the architecture lets
it, so that a confusion of two axes shows. Worker side: imports mindspore, mindone and transformers.

A `Case` is one model called in one way. The cells below give its call a fixed list of positional inputs, which become
the graph's; MindSpore parses the source of `construct`, so each stays this plain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mindone import diffusers, transformers
from mindspore import nn

from tools.corpus import builders
from tools.make_checkpoint import CONFIGS

FLOAT = "float"
"""Stands for the type a case is traced in."""

ALL = ("float32", "float16", "bfloat16")
HALF = ("float16",)
SINGLE = ("float32",)

Input = tuple[str, tuple[int, ...], str]


@dataclass(frozen=True, slots=True)
class Case:
    """One entry of the corpus: how the model is made, which cell calls it, with what.

    `family` is the letter of the attention's spelling (README.md has the table). `on_ascend` traces what mindone
    would run on an Ascend host, where it places FlashAttentionScore itself.
    """

    family: str
    build: Callable[[], Any]
    cell: type[Any]
    inputs: tuple[Input, ...]
    dtypes: tuple[str, ...]
    on_ascend: bool = False


class _Call(nn.Cell):  # type: ignore[misc]
    """Holds a model under the attribute `model`, whose parameters keep their own names."""

    def __init__(self, model: Any) -> None:
        super().__init__(auto_prefix=False)
        self.model = model
        self.set_train(False)

    def init_parameters_data(self, auto_parallel_mode: bool = False) -> dict[Any, Any]:
        """Called by the compiler to give parameters their initial values; a skeleton has none."""
        return {}


class _First(_Call):
    def construct(self, x):  # type: ignore[no-untyped-def]
        return self.model(x)[0]


class _Conditioned(_Call):
    def construct(self, sample, timestep, encoder_hidden_states):  # type: ignore[no-untyped-def]
        return self.model(sample, timestep, encoder_hidden_states)[0]


class _UNetMasked(_Call):
    def construct(self, sample, timestep, encoder_hidden_states, encoder_attention_mask):  # type: ignore[no-untyped-def]
        return self.model(sample, timestep, encoder_hidden_states, encoder_attention_mask=encoder_attention_mask)[0]


class _UNetXL(_Call):
    def construct(self, sample, timestep, encoder_hidden_states, text_embeds, time_ids):  # type: ignore[no-untyped-def]
        added = {"text_embeds": text_embeds, "time_ids": time_ids}
        return self.model(sample, timestep, encoder_hidden_states, added_cond_kwargs=added)[0]


class _ControlNet(_Call):
    def construct(self, sample, timestep, encoder_hidden_states, cond):  # type: ignore[no-untyped-def]
        down, mid = self.model(sample, timestep, encoder_hidden_states, cond, return_dict=False)
        return down[0], down[1], mid


class _VaeDecode(_Call):
    def construct(self, latents):  # type: ignore[no-untyped-def]
        return self.model.decode(latents, return_dict=False)[0]


class _VaeEncode(_Call):
    def construct(self, image):  # type: ignore[no-untyped-def]
        return self.model.encode(image, return_dict=False)[0]


class _Tokens(_Call):
    def construct(self, input_ids):  # type: ignore[no-untyped-def]
        return self.model(input_ids, return_dict=False)[0]


class _TokensMasked(_Call):
    def construct(self, input_ids, attention_mask):  # type: ignore[no-untyped-def]
        return self.model(input_ids, attention_mask=attention_mask, return_dict=False)[0]


class _Decoder(_Call):
    def construct(self, input_ids):  # type: ignore[no-untyped-def]
        return self.model(input_ids, use_cache=False, return_dict=False)[0]


class _DecoderMasked(_Call):
    def construct(self, input_ids, attention_mask):  # type: ignore[no-untyped-def]
        return self.model(input_ids, attention_mask=attention_mask, use_cache=False, return_dict=False)[0]


class _DiT(_Call):
    def construct(self, hidden_states, timestep, class_labels):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, timestep=timestep, class_labels=class_labels)[0]


class _PixArt(_Call):
    def construct(self, hidden_states, timestep, encoder_hidden_states):  # type: ignore[no-untyped-def]
        added = {"resolution": None, "aspect_ratio": None}
        return self.model(
            hidden_states, encoder_hidden_states=encoder_hidden_states, timestep=timestep, added_cond_kwargs=added
        )[0]


class _PixArtMasked(_Call):
    def construct(self, hidden_states, timestep, encoder_hidden_states, mask):  # type: ignore[no-untyped-def]
        added = {"resolution": None, "aspect_ratio": None}
        return self.model(
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            timestep=timestep,
            added_cond_kwargs=added,
            encoder_attention_mask=mask,
        )[0]


class _SD3(_Call):
    def construct(self, hidden_states, encoder_hidden_states, pooled, timestep):  # type: ignore[no-untyped-def]
        return self.model(
            hidden_states, encoder_hidden_states=encoder_hidden_states, pooled_projections=pooled, timestep=timestep
        )[0]


class _Flux(_Call):
    def construct(self, hidden_states, encoder_hidden_states, pooled, timestep, img_ids, txt_ids):  # type: ignore[no-untyped-def]
        return self.model(
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            pooled_projections=pooled,
            timestep=timestep,
            img_ids=img_ids,
            txt_ids=txt_ids,
        )[0]


class _HunyuanDiT(_Call):
    def construct(self, x, timestep, text, text_mask, text_t5, mask_t5, meta, style, cos, sin):  # type: ignore[no-untyped-def]
        return self.model(
            x,
            timestep,
            encoder_hidden_states=text,
            text_embedding_mask=text_mask,
            encoder_hidden_states_t5=text_t5,
            text_embedding_mask_t5=mask_t5,
            image_meta_size=meta,
            style=style,
            image_rotary_emb=(cos, sin),
        )[0]


class _CogVideoX(_Call):
    def construct(self, hidden_states, timestep, encoder_hidden_states):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, encoder_hidden_states, timestep)[0]


class _Lumina2(_Call):
    def construct(self, hidden_states, timestep, encoder_hidden_states, mask):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, timestep, encoder_hidden_states, mask)[0]


class _Sana(_Call):
    def construct(self, hidden_states, encoder_hidden_states, timestep, mask):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, encoder_hidden_states, timestep, encoder_attention_mask=mask)[0]


class _Prior(_Call):
    def construct(self, hidden_states, timestep, proj, encoder_hidden_states, mask):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, timestep, proj, encoder_hidden_states, mask)[0]


class _ImageText(_Call):
    def construct(self, hidden_states, encoder_hidden_states):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, encoder_hidden_states=encoder_hidden_states)[0]


_UNET_INPUTS: tuple[Input, ...] = (
    ("sample", (2, 4, 16, 16), FLOAT),
    ("timestep", (1,), "int64"),
    ("encoder_hidden_states", (2, 7, 24), FLOAT),
)
_XL_INPUTS = (*_UNET_INPUTS, ("text_embeds", (2, 20), FLOAT), ("time_ids", (2, 6), FLOAT))
_IDS: tuple[Input, ...] = (("input_ids", (2, 12), "int64"),)
_IDS_MASK = (*_IDS, ("attention_mask", (2, 12), "int64"))
_IDS_MASK_4D = (*_IDS, ("attention_mask", (2, 1, 12, 12), FLOAT))
_PIXART_INPUTS: tuple[Input, ...] = (
    ("hidden_states", (2, 4, 8, 8), FLOAT),
    ("timestep", (2,), "int64"),
    ("encoder_hidden_states", (2, 7, 12), FLOAT),
)
_SD3_INPUTS: tuple[Input, ...] = (
    ("hidden_states", (2, 4, 16, 16), FLOAT),
    ("encoder_hidden_states", (2, 11, 24), FLOAT),
    ("pooled_projections", (2, 20), FLOAT),
    ("timestep", (2,), "int64"),
)
_HUNYUAN_INPUTS: tuple[Input, ...] = (
    ("hidden_states", (2, 4, 16, 16), FLOAT),
    ("timestep", (2,), FLOAT),
    ("encoder_hidden_states", (2, 7, 24), FLOAT),
    ("text_embedding_mask", (2, 7), FLOAT),
    ("encoder_hidden_states_t5", (2, 9, 24), FLOAT),
    ("text_embedding_mask_t5", (2, 9), FLOAT),
    ("image_meta_size", (2, 6), FLOAT),
    ("style", (2,), "int64"),
    ("rotary_cos", (64, 8), FLOAT),
    ("rotary_sin", (64, 8), FLOAT),
)
_PRIOR_INPUTS: tuple[Input, ...] = (
    ("hidden_states", (2, 16), FLOAT),
    ("timestep", (2,), "int64"),
    ("proj_embedding", (2, 16), FLOAT),
    ("encoder_hidden_states", (2, 7, 16), FLOAT),
    ("attention_mask", (2, 7), "bool"),
)
_LATENTS: tuple[Input, ...] = (("latents", (1, 4, 8, 8), FLOAT),)

CASES: dict[str, Case] = {
    "unet_sd15": Case("A", builders.unet(), _Conditioned, _UNET_INPUTS, ALL),
    "unet_sd15_mask": Case(
        "B", builders.unet(), _UNetMasked, (*_UNET_INPUTS, ("encoder_attention_mask", (2, 7), "bool")), ALL
    ),
    "unet_sd21_upcast": Case("C", builders.SD21, _Conditioned, _UNET_INPUTS, ALL),
    "unet_sdxl": Case("A", builders.SDXL, _UNetXL, _XL_INPUTS, ALL),
    "controlnet": Case(
        "A", builders.controlnet, _ControlNet, (*_UNET_INPUTS, ("controlnet_cond", (2, 3, 32, 32), FLOAT)), ALL
    ),
    "vae_kl_decode": Case("D", builders.vae, _VaeDecode, _LATENTS, ALL),
    "vae_kl_encode": Case("D", builders.vae, _VaeEncode, (("image", (1, 3, 16, 16), FLOAT),), ALL),
    "vae_tiny_decode": Case("-", builders.vae_tiny, _VaeDecode, _LATENTS, SINGLE),
    "clip_text": Case("H", builders.clip, _Tokens, _IDS, ALL),
    "clip_text_mask": Case("H", builders.clip, _TokensMasked, _IDS_MASK, ALL),
    "clip_text_projection": Case(
        "H", lambda: builders.clip(transformers.CLIPTextModelWithProjection), _Tokens, _IDS, ALL
    ),
    "t5_encoder": Case("I", builders.t5, _Tokens, _IDS, ALL),
    "t5_encoder_mask": Case("I", builders.t5, _TokensMasked, _IDS_MASK, ALL),
    "bert": Case("J", builders.bert, _TokensMasked, _IDS_MASK, ALL),
    "gpt2": Case("L", builders.gpt2, _Decoder, _IDS, ALL),
    "llama": Case("K", builders.llama(), _DecoderMasked, _IDS_MASK, ALL),
    "llama_nomask": Case("K", builders.llama(), _Decoder, _IDS, ALL),
    "llama_4dmask": Case("K", builders.llama(), _DecoderMasked, _IDS_MASK_4D, ALL),
    "llama_flash": Case("N", builders.llama("flash_attention_2"), _DecoderMasked, _IDS_MASK, HALF),
    "qwen2_4dmask": Case("K", builders.qwen2, _DecoderMasked, _IDS_MASK_4D, ALL),
    "dit": Case(
        "A",
        builders.dit,
        _DiT,
        (("hidden_states", (2, 4, 8, 8), FLOAT), ("timestep", (2,), "int64"), ("class_labels", (2,), "int64")),
        ALL,
    ),
    "pixart": Case("A", builders.pixart, _PixArt, _PIXART_INPUTS, ALL),
    "pixart_mask": Case(
        "B", builders.pixart, _PixArtMasked, (*_PIXART_INPUTS, ("encoder_attention_mask", (2, 7), FLOAT)), ALL
    ),
    "prior": Case("B", builders.prior, _Prior, _PRIOR_INPUTS, ALL),
    "sd3": Case("E", builders.sd3(), _SD3, _SD3_INPUTS, ALL),
    "sd35": Case("F", builders.sd3(qk_norm="rms_norm", dual_attention_layers=(0,)), _SD3, _SD3_INPUTS, ALL),
    "flux": Case(
        "N",
        builders.flux,
        _Flux,
        (
            ("hidden_states", (1, 16, 4), FLOAT),
            ("encoder_hidden_states", (1, 11, 24), FLOAT),
            ("pooled_projections", (1, 20), FLOAT),
            ("timestep", (1,), FLOAT),
            ("img_ids", (16, 3), FLOAT),
            ("txt_ids", (11, 3), FLOAT),
        ),
        ALL,
    ),
    "hunyuandit": Case("F", builders.hunyuandit, _HunyuanDiT, _HUNYUAN_INPUTS, ("float32", "float16")),
    "cogvideox": Case(
        "F",
        builders.cogvideox,
        _CogVideoX,
        (
            ("hidden_states", (1, 2, 4, 8, 8), FLOAT),
            ("timestep", (1,), "int64"),
            ("encoder_hidden_states", (1, 6, 12), FLOAT),
        ),
        ALL,
    ),
    "lumina2": Case(
        "O",
        builders.lumina2,
        _Lumina2,
        (
            ("hidden_states", (2, 4, 16, 16), FLOAT),
            ("timestep", (2,), FLOAT),
            ("encoder_hidden_states", (2, 14, 24), FLOAT),
            ("encoder_attention_mask", (2, 14), "bool"),
        ),
        ALL,
    ),
    "sana": Case(
        "B",
        builders.sana,
        _Sana,
        (
            ("hidden_states", (1, 4, 8, 8), FLOAT),
            ("encoder_hidden_states", (1, 7, 12), FLOAT),
            ("timestep", (1,), "int64"),
            ("encoder_attention_mask", (1, 7), FLOAT),
        ),
        ALL,
    ),
    "wan": Case(
        "N",
        builders.wan,
        _Conditioned,
        (
            ("hidden_states", (1, 4, 2, 8, 8), FLOAT),
            ("timestep", (1,), "int64"),
            ("encoder_hidden_states", (1, 11, 16), FLOAT),
        ),
        ALL,
    ),
    "unet_motion": Case(
        "A",
        builders.unet_motion,
        _Conditioned,
        (
            ("sample", (1, 4, 6, 16, 16), FLOAT),
            ("timestep", (1,), "int64"),
            ("encoder_hidden_states", (6, 5, 24), FLOAT),
        ),
        ALL,
    ),
    "ascend_unet_sd15": Case("N", builders.unet(), _Conditioned, _UNET_INPUTS, HALF, on_ascend=True),
    "ascend_unet_sdxl": Case("N", builders.SDXL, _UNetXL, _XL_INPUTS, HALF, on_ascend=True),
    "ascend_vae_kl_decode": Case("N", builders.vae, _VaeDecode, _LATENTS, ("float16", "float32"), on_ascend=True),
    "ascend_sd3": Case("N", builders.sd3(), _SD3, _SD3_INPUTS, ("bfloat16",), on_ascend=True),
    "ascend_pixart_mask": Case(
        "N",
        builders.pixart,
        _PixArtMasked,
        (*_PIXART_INPUTS, ("encoder_attention_mask", (2, 7), FLOAT)),
        HALF,
        on_ascend=True,
    ),
    "ascend_prior": Case("N", builders.prior, _Prior, _PRIOR_INPUTS, HALF, on_ascend=True),
    "ascend_hunyuandit": Case("N", builders.hunyuandit, _HunyuanDiT, _HUNYUAN_INPUTS, HALF, on_ascend=True),
}
"""Every graph of the corpus is one of these in one of its types."""


def _real_unet(model: str) -> Callable[[], Any]:
    return lambda: diffusers.UNet2DConditionModel.from_config(CONFIGS[model])


def _real_vae() -> Any:
    """The autoencoder of Stable Diffusion 1 and 2, 512 pixels a side."""
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )


REAL_SIZE: dict[str, Case] = {
    "real_unet_sd15": Case(
        "A",
        _real_unet("sd15"),
        _Conditioned,
        (
            ("sample", (2, 4, 64, 64), FLOAT),
            ("timestep", (1,), "int64"),
            ("encoder_hidden_states", (2, 77, 768), FLOAT),
        ),
        HALF,
    ),
    "real_unet_sdxl": Case(
        "A",
        _real_unet("sdxl"),
        _UNetXL,
        (
            ("sample", (2, 4, 128, 128), FLOAT),
            ("timestep", (1,), "int64"),
            ("encoder_hidden_states", (2, 77, 2048), FLOAT),
            ("text_embeds", (2, 1280), FLOAT),
            ("time_ids", (2, 6), FLOAT),
        ),
        HALF,
    ),
    "real_vae_decode": Case("D", _real_vae, _VaeDecode, (("latents", (1, 4, 64, 64), FLOAT),), HALF),
}
"""Published configurations, for measuring; not part of the corpus."""
