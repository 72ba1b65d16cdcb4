"""PixArt-α and PixArt-Σ: sizes and transformer."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import patch_pixels, picture_sizes, vae_scale


def _pixart_alpha(context: SpecContext) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling. Tokens: 120. Guided."""
    scale = vae_scale(context)
    return {**picture_sizes(context, scale, patch_pixels(context, scale)), "tokens": context.text(120)}


PIXART_ALPHA = PipelineFamily(
    "PixArt-α", ("PixArtAlphaPipeline",), "pixart_alpha/pipeline_pixart_alpha.py", _pixart_alpha
)


def _pixart_sigma(context: SpecContext) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling. Tokens: 300. Guided."""
    scale = vae_scale(context)
    return {**picture_sizes(context, scale, patch_pixels(context, scale)), "tokens": context.text(300)}


PIXART_SIGMA = PipelineFamily(
    "PixArt-Σ", ("PixArtSigmaPipeline",), "pixart_alpha/pipeline_pixart_sigma.py", _pixart_sigma
)

TEXT_MASK = Input("encoder_attention_mask", ("rows", "tokens"), "int64", note="the tokenizer's")


def _conditioned(context: SpecContext) -> bool:
    """As `PixArtTransformer2DModel` decides it."""
    given = context.option("use_additional_conditions")
    return context.option("sample_size") == 128 if given is None else bool(given)


PIXART = Spec(
    class_name="PixArtTransformer2DModel",
    library="diffusers",
    families=(PIXART_ALPHA, PIXART_SIGMA),
    models=("transformer",),
    source="pixart_alpha/pipeline_pixart_alpha.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "caption_channels")),
        Input("timestep", ("rows",), "timestep"),
        TEXT_MASK,
        Input(
            "resolution",
            ("rows", 2),
            to="added_cond_kwargs.resolution",
            when=_conditioned,
            only="use_additional_conditions is set (by default where sample_size is 128)",
        ),
        Input(
            "aspect_ratio",
            ("rows", 1),
            to="added_cond_kwargs.aspect_ratio",
            when=_conditioned,
            only="use_additional_conditions is set (by default where sample_size is 128)",
        ),
    ),
    outputs=SAMPLE,
    fixed={"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}, "return_dict": False},
    patches=(MASKED_ATTENTION,),
)

FAMILIES = (
    PIXART_ALPHA,
    PIXART_SIGMA,
)

SPECS = (PIXART,)
