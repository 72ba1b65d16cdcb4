"""The UNets: one entry a class.

Imports `families`, `record` and `told` of this room, and `attnfuse.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attnfuse.errors import SourceError
from attnfuse.tracing.specs.families import (
    KANDINSKY,
    KANDINSKY_2_2,
    KANDINSKY_3,
    KOLORS,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_XL,
)
from attnfuse.tracing.specs.record import MASKED_ATTENTION, Input, Output, Refusal, Scene, Sizes, Spec
from attnfuse.tracing.specs.told import IP_ADAPTER_SCALE, LORA_SCALE

#: Numbers per image in SDXL's `time_ids`: original size, crop offset and target size.
_SDXL_TIME_IDS = 6


def _has_added_conditions(scene: Scene) -> bool:
    """Whether it takes SDXL's pooled text and sizes."""
    return bool(scene.option("addition_embed_type") == "text_time")


ADDED_CONDITIONS = (
    Input(
        "text_embeds",
        ("rows", "pooled"),
        to="added_cond_kwargs.text_embeds",
        when=_has_added_conditions,
        only="addition_embed_type is text_time (XL)",
    ),
    Input(
        "time_ids",
        ("rows", "time_ids"),
        to="added_cond_kwargs.time_ids",
        when=_has_added_conditions,
        only="addition_embed_type is text_time (XL)",
    ),
)
"""SDXL's pooled text and sizes, as its UNet and its ControlNets take them."""


def condition_sizes(scene: Scene) -> Sizes:
    """The widths of the text and, for XL, of the pooled text and of the time ids (five in a refiner)."""
    sizes = {"context": scene.numbers("cross_attention_dim")[0]}
    if not _has_added_conditions(scene):
        return sizes
    width = scene.number("projection_class_embeddings_input_dim")
    per_id = scene.number("addition_time_embed_dim")
    text_width = width - _SDXL_TIME_IDS * per_id
    if scene.has("text_encoder_2"):
        text_width = scene.number("projection_dim", "text_encoder_2")
    ids, rest = divmod(width - text_width, per_id)
    if rest or ids < 1:
        raise SourceError(
            f"{scene.path()}: projection_class_embeddings_input_dim {width} does not"
            f" hold text embeddings of {text_width} and time ids of {per_id} each."
        )
    return {**sizes, "pooled": text_width, "time_ids": ids}


def one_context(scene: Scene) -> str:
    """Refuse a text width that differs from block to block: no published pipeline has several texts to feed."""
    several = len(set(scene.numbers("cross_attention_dim"))) != 1
    return "a cross_attention_dim that differs from block to block is not supported" if several else ""


def residual_shapes(scene: Scene) -> Sequence[tuple[int, ...]]:
    """The shapes of what the down blocks pass on, which a ControlNet adds to: all but the middle block's."""
    channels = scene.numbers("block_out_channels")
    layers = scene.numbers("layers_per_block") if scene.option("layers_per_block") is not None else [2]
    height, width = scene.sizes["latent_height"], scene.sizes["latent_width"]
    rows = scene.sizes.get("text_rows", scene.sizes["rows"])  # AnimateDiff has a text, and a row, for every frame
    shapes = [(rows, channels[0], height, width)]
    for i, channel in enumerate(channels):
        shapes += [(rows, channel, height, width)] * layers[i % len(layers)]
        if i < len(channels) - 1:
            height, width = (height + 1) // 2, (width + 1) // 2
            shapes.append((rows, channel, height, width))
    return shapes


def middle_shape(scene: Scene) -> Sequence[tuple[int, ...]]:
    """The shape of what the middle block passes on, as one of a list."""
    return residual_shapes(scene)[-1:]


def adapter_channels(scene: Scene) -> list[int]:
    """The channels of each of a T2I adapter's features; a light one gives one more than it has `channels`."""
    channels = scene.numbers("channels", "adapter")
    light = scene.option("adapter_type", model="adapter") == "light_adapter"
    return [*channels, channels[-1]] if light else channels


def _adapter_shapes(scene: Scene) -> Sequence[tuple[int, ...]]:
    """The shapes of a T2I adapter's features: see `controlnets.T2I_ADAPTER`."""
    channels = adapter_channels(scene)
    factor = scene.number("downscale_factor", "adapter", 8)
    rows, height, width = scene.sizes["rows"], scene.sizes["height"] // factor, scene.sizes["width"] // factor
    halving = {2} if scene.option("adapter_type", model="adapter") == "full_adapter_xl" else range(1, len(channels))
    shapes = []
    for i, channel in enumerate(channels):
        if i in halving:
            height, width = (height + 1) // 2, (width + 1) // 2
        shapes.append((rows, channel, height, width))
    return shapes


def _with_controlnet(scene: Scene) -> bool:
    return "controlnet" in scene.pipeline.classes


def _with_adapter(scene: Scene) -> bool:
    return "adapter" in scene.pipeline.classes


