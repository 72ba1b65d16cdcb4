"""Marigold, which tells depth, normals or materials of a picture: sizes and UNet."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.pictures.stable_diffusion import UNET_2D_CONDITION
from attnfuse.tracing.specs.record import PipelineFamily
from attnfuse.tracing.specs.sizes import vae_scale


def _marigold(context: SpecContext) -> Sizes:
    """Height and width: the pipeline's `default_processing_resolution`, else 768, for what it makes of a picture.

    Tokens: the two of an empty text. Not guided: one row a picture.
    """
    scale, side = vae_scale(context), context.pipeline.options.get("default_processing_resolution") or 768
    height, width = context.image(lambda: (side, side), scale, "the VAE's downscaling")
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=False),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
        "tokens": context.text(2),
    }


MARIGOLD = PipelineFamily(
    "Marigold",
    ("MarigoldDepthPipeline", "MarigoldNormalsPipeline", "MarigoldIntrinsicsPipeline"),
    "marigold/pipeline_marigold_depth.py",
    _marigold,
)

MARIGOLD_UNET = replace(
    UNET_2D_CONDITION,
    families=(MARIGOLD,),
    source="marigold/pipeline_marigold_depth.py",
    inputs=UNET_2D_CONDITION.inputs[:3],
    fixed_settings=(),
)

FAMILIES = (MARIGOLD,)

SPECS = (MARIGOLD_UNET,)
