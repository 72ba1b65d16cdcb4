"""Mochi: sizes and transformer."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.patch_names import MASKED_TEXT
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import video_sizes


def _mochi(context: SpecContext) -> Sizes:
    """Height and width: 480 × 848, 19 frames; six frames make one latent. Tokens: 256. Guided."""
    patch = context.number("patch_size", "transformer", 2)
    sizes = video_sizes(context, (480, 848), 8, 8 * patch, (19, 6), guided=True)
    return {**sizes, "tokens": context.text(256)}


MOCHI = PipelineFamily("Mochi", ("MochiPipeline",), "mochi/pipeline_mochi.py", _mochi)

MOCHI_TRANSFORMER = Spec(
    class_name="MochiTransformer3DModel",
    library="diffusers",
    families=(MOCHI,),
    models=("transformer",),
    source="mochi/pipeline_mochi.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_frames", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
        Input("timestep", ("rows",)),
        Input("encoder_attention_mask", ("rows", "tokens"), "bool"),
    ),
    outputs=SAMPLE,
    patches=(MASKED_TEXT,),
    fixed_settings=(LORA_SCALE,),
)

FAMILIES = (MOCHI,)

SPECS = (MOCHI_TRANSFORMER,)