UNET_2D_CONDITION = Spec(
    class_name="UNet2DConditionModel",
    library="diffusers",
    families=(STABLE_DIFFUSION, STABLE_DIFFUSION_XL),
    models=("unet",),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "latent_height", "latent_width")),
        Input(
            "timestep",
            (1,),
            "timestep",
            note="the scheduler hands over one scalar, and the first thing the model does is give it an axis",
        ),
        Input("encoder_hidden_states", ("rows", "tokens", "context")),
        *ADDED_CONDITIONS,
        Input(
            "down_block_residual_{i}",
            ("rows", "channels", "height", "width"),
            to="down_block_additional_residuals.{i}",
            when=_with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=residual_shapes,
        ),
        Input(
            "mid_block_residual",
            ("rows", "channels", "height", "width"),
            to="mid_block_additional_residual",
            when=_with_controlnet,
            only="the pipeline has a ControlNet: its last output",
            each=middle_shape,
        ),
        Input(
            "adapter_feature_{i}",
            ("rows", "channels", "height", "width"),
            to="down_intrablock_additional_residuals.{i}",
            when=_with_adapter,
            only="the pipeline has a T2I adapter: its outputs",
            each=_adapter_shapes,
        ),
    ),
    outputs=(Output("sample"),),
    sizes=condition_sizes,
    check=one_context,
    refuse=(
        Refusal("class_embed_type"),
        Refusal("encoder_hid_dim"),
        Refusal("encoder_hid_dim_type"),
        Refusal("num_class_embeds"),
        Refusal("time_cond_proj_dim"),  # latent consistency: the pipeline passes `timestep_cond`
        Refusal("addition_embed_type", (None, "text_time")),
        Refusal("attention_type", ("default",)),  # GLIGEN: the pipeline passes boxes
    ),
    told=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
    ),
)


def _kolors_sizes(scene: Scene) -> Sizes:
    """Its text is projected to the width that its attention takes."""
    return {**condition_sizes(scene), "context": scene.number("encoder_hid_dim")}


KOLORS_UNET = replace(
    UNET_2D_CONDITION,
    families=(KOLORS,),
    source="kolors/pipeline_kolors.py",
    sizes=_kolors_sizes,
    refuse=(
        *(refusal for refusal in UNET_2D_CONDITION.refuse if not refusal.option.startswith("encoder_hid")),
        Refusal("encoder_hid_dim_type", ("text_proj",)),
    ),
)

_TIMESTEP = Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis")

KANDINSKY_UNET = Spec(
    class_name="UNet2DConditionModel",
    library="diffusers",
    families=(KANDINSKY,),
    models=("unet",),
    source="kandinsky/pipeline_kandinsky.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "latent_height", "latent_width")),
        _TIMESTEP,
        Input("encoder_hidden_states", ("rows", "tokens", "encoder_hid_dim")),
        Input("text_embeds", ("rows", "cross_attention_dim"), to="added_cond_kwargs.text_embeds"),
        Input("image_embeds", ("rows", "cross_attention_dim"), to="added_cond_kwargs.image_embeds"),
    ),
    outputs=(Output("sample"),),
    check=lambda scene: _of_kandinsky(scene, "text_image_proj", ("text_image",)),
    told=(LORA_SCALE,),
)

KANDINSKY_2_2_UNET = Spec(
    class_name="UNet2DConditionModel",
    library="diffusers",
    families=(KANDINSKY_2_2,),
    models=("unet",),
    source="kandinsky2_2/pipeline_kandinsky2_2.py",
    inputs=(
        Input("sample", ("rows", "sample_channels", "latent_height", "latent_width")),
        _TIMESTEP,
        Input("image_embeds", ("rows", "encoder_hid_dim"), to="added_cond_kwargs.image_embeds"),
        Input(
            "hint",
            ("rows", 3, "height", "width"),
            to="added_cond_kwargs.hint",
            when=lambda scene: _hinted(scene),
            only="addition_embed_type is image_hint",
            note="the picture of conditions, in pixels",
        ),
    ),
    outputs=(Output("sample"),),
    fixed={"encoder_hidden_states": None, "return_dict": False},
    sizes=lambda scene: {"sample_channels": scene.number("in_channels") // (2 if _hinted(scene) else 1)},
    check=lambda scene: _of_kandinsky(scene, "image_proj", ("image", "image_hint")),
)


def _hinted(scene: Scene) -> bool:
    """Whether half of the channels are made of a picture of conditions."""
    return bool(scene.option("addition_embed_type") == "image_hint")


def _of_kandinsky(scene: Scene, hidden: str, added: tuple[str, ...]) -> str:
    """Refuse a UNet that is not conditioned as its pipeline does."""
    for option, allowed in (("encoder_hid_dim_type", (hidden,)), ("addition_embed_type", added)):
        value = scene.option(option)
        if value not in allowed:
            return f"{option} = {value!r} is not supported"
    return ""


KANDINSKY_3_UNET = Spec(
    class_name="Kandinsky3UNet",
    library="diffusers",
    families=(KANDINSKY_3,),
    models=("unet",),
    source="kandinsky3/pipeline_kandinsky3.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "latent_height", "latent_width")),
        _TIMESTEP,
        Input("encoder_hidden_states", ("rows", "tokens", "encoder_hid_dim")),
        Input("encoder_attention_mask", ("rows", "tokens"), "int64", note="the tokenizer's"),
    ),
    outputs=(Output("sample"),),
    stand_ins=(MASKED_ATTENTION,),
    told=(LORA_SCALE,),
)

SPECS = (UNET_2D_CONDITION, KOLORS_UNET, KANDINSKY_UNET, KANDINSKY_2_2_UNET, KANDINSKY_3_UNET)
