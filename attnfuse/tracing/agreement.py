"""Holds the parts of a pipeline to each other before anything is traced: what one gives must be what another takes.

A text encoder's states have the width that attention over the text takes; latents have the channels that the denoiser
starts with, and what its pipeline puts beside them; a ControlNet's or adapter's features have the shapes of what they
are added to. The rules are read in mindone's pipelines (the family's `source`, and those beside it) and models. A
number that a configuration does not tell, or a family of which the rule is not known, is no contradiction.

Imports `folder`, `ip_adapter` and `specs` of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnfuse.tracing.folder import IMAGE_ENCODER, UNET
from attnfuse.tracing.ip_adapter import width_of
from attnfuse.tracing.specs.context import SpecContext
from attnfuse.tracing.specs.pictures.aura_flow import AURA_FLOW
from attnfuse.tracing.specs.pictures.cogview import COGVIEW_3, COGVIEW_4
from attnfuse.tracing.specs.pictures.dit import DIT
from attnfuse.tracing.specs.pictures.flux import CHROMA, FLUX, FLUX_2
from attnfuse.tracing.specs.pictures.hunyuan_dit import HUNYUAN_DIT
from attnfuse.tracing.specs.pictures.kandinsky import KANDINSKY, KANDINSKY_2_2, KANDINSKY_3
from attnfuse.tracing.specs.pictures.kolors import KOLORS
from attnfuse.tracing.specs.pictures.lumina import LUMINA, LUMINA_2
from attnfuse.tracing.specs.pictures.pixart import PIXART_ALPHA, PIXART_SIGMA
from attnfuse.tracing.specs.pictures.qwen_image import QWEN_IMAGE
from attnfuse.tracing.specs.pictures.sana import SANA
from attnfuse.tracing.specs.pictures.stable_diffusion import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from attnfuse.tracing.specs.pictures.stable_diffusion_3 import STABLE_DIFFUSION_3
from attnfuse.tracing.specs.record import PipelineFamily
from attnfuse.tracing.specs.sound.audio_ldm_2 import AUDIO_LDM_2
from attnfuse.tracing.specs.videos.allegro import ALLEGRO
from attnfuse.tracing.specs.videos.animate_diff import ANIMATE_DIFF
from attnfuse.tracing.specs.videos.cogvideox import COGVIDEOX, CONSIS_ID
from attnfuse.tracing.specs.videos.cosmos import COSMOS
from attnfuse.tracing.specs.videos.hunyuan_video import HUNYUAN_VIDEO
from attnfuse.tracing.specs.videos.i2vgen import I2VGEN
from attnfuse.tracing.specs.videos.kandinsky_5 import KANDINSKY_5
from attnfuse.tracing.specs.videos.latte import LATTE
from attnfuse.tracing.specs.videos.ltx import LTX
from attnfuse.tracing.specs.videos.mochi import MOCHI
from attnfuse.tracing.specs.videos.stable_video import STABLE_VIDEO
from attnfuse.tracing.specs.videos.wan import SKY_REELS_2, WAN


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Parts that do not fit together, by attribute, and why, as a sentence without its end."""

    parts: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class _Number:
    """A number of a part's configuration."""

    part: str
    key: str
    value: int

    def __str__(self) -> str:
        return f"{self.part}'s {self.key} {self.value}"


_WIDTH = ("d_model", "hidden_size", "text_config.hidden_size")
"""What models of transformers call the width of their states."""


def contradictions(context: SpecContext, family: PipelineFamily) -> tuple[Contradiction, ...]:
    """What does not fit together in a pipeline of that family."""
    return tuple(
        dict.fromkeys(
            found
            for rule in (_texts, _of_xl, _latents, _controlnet, _residuals, _adapter, _picture_prompt)
            for found in rule(context, family)
        )
    )


def _number(context: SpecContext, part: str, keys: Sequence[str]) -> _Number | None:
    """The one number that the first of these keys with a value tells; None where none does, or not one number."""
    if part not in context.configs or part in context.configs.damaged:
        return None
    config: Mapping[str, Any] = context.configs[part]
    for key in keys:
        value: Any = config
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        values = value if isinstance(value, list) else [value]
        if value is None or not values:
            continue
        whole = all(isinstance(one, int) and not isinstance(one, bool) for one in values)
        return _Number(part, key, values[0]) if whole and len(set(values)) == 1 else None
    return None


