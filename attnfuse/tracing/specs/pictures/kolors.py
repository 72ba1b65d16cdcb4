"""Kolors: sizes, and its UNet, which is Stable Diffusion XL's with a wider text."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.pictures.stable_diffusion import UNET_2D_CONDITION, condition_sizes, stable_diffusion_sizes
from attnfuse.tracing.specs.record import PipelineFamily, Refusal


def _kolors(context: SpecContext) -> Sizes:
    """Height and width: the UNet's `sample_size` × the VAE's downscaling. Tokens: 256. Guided: two rows an image."""
    return {**stable_diffusion_sizes(context), "tokens": context.text(256)}


KOLORS = PipelineFamily("Kolors", ("KolorsPipeline", "KolorsImg2ImgPipeline"), "kolors/pipeline_kolors.py", _kolors)


def _kolors_sizes(context: SpecContext) -> Sizes:
    """Its text is projected to the width that its attention takes."""
    return {**condition_sizes(context), "context": context.number("encoder_hid_dim")}


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

FAMILIES = (KOLORS,)

SPECS = (KOLORS_UNET,)
