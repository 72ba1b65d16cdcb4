"""EasyAnimate: sizes and transformer."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.sizes import video_sizes


def _easy_animate(context: SpecContext) -> Sizes:
    """Height and width: 512, 49 frames; four frames make one latent. Tokens: 256. Guided."""
    sizes = video_sizes(context, (512, 512), 8, 16, (49, 4), guided=True)
    return {**sizes, "tokens": context.text(256)}


EASY_ANIMATE = PipelineFamily(
    "EasyAnimate", ("EasyAnimatePipeline",), "easyanimate/pipeline_easyanimate.py", _easy_animate
)

# The pipeline hands over no mask of the text.
EASY_ANIMATE_TRANSFORMER = Spec(
    class_name="EasyAnimateTransformer3DModel",
    library="diffusers",
    families=(EASY_ANIMATE,),
    models=("transformer",),
    source="easyanimate/pipeline_easyanimate.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_frames", "latent_height", "latent_width")),
        Input("timestep", ("rows",)),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
    ),
    outputs=SAMPLE,
    refuse=(Refusal("text_embed_dim_t5"),),
)

FAMILIES = (EASY_ANIMATE,)

SPECS = (EASY_ANIMATE_TRANSFORMER,)