def _hold(
    taken: _Number | None, given: Sequence[_Number | None], allowed: Callable[..., Sequence[int]]
) -> list[Contradiction]:
    """A contradiction where `taken` is none of what `allowed` makes of the numbers `given`."""
    known = [one for one in given if one is not None]
    if taken is None or len(known) < len(given):
        return []
    wanted = list(dict.fromkeys(allowed(*(one.value for one in known))))
    if taken.value in wanted:
        return []
    message = f"{taken} does not fit {' and '.join(map(str, known))}"
    if wanted != [one.value for one in known]:
        message += f", with which it would be {' or '.join(map(str, wanted))}"
    return [Contradiction((taken.part, *(one.part for one in known)), message)]


def _same(value: int) -> tuple[int]:
    return (value,)


def _sum(*values: int) -> tuple[int]:
    return (sum(values),)


_DENOISERS = ("unet", "transformer", "transformer_2", "controlnet")

#: By family: what takes it, which option says how wide, and what it is the states of.
_TEXTS: tuple[tuple[tuple[PipelineFamily, ...], str, tuple[str, ...]], ...] = (
    ((STABLE_DIFFUSION, ANIMATE_DIFF, I2VGEN), "cross_attention_dim", ("text_encoder",)),
    ((STABLE_DIFFUSION_3,), "joint_attention_dim", ("text_encoder_3",)),
    ((FLUX,), "joint_attention_dim", ("text_encoder_2",)),
    ((FLUX,), "pooled_projection_dim", ("text_encoder",)),
    (
        (PIXART_ALPHA, PIXART_SIGMA, SANA, LATTE, LTX, ALLEGRO),
        "caption_channels",
        ("text_encoder",),
    ),
    ((HUNYUAN_DIT, LUMINA), "cross_attention_dim", ("text_encoder",)),
    ((HUNYUAN_DIT,), "cross_attention_dim_t5", ("text_encoder_2",)),
    ((AURA_FLOW, CHROMA, QWEN_IMAGE), "joint_attention_dim", ("text_encoder",)),
    (
        (
            COGVIEW_3,
            COGVIEW_4,
            COGVIDEOX,
            CONSIS_ID,
            MOCHI,
            COSMOS,
            HUNYUAN_VIDEO,
        ),
        "text_embed_dim",
        ("text_encoder",),
    ),
    ((HUNYUAN_VIDEO,), "pooled_projection_dim", ("text_encoder_2",)),
    ((WAN, SKY_REELS_2), "text_dim", ("text_encoder",)),
    ((WAN,), "image_dim", ("image_encoder",)),
    ((LUMINA_2,), "cap_feat_dim", ("text_encoder",)),
    ((KANDINSKY_3, KOLORS), "encoder_hid_dim", ("text_encoder",)),
    ((KANDINSKY_5,), "in_text_dim", ("text_encoder",)),
)

#: The same where it is not the width of the states: the options of what gives, and what is made of them.
_OTHERS: tuple[tuple[PipelineFamily, str, tuple[tuple[str, str], ...], Callable[..., Sequence[int]]], ...] = (
    # The states of three layers, side by side.
    (
        FLUX_2,
        "joint_attention_dim",
        (("text_encoder", "text_config.hidden_size"),),
        lambda width: (3 * width,),
    ),
    (KANDINSKY, "encoder_hid_dim", (("text_encoder", "transformerDimensions"),), _same),
    (KANDINSKY, "cross_attention_dim", (("text_encoder", "numDims"),), _same),
    (STABLE_VIDEO, "cross_attention_dim", (("image_encoder", "projection_dim"),), _same),
)


def _texts(context: SpecContext, family: PipelineFamily) -> Iterator[Contradiction]:
    """What encoders give has the width that the denoiser, and a ControlNet beside it, takes."""
    for taker in _DENOISERS:
        if not _attends(context, taker):
            continue
        for families, key, encoders in _TEXTS:
            if family.is_of(*families):
                yield from _hold(_number(context, taker, [key]), [_number(context, e, _WIDTH) for e in encoders], _same)
        for of, key, given, made in _OTHERS:
            if family.is_of(of):
                yield from _hold(_number(context, taker, [key]), [_number(context, e, [k]) for e, k in given], made)


