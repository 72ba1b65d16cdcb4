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

from mindone import transformers
from mindspore import nn

from tools.corpus import builders

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


class Call(nn.Cell):  # type: ignore[misc]
    """Holds a model under the attribute `model`, whose parameters keep their own names."""

    def __init__(self, model: Any) -> None:
        super().__init__(auto_prefix=False)
        self.model = model
        self.set_train(False)

    def init_parameters_data(self, auto_parallel_mode: bool = False) -> dict[Any, Any]:
        """Called by the compiler to give parameters their initial values; a skeleton has none."""
        return {}


class _First(Call):
    def construct(self, x):  # type: ignore[no-untyped-def]
        return self.model(x)[0]


class Conditioned(Call):
    """A UNet or transformer that takes latents, timestep and text."""

    def construct(self, sample, timestep, encoder_hidden_states):  # type: ignore[no-untyped-def]
        return self.model(sample, timestep, encoder_hidden_states)[0]


class _UNetMasked(Call):
    def construct(self, sample, timestep, encoder_hidden_states, encoder_attention_mask):  # type: ignore[no-untyped-def]
        return self.model(sample, timestep, encoder_hidden_states, encoder_attention_mask=encoder_attention_mask)[0]


class UNetXL(Call):
    """The UNet of SDXL, which takes pooled text and sizes besides."""

    def construct(self, sample, timestep, encoder_hidden_states, text_embeds, time_ids):  # type: ignore[no-untyped-def]
        added = {"text_embeds": text_embeds, "time_ids": time_ids}
        return self.model(sample, timestep, encoder_hidden_states, added_cond_kwargs=added)[0]


class _ControlNet(Call):
    def construct(self, sample, timestep, encoder_hidden_states, cond):  # type: ignore[no-untyped-def]
        down, mid = self.model(sample, timestep, encoder_hidden_states, cond, return_dict=False)
        return down[0], down[1], mid


class VaeDecode(Call):
    """The decoder of an autoencoder."""

    def construct(self, latents):  # type: ignore[no-untyped-def]
        return self.model.decode(latents, return_dict=False)[0]


class _VaeEncode(Call):
    def construct(self, image):  # type: ignore[no-untyped-def]
        return self.model.encode(image, return_dict=False)[0]


class Tokens(Call):
    """A text encoder."""

    def construct(self, input_ids):  # type: ignore[no-untyped-def]
        return self.model(input_ids, return_dict=False)[0]


class _TokensMasked(Call):
    def construct(self, input_ids, attention_mask):  # type: ignore[no-untyped-def]
        return self.model(input_ids, attention_mask=attention_mask, return_dict=False)[0]


class _Decoder(Call):
    def construct(self, input_ids):  # type: ignore[no-untyped-def]
        return self.model(input_ids, use_cache=False, return_dict=False)[0]


class DecoderMasked(Call):
    """A language model without cache, with a mask."""

    def construct(self, input_ids, attention_mask):  # type: ignore[no-untyped-def]
        return self.model(input_ids, attention_mask=attention_mask, use_cache=False, return_dict=False)[0]


class DiT(Call):
    """A transformer that takes a class."""

    def construct(self, hidden_states, timestep, class_labels):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, timestep=timestep, class_labels=class_labels)[0]


class _PixArt(Call):
    def construct(self, hidden_states, timestep, encoder_hidden_states):  # type: ignore[no-untyped-def]
        added = {"resolution": None, "aspect_ratio": None}
        return self.model(
            hidden_states, encoder_hidden_states=encoder_hidden_states, timestep=timestep, added_cond_kwargs=added
        )[0]


class PixArtMasked(Call):
    """PixArt with a mask of its text."""

    def construct(self, hidden_states, timestep, encoder_hidden_states, mask):  # type: ignore[no-untyped-def]
        added = {"resolution": None, "aspect_ratio": None}
        return self.model(
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            timestep=timestep,
            added_cond_kwargs=added,
            encoder_attention_mask=mask,
        )[0]


class SD3(Call):
    """Stable Diffusion 3's transformer."""

    def construct(self, hidden_states, encoder_hidden_states, pooled, timestep):  # type: ignore[no-untyped-def]
        return self.model(
            hidden_states, encoder_hidden_states=encoder_hidden_states, pooled_projections=pooled, timestep=timestep
        )[0]


class _Flux(Call):
    def construct(self, hidden_states, encoder_hidden_states, pooled, timestep, img_ids, txt_ids):  # type: ignore[no-untyped-def]
        return self.model(
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            pooled_projections=pooled,
            timestep=timestep,
            img_ids=img_ids,
            txt_ids=txt_ids,
        )[0]


class HunyuanDiT(Call):
    """HunyuanDiT with both texts and their masks."""

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


class _CogVideoX(Call):
    def construct(self, hidden_states, timestep, encoder_hidden_states):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, encoder_hidden_states, timestep)[0]


class _Lumina2(Call):
    def construct(self, hidden_states, timestep, encoder_hidden_states, mask):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, timestep, encoder_hidden_states, mask)[0]


class _Sana(Call):
    def construct(self, hidden_states, encoder_hidden_states, timestep, mask):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, encoder_hidden_states, timestep, encoder_attention_mask=mask)[0]


