"""DiT: sizes and transformer."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import patch_pixels, picture_sizes, vae_scale


def _dit(context: SpecContext) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling. No text. Guided."""
    scale = vae_scale(context)
    return picture_sizes(context, scale, patch_pixels(context, scale))


DIT = PipelineFamily("DiT", ("DiTPipeline",), "dit/pipeline_dit.py", _dit)

DIT_TRANSFORMER = Spec(
    class_name="DiTTransformer2DModel",
    library="diffusers",
    families=(DIT,),
    models=("transformer",),
    source="dit/pipeline_dit.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("timestep", ("rows",), "timestep"),
        Input("class_labels", ("rows",), "int64"),
    ),
    outputs=SAMPLE,
)

FAMILIES = (DIT,)

SPECS = (DIT_TRANSFORMER,)
