"""Latte: sizes and transformer."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import vae_scale, video_sizes


def _latte(context: SpecContext) -> Sizes:
    """Height, width and frames: the transformer's `sample_size` × the VAE's downscaling, `video_length`.

    Every frame has latents of its own. Tokens: 120, the most; the pipeline cuts what the prompt does not use. Guided.
    """
    spatial = vae_scale(context)
    side, frames = 512, 16
    if context.has("transformer"):
        side = context.number("sample_size", "transformer") * spatial
        frames = context.number("video_length", "transformer", 16)
    patch = context.number("patch_size", "transformer", 2)
    sizes = video_sizes(context, (side, side), spatial, spatial * patch, (frames, 1), guided=True)
    return {**sizes, "tokens": context.text(120)}


LATTE = PipelineFamily("Latte", ("LattePipeline",), "latte/pipeline_latte.py", _latte)

LATTE_TRANSFORMER = Spec(
    class_name="LatteTransformer3DModel",
    library="diffusers",
    families=(LATTE,),
    models=("transformer",),
    source="latte/pipeline_latte.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "frames", "latent_height", "latent_width")),
        Input("timestep", ("rows",), "timestep"),
        Input("encoder_hidden_states", ("rows", "tokens", "caption_channels")),
    ),
    outputs=SAMPLE,
    fixed={"enable_temporal_attentions": True, "return_dict": False},
)

FAMILIES = (LATTE,)

SPECS = (LATTE_TRANSFORMER,)