class _Prior(Call):
    def construct(self, hidden_states, timestep, proj, encoder_hidden_states, mask):  # type: ignore[no-untyped-def]
        return self.model(hidden_states, timestep, proj, encoder_hidden_states, mask)[0]


class _ImageText(Call):
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
    "unet_sd15": Case("A", builders.unet(), Conditioned, _UNET_INPUTS, ALL),
    "unet_sd15_mask": Case(
        "B", builders.unet(), _UNetMasked, (*_UNET_INPUTS, ("encoder_attention_mask", (2, 7), "bool")), ALL
    ),
    "unet_sd21_upcast": Case("C", builders.SD21, Conditioned, _UNET_INPUTS, ALL),
    "unet_sdxl": Case("A", builders.SDXL, UNetXL, _XL_INPUTS, ALL),
    "controlnet": Case(
        "A", builders.controlnet, _ControlNet, (*_UNET_INPUTS, ("controlnet_cond", (2, 3, 32, 32), FLOAT)), ALL
    ),
    "vae_kl_decode": Case("D", builders.vae, VaeDecode, _LATENTS, ALL),
    "vae_kl_encode": Case("D", builders.vae, _VaeEncode, (("image", (1, 3, 16, 16), FLOAT),), ALL),
    "vae_tiny_decode": Case("-", builders.vae_tiny, VaeDecode, _LATENTS, SINGLE),
    "clip_text": Case("H", builders.clip, Tokens, _IDS, ALL),
    "clip_text_mask": Case("H", builders.clip, _TokensMasked, _IDS_MASK, ALL),
    "clip_text_projection": Case(
        "H", lambda: builders.clip(transformers.CLIPTextModelWithProjection), Tokens, _IDS, ALL
    ),
    "t5_encoder": Case("I", builders.t5, Tokens, _IDS, ALL),
    "t5_encoder_mask": Case("I", builders.t5, _TokensMasked, _IDS_MASK, ALL),
    "bert": Case("J", builders.bert, _TokensMasked, _IDS_MASK, ALL),
    "gpt2": Case("L", builders.gpt2, _Decoder, _IDS, ALL),
    "llama": Case("K", builders.llama(), DecoderMasked, _IDS_MASK, ALL),
    "llama_nomask": Case("K", builders.llama(), _Decoder, _IDS, ALL),
    "llama_4dmask": Case("K", builders.llama(), DecoderMasked, _IDS_MASK_4D, ALL),
    "llama_flash": Case("N", builders.llama("flash_attention_2"), DecoderMasked, _IDS_MASK, HALF),
    "qwen2_4dmask": Case("K", builders.qwen2, DecoderMasked, _IDS_MASK_4D, ALL),
    "dit": Case(
        "A",
        builders.dit,
        DiT,
        (("hidden_states", (2, 4, 8, 8), FLOAT), ("timestep", (2,), "int64"), ("class_labels", (2,), "int64")),
        ALL,
    ),
    "pixart": Case("A", builders.pixart, _PixArt, _PIXART_INPUTS, ALL),
    "pixart_mask": Case(
        "B", builders.pixart, PixArtMasked, (*_PIXART_INPUTS, ("encoder_attention_mask", (2, 7), FLOAT)), ALL
    ),
    "prior": Case("B", builders.prior, _Prior, _PRIOR_INPUTS, ALL),
    "sd3": Case("E", builders.sd3(), SD3, _SD3_INPUTS, ALL),
    "sd35": Case("F", builders.sd3(qk_norm="rms_norm", dual_attention_layers=(0,)), SD3, _SD3_INPUTS, ALL),
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
    "hunyuandit": Case("F", builders.hunyuandit, HunyuanDiT, _HUNYUAN_INPUTS, ("float32", "float16")),
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
        Conditioned,
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
        Conditioned,
        (
            ("sample", (1, 4, 6, 16, 16), FLOAT),
            ("timestep", (1,), "int64"),
            ("encoder_hidden_states", (6, 5, 24), FLOAT),
        ),
        ALL,
    ),
    "ascend_unet_sd15": Case("N", builders.unet(), Conditioned, _UNET_INPUTS, HALF, on_ascend=True),
    "ascend_unet_sdxl": Case("N", builders.SDXL, UNetXL, _XL_INPUTS, HALF, on_ascend=True),
    "ascend_vae_kl_decode": Case("N", builders.vae, VaeDecode, _LATENTS, ("float16", "float32"), on_ascend=True),
    "ascend_sd3": Case("N", builders.sd3(), SD3, _SD3_INPUTS, ("bfloat16",), on_ascend=True),
    "ascend_pixart_mask": Case(
        "N",
        builders.pixart,
        PixArtMasked,
        (*_PIXART_INPUTS, ("encoder_attention_mask", (2, 7), FLOAT)),
        HALF,
        on_ascend=True,
    ),
    "ascend_prior": Case("N", builders.prior, _Prior, _PRIOR_INPUTS, HALF, on_ascend=True),
    "ascend_hunyuandit": Case("N", builders.hunyuandit, HunyuanDiT, _HUNYUAN_INPUTS, HALF, on_ascend=True),
}
"""Every graph of the corpus is one of these in one of its types."""
