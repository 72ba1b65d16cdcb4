"""CogView3-Plus and CogView4: sizes and transformers."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import patch_pixels, picture_sizes, vae_scale


def _cogview_3(context: SpecContext) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling. Tokens: 224. Guided."""
    scale = vae_scale(context)
    return {**picture_sizes(context, scale, patch_pixels(context, scale)), "tokens": context.text(224)}


COGVIEW_3 = PipelineFamily("CogView3-Plus", ("CogView3PlusPipeline",), "cogview3/pipeline_cogview3plus.py", _cogview_3)


def _cogview_4(context: SpecContext) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling.

    Tokens: 1024, the most; the pipeline hands over as many as the prompt has, rounded up to 16. With and without the
    prompt are two calls: rows are not doubled.
    """
    scale = vae_scale(context)
    return {
        **picture_sizes(context, scale, patch_pixels(context, scale), guided=False),
        "tokens": context.text(1024, 1024),
    }


COGVIEW_4 = PipelineFamily(
    "CogView4", ("CogView4Pipeline", "CogView4ControlPipeline"), "cogview4/pipeline_cogview4.py", _cogview_4
)

_COGVIEW_SIZES = (
    Input("original_size", ("rows", 2)),
    Input("target_size", ("rows", 2)),
    Input("crop_coords", ("rows", 2)),
)

COGVIEW_3_TRANSFORMER = Spec(
    class_name="CogView3PlusTransformer2DModel",
    library="diffusers",
    families=(COGVIEW_3,),
    models=("transformer",),
    source="cogview3/pipeline_cogview3plus.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
        Input("timestep", ("rows",), "timestep"),
        *_COGVIEW_SIZES,
    ),
    outputs=SAMPLE,
)

COGVIEW_4_TRANSFORMER = Spec(
    class_name="CogView4Transformer2DModel",
    library="diffusers",
    families=(COGVIEW_4,),
    models=("transformer",),
    source="cogview4/pipeline_cogview4.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
        Input("timestep", ("rows",), "float32"),
        *_COGVIEW_SIZES,
    ),
    outputs=SAMPLE,
    fixed_settings=(LORA_SCALE,),
)

FAMILIES = (
    COGVIEW_3,
    COGVIEW_4,
)

SPECS = (
    COGVIEW_3_TRANSFORMER,
    COGVIEW_4_TRANSFORMER,
)