def _attends(context: SpecContext, part: str) -> bool:
    """Whether a part looks at a text at all: small ControlNets of XL do not, whatever they are configured for."""
    kinds = context.configs.read.get(part, {}).get("down_block_types")
    return not isinstance(kinds, list) or any("CrossAttn" in str(kind) for kind in kinds)


def _of_xl(context: SpecContext, family: PipelineFamily) -> Iterator[Contradiction]:
    """XL lays the states of its two text encoders side by side; of a refiner, which has one, the width is not asked.

    Beside the pooled text stand the embeddings of six numbers, of five in a refiner.
    """
    if not family.is_of(STABLE_DIFFUSION_XL):
        return
    widths = [_number(context, part, ["hidden_size"]) for part in ("text_encoder", "text_encoder_2")]
    for taker in ("unet", "controlnet"):
        if _attends(context, taker):
            yield from _hold(_number(context, taker, ["cross_attention_dim"]), widths, _sum)
        one = _number(context, taker, ["addition_time_embed_dim"])
        if one is not None:
            size = one.value
            yield from _hold(
                _number(context, taker, ["projection_class_embeddings_input_dim"]),
                [_number(context, "text_encoder_2", ["projection_dim"])],
                lambda pooled, size=size: (pooled + 6 * size, pooled + 5 * size),
            )


_PLAIN = (
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_XL,
    STABLE_DIFFUSION_3,
    PIXART_ALPHA,
    PIXART_SIGMA,
    DIT,
    HUNYUAN_DIT,
    AURA_FLOW,
    SANA,
    COGVIEW_3,
    COGVIEW_4,
    LUMINA,
    LUMINA_2,
    KOLORS,
    KANDINSKY,
    KANDINSKY_2_2,
    KANDINSKY_3,
    COGVIDEOX,
    ALLEGRO,
    LTX,
    HUNYUAN_VIDEO,
    MOCHI,
    LATTE,
    ANIMATE_DIFF,
    I2VGEN,
    AUDIO_LDM_2,
    WAN,
    SKY_REELS_2,
)
"""Families whose denoiser takes the latents, and nothing beside them but what `_beside` says."""

_PACKED = (FLUX, CHROMA, FLUX_2, QWEN_IMAGE)
"""Families that pack latents two by two."""


def _beside(context: SpecContext, family: PipelineFamily, latents: int) -> list[int]:
    """The channels that the denoiser may take, of so many of the latents; none where that is not known."""
    kind = context.pipeline.class_name
    pictured = 2 * latents  # those of a picture beside them
    if family.channels is not None:
        return list(family.channels(latents))
    if family.is_of(*_PACKED):
        if kind == "FluxFillPipeline":  # and a mask in pixels, packed with them
            scale = 2 ** (len(context.numbers("block_out_channels", "vae")) - 1)
            return [4 * pictured + 4 * scale**2]
        control = kind.startswith("FluxControl") and not kind.startswith("FluxControlNet")
        return [4 * (pictured if control else latents)]
    if family.is_of(STABLE_VIDEO, CONSIS_ID) or kind == "CogVideoXImageToVideoPipeline":
        return [pictured]
    if family.is_of(COSMOS):  # a mask of the frames that are given
        return [latents + kind.endswith("VideoToWorldPipeline")]
    if not family.is_of(*_PLAIN):
        return []
    if kind.startswith("Kandinsky") and "Inpaint" in kind:
        return [pictured + 1]
    if kind.startswith("KandinskyV22Controlnet"):
        return [pictured]
    apart = context.pipeline.options.get("expand_timesteps")  # the picture is among the latents then
    if family.is_of(WAN, SKY_REELS_2) and "ImageToVideo" in kind and not apart:
        return [pictured + context.number("scale_factor_temporal", "vae", 4)]  # a mask of each latent's frames
    inpaints = family.is_of(STABLE_DIFFUSION, STABLE_DIFFUSION_XL, STABLE_DIFFUSION_3)
    if inpaints and "Inpaint" in kind:
        return [latents, pictured + 1]  # by the mask outside of it, or with mask and picture
    return [latents]


