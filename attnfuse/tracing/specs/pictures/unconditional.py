"""Pipelines without a text (DDPM, DDIM, consistency models): sizes and UNet."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.record import Input, Output, PipelineFamily, Spec


def _unconditional(context: SpecContext) -> Sizes:
    """Height and width: the UNet's `sample_size`, of pixels. No text, and so not guided."""
    sides = context.numbers("sample_size", "unet")
    height, width = context.image(lambda: (sides[0], sides[-1]), 1, "")
    return {"batch": context.shapes.batch or 1, "height": height, "width": width}


UNCONDITIONAL = PipelineFamily(
    "Unconditional",
    ("DDPMPipeline", "DDIMPipeline", "ConsistencyModelPipeline"),
    "ddpm/pipeline_ddpm.py",
    _unconditional,
)

UNET_2D = Spec(
    class_name="UNet2DModel",
    library="diffusers",
    families=(UNCONDITIONAL,),
    models=("unet",),
    source="ddpm/pipeline_ddpm.py",
    inputs=(
        Input("sample", ("batch", "in_channels", "height", "width")),
        Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis"),
        Input(
            "class_labels",
            ("batch",),
            "int64",
            when=lambda context: context.option("num_class_embeds") is not None,
            only="num_class_embeds is set",
        ),
    ),
    outputs=(Output("sample"),),
    sizes=lambda context: {"in_channels": context.number("in_channels", default=3)},
)

FAMILIES = (UNCONDITIONAL,)

SPECS = (UNET_2D,)
