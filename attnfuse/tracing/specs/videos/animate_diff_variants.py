"""AnimateDiff that starts from a picture or a video, and that of XL; the videos of UNets with three axes."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.contract import Processor
from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.pictures.stable_diffusion import (
    ADDED_CONDITIONS,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_XL,
    UNET_2D_CONDITION,
    condition_sizes,
    stable_diffusion_sizes,
)
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.videos.animate_diff import ANIMATE_DIFF, MOTION_UNET

VIDEO_TO_VIDEO = replace(
    ANIMATE_DIFF,
    name="AnimateDiff of a video",
    pipelines=("AnimateDiffVideoToVideoPipeline", "AnimateDiffVideoToVideoControlNetPipeline"),
    source="animatediff/pipeline_animatediff_video2video.py",
    base=ANIMATE_DIFF,
)

PIA = replace(
    ANIMATE_DIFF,
    name="PIA",
    pipelines=("PIAPipeline",),
    source="pia/pipeline_pia.py",
    base=ANIMATE_DIFF,
    channels=lambda latents: (2 * latents + 1,),
)

ANIMATE_DIFF_XL = replace(
    ANIMATE_DIFF,
    name="AnimateDiff XL",
    pipelines=("AnimateDiffSDXLPipeline",),
    source="animatediff/pipeline_animatediff_sdxl.py",
    base=STABLE_DIFFUSION_XL,
)

MOTION_UNET_XL = replace(
    MOTION_UNET,
    families=(ANIMATE_DIFF_XL,),
    source=ANIMATE_DIFF_XL.source,
    inputs=(*MOTION_UNET.inputs[:3], *ADDED_CONDITIONS),
    sizes=condition_sizes,
    refuse=(
        *(refusal for refusal in MOTION_UNET.refuse if refusal.option != "addition_embed_type"),
        Refusal("addition_embed_type", ("text_time",)),
    ),
)

TEXT_TO_VIDEO = replace(
    ANIMATE_DIFF,
    name="Text to video",
    pipelines=("TextToVideoSDPipeline", "VideoToVideoSDPipeline"),
    source="text_to_video_synthesis/pipeline_text_to_video_synth.py",
    base=ANIMATE_DIFF,
)

UNET_3D = Spec(
    class_name="UNet3DConditionModel",
    library="diffusers",
    families=(TEXT_TO_VIDEO,),
    models=("unet",),
    source=TEXT_TO_VIDEO.source,
    inputs=(
        Input("sample", ("rows", "in_channels", "frames", "latent_height", "latent_width")),
        Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis"),
        Input("encoder_hidden_states", ("rows", "tokens", "cross_attention_dim"), note="for all frames of a video"),
    ),
    outputs=SAMPLE,
    fixed_settings=(LORA_SCALE,),
)


def _zero(context: SpecContext) -> Sizes:
    """Height and width as Stable Diffusion's. 8 frames, every one rows of its own: those of all are "frame_rows".

    The first frame is denoised alone for some steps, then all together. Always guided: two rows a frame.
    """
    sizes, frames = stable_diffusion_sizes(context), context.shapes.frames or 8
    return {**sizes, "frames": frames, "frame_rows": sizes["rows"] * frames}


TEXT_TO_VIDEO_ZERO = PipelineFamily(
    "Text to video zero",
    ("TextToVideoZeroPipeline",),
    "text_to_video_synthesis/pipeline_text_to_video_zero.py",
    _zero,
    base=STABLE_DIFFUSION,
)

TEXT_TO_VIDEO_ZERO_XL = PipelineFamily(
    "Text to video zero XL",
    ("TextToVideoZeroSDXLPipeline",),
    "text_to_video_synthesis/pipeline_text_to_video_zero_sdxl.py",
    _zero,
    base=STABLE_DIFFUSION_XL,
)


def _cross_frame(context: SpecContext) -> tuple[Processor, ...]:
    """Every frame's self-attention takes the keys and values of the first; which that is, it tells by the rows."""
    xl = context.pipeline.class_name == "TextToVideoZeroSDXLPipeline"
    source = (TEXT_TO_VIDEO_ZERO_XL if xl else TEXT_TO_VIDEO_ZERO).source
    module = f"pipelines.{source.removesuffix('.py').replace('/', '.')}"
    return (Processor(f"{module}:CrossFrameAttnProcessor2_0", arguments={"batch_size": 2}),)


def _zero_unet(component: str, rows: str) -> Spec:
    """The UNet for that many rows."""
    plain = (one for one in UNET_2D_CONDITION.inputs if one.name in ("sample", "timestep", "encoder_hidden_states"))
    inputs = (replace(one, shape=(rows, *one.shape[1:])) if len(one.shape) > 1 else one for one in plain)
    return replace(
        UNET_2D_CONDITION,
        families=(TEXT_TO_VIDEO_ZERO, TEXT_TO_VIDEO_ZERO_XL),
        source=TEXT_TO_VIDEO_ZERO.source,
        component=component,
        inputs=(*inputs, *(replace(one, shape=(rows, *one.shape[1:])) for one in ADDED_CONDITIONS)),
        fixed_settings=(LORA_SCALE,),
        processors=_cross_frame,
    )


FAMILIES = (
    VIDEO_TO_VIDEO,
    PIA,
    ANIMATE_DIFF_XL,
    TEXT_TO_VIDEO,
    TEXT_TO_VIDEO_ZERO,
    TEXT_TO_VIDEO_ZERO_XL,
)

SPECS = (
    MOTION_UNET_XL,
    UNET_3D,
    _zero_unet("{model}_all_frames", "frame_rows"),
    _zero_unet("{model}_first_frame", "rows"),
)
