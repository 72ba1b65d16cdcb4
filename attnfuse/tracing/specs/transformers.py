"""The transformers: one entry a class.

Imports `families` and `record` of this room.
"""

from __future__ import annotations

from attnfuse.tracing.specs.families import FLUX, STABLE_DIFFUSION_3
from attnfuse.tracing.specs.record import Input, Output, Scene, Spec

SD3 = Spec(
    class_name="SD3Transformer2DModel",
    library="diffusers",
    families=(STABLE_DIFFUSION_3,),
    models=("transformer",),
    source="stable_diffusion_3/pipeline_stable_diffusion_3.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("pooled_projections", ("rows", "pooled_projection_dim")),
        Input("timestep", ("rows",), "float32", note="the flow-matching scheduler's, one a row"),
    ),
    outputs=(Output("sample"),),
)


def _guided(scene: Scene) -> bool:
    return bool(scene.option("guidance_embeds", False))


FLUX_TRANSFORMER = Spec(
    class_name="FluxTransformer2DModel",
    library="diffusers",
    families=(FLUX,),
    models=("transformer",),
    source="flux/pipeline_flux.py",
    inputs=(
        Input("hidden_states", ("rows", "image_tokens", "in_channels"), note="latents packed two by two"),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("pooled_projections", ("rows", "pooled_projection_dim")),
        Input("timestep", ("rows",), note="the scheduler's, by a thousand"),
        Input("img_ids", ("image_tokens", 3)),
        Input("txt_ids", ("tokens", 3)),
        Input("guidance", ("rows",), "float32", when=_guided, only="guidance_embeds is set (Flux dev)"),
    ),
    outputs=(Output("sample"),),
)

SPECS = (SD3, FLUX_TRANSFORMER)