def _latents(context: SpecContext, family: PipelineFamily) -> Iterator[Contradiction]:
    """The denoiser takes the latents of the pipeline's autoencoder; a ControlNet of UNets takes them alone."""
    autoencoder = "movq" if "movq" in context.configs else "vae"
    given = _number(context, autoencoder, ["latent_channels", "z_dim"])
    if given is None:
        return
    allowed = _beside(context, family, given.value)
    for taker in ("unet", "transformer", "transformer_2"):
        if allowed:
            yield from _hold(_number(context, taker, ["in_channels"]), [given], lambda _: allowed)
    if context.pipeline.classes.get("controlnet") in _OF_UNETS:
        yield from _hold(_number(context, "controlnet", ["in_channels"]), [given], _same)


_OF_UNETS = ("ControlNetModel", "ControlNetUnionModel")


def _controlnet(context: SpecContext, family: PipelineFamily) -> Iterator[Contradiction]:
    """A ControlNet takes what the denoiser takes, and what it gives is added to the denoiser's own values."""
    keys = ["joint_attention_dim", "pooled_projection_dim", "caption_channels", "cross_attention_dim_t5"]
    keys += ["projection_class_embeddings_input_dim"]
    if _attends(context, "controlnet") and _attends(context, "unet"):
        keys.append("cross_attention_dim")
    if context.pipeline.classes.get("controlnet") not in (*_OF_UNETS, "SparseControlNetModel"):
        keys.append("in_channels")  # of UNets: see `_latents`
    for denoiser in ("unet", "transformer"):
        for key in keys:
            yield from _hold(_number(context, "controlnet", [key]), [_number(context, denoiser, [key])], _same)
    sizes = [_hidden(context, part) for part in ("controlnet", "transformer")]
    yield from _hold(sizes[0], sizes[1:], _same)


def _hidden(context: SpecContext, part: str) -> _Number | None:
    """The width of a transformer's tokens."""
    heads, size = (_number(context, part, [key]) for key in ("num_attention_heads", "attention_head_dim"))
    if heads is None or size is None:
        return None
    return _Number(part, "num_attention_heads × attention_head_dim", heads.value * size.value)


def _residuals(context: SpecContext, family: PipelineFamily) -> Iterator[Contradiction]:
    """A ControlNet of UNets has the blocks of the UNet, whose values its residuals are added to."""
    read = context.configs.read
    if "controlnet" not in read or "unet" not in read:
        return
    for key in ("block_out_channels", "layers_per_block"):
        own, other = (read[part].get(key) for part in ("controlnet", "unet"))
        if own is None or other is None:
            continue
        if _spread(own, read["controlnet"]) != _spread(other, read["unet"]):
            message = f"controlnet's {key} {own} does not fit unet's {key} {other}"
            yield Contradiction(("controlnet", "unet"), message)


def _spread(value: Any, config: Mapping[str, Any]) -> Any:
    """A number for each block, where one stands for all."""
    blocks = config.get("block_out_channels")
    return [value] * len(blocks) if isinstance(value, int) and isinstance(blocks, list) else value


def _adapter(context: SpecContext, family: PipelineFamily) -> Iterator[Contradiction]:
    """A T2I adapter's features are added block by block, as far as there are both."""
    read = context.configs.read
    own = read.get("adapter", {}).get("channels")
    other = read.get("unet", {}).get("block_out_channels")
    if not isinstance(own, list) or not isinstance(other, list):
        return
    light = read["adapter"].get("adapter_type") == "light_adapter"
    features = [*own, own[-1]] if light else own
    if any(mine != theirs for mine, theirs in zip(features, other, strict=False)):
        message = f"adapter's channels {own} do not fit unet's block_out_channels {other}"
        yield Contradiction(("adapter", "unet"), message)


def _picture_prompt(context: SpecContext, family: PipelineFamily) -> Iterator[Contradiction]:
    """An IP-Adapter attends beside a text of the UNet's width to what the image encoder gives."""
    adapter = context.pipeline.ip_adapter
    if adapter is None or adapter.file is None:
        return
    text = _number(context, UNET, ["cross_attention_dim"])
    if text is not None and text.value != adapter.context:
        message = f"{adapter.file.name} is for texts of width {adapter.context}, and {text}"
        yield Contradiction((UNET,), message)
    if IMAGE_ENCODER in context.configs.read:
        width = width_of(context.configs.read[IMAGE_ENCODER], adapter)
        if width != adapter.width:
            message = (
                f"{adapter.file.name} takes {adapter.takes} of width {adapter.width}, and {IMAGE_ENCODER} has {width}"
            )
            yield Contradiction((UNET, IMAGE_ENCODER), message)
