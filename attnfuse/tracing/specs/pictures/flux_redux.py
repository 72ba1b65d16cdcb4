"""Flux Redux, which makes of a picture what Flux takes for a text: sizes and the picture's embedding."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.record import Input, Output, PipelineFamily, Spec


def _flux_redux(context: SpecContext) -> Sizes:
    """A picture of the image encoder's `image_size`. Tokens: 512 of T5, and as many as CLIP's tokenizer fills up to."""
    return {
        "batch": context.shapes.batch or 1,
        "tokens": context.text(512, 512),
        "text_encoder_tokens": context.filled("text_encoder"),
    }


FLUX_REDUX = PipelineFamily(
    "Flux Redux",
    ("FluxPriorReduxPipeline",),
    "flux/pipeline_flux_prior_redux.py",
    _flux_redux,
    aside=(),  # the picture passes through its image encoder
)


def _patches(context: SpecContext) -> Sizes:
    side = context.number("image_size", "image_encoder", 384) // context.number("patch_size", "image_encoder", 14)
    return {"patches": side * side, "redux_dim": context.number("redux_dim", default=1152)}


REDUX_EMBEDDER = Spec(
    class_name="ReduxImageEncoder",
    library="diffusers",
    families=(FLUX_REDUX,),
    models=("image_embedder",),
    source="flux/pipeline_flux_prior_redux.py",
    inputs=(Input("image_latents", ("batch", "patches", "redux_dim"), to="x", note="the image encoder's last state"),),
    outputs=(Output("image_embeds"),),
    sizes=_patches,
)

FAMILIES = (FLUX_REDUX,)

SPECS = (REDUX_EMBEDDER,)
