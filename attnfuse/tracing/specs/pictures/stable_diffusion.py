"""Stable Diffusion and Stable Diffusion XL: sizes, and the UNet that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attnfuse.errors import SourceError
from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import IP_ADAPTER_SCALE, LORA_SCALE
from attnfuse.tracing.specs.record import Input, Output, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.shared.controlnets import with_controlnet
from attnfuse.tracing.specs.shared.picture_prompts import PICTURE_PROMPT, SETTINGS, picture_sizes, unknown_adapter
from attnfuse.tracing.specs.sizes import vae_scale


def stable_diffusion_sizes(context: SpecContext) -> Sizes:
    """Height and width: the UNet's `sample_size` × the VAE's downscaling (without one, the VAE's `sample_size`, 512).

    Tokens: as many as the tokenizer fills a text up to, else the text encoder's positions. Guided: two rows an image;
    one where the UNet is distilled and takes guidance as an embedding (`time_cond_proj_dim`, latent consistency).
    """
    scale = vae_scale(context)

    def default() -> tuple[int, int]:
        if context.has("unet"):
            size, factor = context.numbers("sample_size", "unet"), scale
        elif context.has("vae"):  # AutoencoderTiny does not tell
            is_given = context.option("sample_size", model="vae") is not None
            size, factor = context.numbers("sample_size", "vae") if is_given else [512], 1
        else:
            return scale, scale
        return size[0] * factor, size[-1] * factor

    height, width = context.image(default, scale, "the VAE's downscaling")
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=_doubles(context) or not takes_guidance(context, "unet")),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
        "tokens": context.text_filled("text_encoder", "text_encoder_2"),
    }


def _doubles(context: SpecContext) -> bool:
    """Whether the pipeline guides by rows whatever the UNet takes: it has a ControlNet, and starts from a picture."""
    name = context.pipeline.class_name
    return "ControlNet" in name and name.endswith(("Img2ImgPipeline", "InpaintPipeline"))


def takes_guidance(context: SpecContext, model: str = "") -> bool:
    """Whether the UNet is handed guidance as an embedding, and so no second half of a batch without the prompt.

    Of those that double the rows all the same one hands it over too.
    """
    if _doubles(context) and context.pipeline.class_name != "StableDiffusionControlNetPAGInpaintPipeline":
        return False
    return context.has(model or context.model) and context.option("time_cond_proj_dim", model=model) is not None


STABLE_DIFFUSION = PipelineFamily(
    "Stable Diffusion",
    (
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionAdapterPipeline",
        "StableDiffusionControlNetPipeline",
        "StableDiffusionControlNetImg2ImgPipeline",
        "StableDiffusionControlNetInpaintPipeline",
        "LatentConsistencyModelPipeline",
        "LatentConsistencyModelImg2ImgPipeline",
        "StableDiffusionDiffEditPipeline",
        "StableDiffusionLDM3DPipeline",
    ),
    "stable_diffusion/pipeline_stable_diffusion.py",
    stable_diffusion_sizes,
)

STABLE_DIFFUSION_XL = PipelineFamily(
    "Stable Diffusion XL",
    (
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLAdapterPipeline",
        "StableDiffusionXLControlNetPipeline",
        "StableDiffusionXLControlNetImg2ImgPipeline",
        "StableDiffusionXLControlNetInpaintPipeline",
        "StableDiffusionXLControlNetUnionPipeline",
        "StableDiffusionXLControlNetUnionImg2ImgPipeline",
        "StableDiffusionXLControlNetUnionInpaintPipeline",
    ),
    "stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    stable_diffusion_sizes,
)

#: Numbers per image in SDXL's `time_ids`: original size, crop offset and target size.
_SDXL_TIME_IDS = 6


def _has_added_conditions(context: SpecContext) -> bool:
    """Whether it takes SDXL's pooled text and sizes."""
    return bool(context.option("addition_embed_type") == "text_time")


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


def condition_sizes(context: SpecContext) -> Sizes:
    """The widths of the text and, for XL, of the pooled text and of the time ids (five in a refiner)."""
    sizes = {"context": context.numbers("cross_attention_dim")[0]}
    if not _has_added_conditions(context):
        return sizes
    width = context.number("projection_class_embeddings_input_dim")
    per_id = context.number("addition_time_embed_dim")
    text_width = width - _SDXL_TIME_IDS * per_id
    if context.has("text_encoder_2"):
        text_width = context.number("projection_dim", "text_encoder_2")
    ids, rest = divmod(width - text_width, per_id)
    if rest or ids < 1:
        raise SourceError(
            f"{context.path()}: projection_class_embeddings_input_dim {width} does not"
            f" hold text embeddings of {text_width} and time ids of {per_id} each."
        )
    return {**sizes, "pooled": text_width, "time_ids": ids}


_MOST_LAYERS = 1_000
"""Of a block, more than any model has: a damaged configuration may say any number."""


def one_context(context: SpecContext) -> str:
    """Refuse a text width that differs from block to block: no published pipeline has several texts to feed."""
    several = len(set(context.numbers("cross_attention_dim"))) != 1
    return "a cross_attention_dim that differs from block to block is not supported" if several else ""


def residual_shapes(context: SpecContext) -> Sequence[tuple[int, ...]]:
    """The shapes of what the down blocks pass on, which a ControlNet adds to: all but the middle block's."""
    channels = context.numbers("block_out_channels")
    layers = context.numbers("layers_per_block") if context.option("layers_per_block") is not None else [2]
    height, width = context.sizes["latent_height"], context.sizes["latent_width"]
    rows = context.sizes.get("text_rows", context.sizes["rows"])  # AnimateDiff has a text, and a row, for every frame
    shapes = [(rows, channels[0], height, width)]
    for i, channel in enumerate(channels):
        shapes += [(rows, channel, height, width)] * min(layers[i % len(layers)], _MOST_LAYERS)
        if i < len(channels) - 1:
            height, width = (height + 1) // 2, (width + 1) // 2
            shapes.append((rows, channel, height, width))
    return shapes


def middle_shape(context: SpecContext) -> Sequence[tuple[int, ...]]:
    """The shape of what the middle block passes on, as one of a list."""
    return residual_shapes(context)[-1:]


def adapter_channels(context: SpecContext) -> list[int]:
    """The channels of each of a T2I adapter's features; a light one gives one more than it has `channels`."""
    channels = context.numbers("channels", "adapter")
    light = context.option("adapter_type", model="adapter") == "light_adapter"
    return [*channels, channels[-1]] if light else channels


def _adapter_shapes(context: SpecContext) -> Sequence[tuple[int, ...]]:
    """The shapes of a T2I adapter's features: see `controlnets.T2I_ADAPTER`."""
    channels = adapter_channels(context)
    factor = context.number("downscale_factor", "adapter", 8)
    rows, height, width = context.sizes["rows"], context.sizes["height"] // factor, context.sizes["width"] // factor
    halving = {2} if context.option("adapter_type", model="adapter") == "full_adapter_xl" else range(1, len(channels))
    shapes = []
    for i, channel in enumerate(channels):
        if i in halving:
            height, width = (height + 1) // 2, (width + 1) // 2
        shapes.append((rows, channel, height, width))
    return shapes


def controlnet_residuals(rows: str) -> tuple[Input, Input]:
    """What a UNet is handed of the pipeline's ControlNet; `rows` names the size of the first axis."""
    return (
        Input(
            "down_block_residual_{i}",
            (rows, "channels", "height", "width"),
            to="down_block_additional_residuals.{i}",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=residual_shapes,
        ),
        Input(
            "mid_block_residual",
            (rows, "channels", "height", "width"),
            to="mid_block_additional_residual",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its last output",
            each=middle_shape,
        ),
    )


def _with_adapter(context: SpecContext) -> bool:
    return "adapter" in context.pipeline.classes


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
        Input(
            "timestep_cond",
            ("rows", "time_cond_proj_dim"),
            when=takes_guidance,
            only="time_cond_proj_dim is set (latent consistency)",
            note="guidance, less one, as sines and cosines",
        ),
        *ADDED_CONDITIONS,
        *controlnet_residuals("rows"),
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
        Refusal("addition_embed_type", (None, "text_time")),
        Refusal("attention_type", ("default",)),  # GLIGEN: the pipeline passes boxes
    ),
    fixed_settings=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
    ),
)

ADAPTED_UNET = replace(
    UNET_2D_CONDITION,
    inputs=(*UNET_2D_CONDITION.inputs, *PICTURE_PROMPT),
    sizes=lambda context: {**condition_sizes(context), **picture_sizes(context)},
    check=lambda context: one_context(context) or unknown_adapter(context),
    refuse=tuple(one for one in UNET_2D_CONDITION.refuse if one.option != "encoder_hid_dim_type"),
    fixed_settings=(LORA_SCALE, *SETTINGS),
)
"""The same, which may have an IP-Adapter."""

FAMILIES = (
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_XL,
)

SPECS = (ADAPTED_UNET,)
