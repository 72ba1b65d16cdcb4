"""AuraFlow: sizes and transformer."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import patch_pixels, picture_sizes, vae_scale


def _aura_flow(context: SpecContext) -> Sizes:
    """Height and width: 1024. Tokens: 256. Guided."""
    scale = vae_scale(context)
    return {**picture_sizes(context, scale, patch_pixels(context, scale), side=1024), "tokens": context.text(256)}


AURA_FLOW = PipelineFamily("AuraFlow", ("AuraFlowPipeline",), "aura_flow/pipeline_aura_flow.py", _aura_flow)

AURA_FLOW_TRANSFORMER = Spec(
    class_name="AuraFlowTransformer2DModel",
    library="diffusers",
    families=(AURA_FLOW,),
    models=("transformer",),
    source="aura_flow/pipeline_aura_flow.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("timestep", ("rows",), note="the scheduler's, by a thousand"),
    ),
    outputs=SAMPLE,
    fixed_settings=(LORA_SCALE,),
)

FAMILIES = (AURA_FLOW,)

SPECS = (AURA_FLOW_TRANSFORMER,)
