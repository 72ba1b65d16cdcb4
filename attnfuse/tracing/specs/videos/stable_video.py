"""Stable Video Diffusion: sizes and UNet."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import vae_scale, video_sizes


def _stable_video(context: SpecContext) -> Sizes:
    """Height and width: 576 × 1024, the UNet's `num_frames`, each with latents of its own. The picture is one token.

    Guided.
    """
    spatial = vae_scale(context)
    frames = context.number("num_frames", "unet", 25)
    return {**video_sizes(context, (576, 1024), spatial, spatial, (frames, 1), guided=True), "tokens": 1}


STABLE_VIDEO = PipelineFamily(
    "Stable Video Diffusion",
    ("StableVideoDiffusionPipeline",),
    "stable_video_diffusion/pipeline_stable_video_diffusion.py",
    _stable_video,
    aside=(),
)

STABLE_VIDEO_UNET = Spec(
    class_name="UNetSpatioTemporalConditionModel",
    library="diffusers",
    families=(STABLE_VIDEO,),
    models=("unet",),
    source="stable_video_diffusion/pipeline_stable_video_diffusion.py",
    inputs=(
        Input("sample", ("rows", "frames", "in_channels", "latent_height", "latent_width")),
        Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis"),
        Input("encoder_hidden_states", ("rows", "tokens", "cross_attention_dim"), note="of the picture"),
        Input("added_time_ids", ("rows", 3), note="frames a second, motion bucket, noise"),
    ),
    outputs=SAMPLE,
)

FAMILIES = (STABLE_VIDEO,)

SPECS = (STABLE_VIDEO_UNET,)
