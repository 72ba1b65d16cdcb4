"""DeepFloyd IF, which denoises pixels: sizes and UNet."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.record import Input, Output, PipelineFamily, Refusal, Spec


def _deepfloyd_if(context: SpecContext) -> Sizes:
    """Height and width: the UNet's `sample_size`, of pixels. Tokens: 77. Guided: two rows an image."""
    sides = context.numbers("sample_size", "unet") if context.has("unet") else [64]
    height, width = context.image(lambda: (sides[0], sides[-1]), 1, "")
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=True),
        "height": height,
        "width": width,
        "tokens": context.text(77),
    }


_LARGER = (
    "IFSuperResolutionPipeline",
    "IFImg2ImgSuperResolutionPipeline",
    "IFInpaintingSuperResolutionPipeline",
)

DEEPFLOYD_IF = PipelineFamily(
    "DeepFloyd IF",
    ("IFPipeline", "IFImg2ImgPipeline", "IFInpaintingPipeline", *_LARGER),
    "deepfloyd_if/pipeline_if.py",
    _deepfloyd_if,
    aside=("safety_checker", "watermarker"),
)


def _larger(context: SpecContext) -> bool:
    """Whether a small picture, with noise, is made larger."""
    return context.runs(*_LARGER)


DEEPFLOYD_IF_UNET = Spec(
    class_name="UNet2DConditionModel",
    library="diffusers",
    families=(DEEPFLOYD_IF,),
    models=("unet",),
    source="deepfloyd_if/pipeline_if_superresolution.py",
    inputs=(
        Input(
            "sample", ("rows", "in_channels", "height", "width"), note="the small picture behind it, if there is one"
        ),
        Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis"),
        Input("encoder_hidden_states", ("rows", "tokens", "encoder_hid_dim")),
        Input(
            "class_labels",
            ("rows",),
            "int64",
            when=_larger,
            only="a small picture is made larger",
            note="how much noise it has: `noise_level`",
        ),
    ),
    outputs=(Output("sample"),),
    refuse=(
        Refusal("encoder_hid_dim_type", ("text_proj", None)),
        Refusal("addition_embed_type", ("text",)),
        Refusal("class_embed_type", (None, "timestep")),
        Refusal("num_class_embeds"),
    ),
    fixed_settings=(LORA_SCALE,),
)

FAMILIES = (DEEPFLOYD_IF,)

SPECS = (DEEPFLOYD_IF_UNET,)
