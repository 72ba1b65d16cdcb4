"""LTX-Video: sizes and transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.record import SAMPLE, FixedSetting, Input, Output, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.sizes import video_sizes


def _ltx(context: SpecContext) -> Sizes:
    """Height and width: 512 × 704, 161 frames; one latent of 8 frames, 32 × 32 pixels each. Guided.

    Latents are packed into "video_tokens". Tokens: 128, of LTXCondition 256. A film that is made larger
    (LTXLatentUpsample) is decoded with twice the height and width that are asked for here.
    """
    spatial = context.number("spatial_compression_ratio", "vae", 32)
    temporal = context.number("temporal_compression_ratio", "vae", 8)
    sizes = video_sizes(context, (512, 704), spatial, spatial, (161, temporal), guided=True)
    tokens = sizes["latent_frames"] * sizes["latent_height"] * sizes["latent_width"]
    return {
        **sizes,
        "spatial": spatial,
        "temporal": temporal,
        "video_tokens": tokens,
        "tokens": context.text(256 if _by_coordinates(context) else 128),
    }


LTX = PipelineFamily(
    "LTX-Video",
    ("LTXPipeline", "LTXImageToVideoPipeline", "LTXConditionPipeline", "LTXLatentUpsamplePipeline"),
    "ltx/pipeline_ltx.py",
    _ltx,
)


def _by_coordinates(context: SpecContext) -> bool:
    """Whether places are handed over, not what they are computed from: conditions may lie anywhere in the film."""
    return context.runs("LTXConditionPipeline")


def _of_pictures(context: SpecContext) -> bool:
    """Whether pictures are given, whose latents have less noise, and so a timestep of their own."""
    return context.runs("LTXImageToVideoPipeline", "LTXConditionPipeline")


def _ltx_constants(context: SpecContext) -> Mapping[str, Any]:
    """Numbers of latents, and of what they stand for at the pipeline's 25 frames a second."""
    if _by_coordinates(context):
        return {}
    sizes = context.sizes
    return {
        "num_frames": sizes["latent_frames"],
        "height": sizes["latent_height"],
        "width": sizes["latent_width"],
        "rope_interpolation_scale": (sizes["temporal"] / 25, sizes["spatial"], sizes["spatial"]),
    }


LTX_TRANSFORMER = Spec(
    class_name="LTXVideoTransformer3DModel",
    library="diffusers",
    families=(LTX,),
    models=("transformer",),
    source="ltx/pipeline_ltx.py",
    inputs=(
        Input("hidden_states", ("rows", "video_tokens", "in_channels"), note="latents packed into tokens"),
        Input("encoder_hidden_states", ("rows", "tokens", "caption_channels")),
        Input(
            "timestep",
            ("rows",),
            "float32",
            when=lambda context: not _of_pictures(context),
            only="the pipeline is LTX",
        ),
        Input(
            "token_timesteps",
            ("rows", "video_tokens"),
            "float32",
            to="timestep",
            when=_of_pictures,
            only="the pipeline is LTXImageToVideo or LTXCondition",
            note="0 where a picture is given",
        ),
        Input("encoder_attention_mask", ("rows", "tokens"), "bool"),
        Input(
            "video_coords",
            ("rows", 3, "video_tokens"),
            "float32",
            when=_by_coordinates,
            only="the pipeline is LTXCondition",
            note="seconds, row and column, in pixels, of each token",
        ),
    ),
    outputs=SAMPLE,
    constants=_ltx_constants,
    refuse=(Refusal("patch_size", (1,)), Refusal("patch_size_t", (1,))),
    patches=(MASKED_ATTENTION,),
    fixed_settings=(
        LORA_SCALE,
        FixedSetting(
            "frame_index",
            0,
            "what is given is at the film's beginning: elsewhere it adds tokens, which would be another graph",
            when=_by_coordinates,
            only="in LTXCondition",
        ),
    ),
)

LTX_UPSAMPLER = Spec(
    class_name="LTXLatentUpsamplerModel",
    library="diffusers",
    families=(LTX,),
    models=("latent_upsampler",),
    source="ltx/pipeline_ltx_latent_upsample.py",
    inputs=(
        Input(
            "latents",
            ("batch", "in_channels", "latent_frames", "latent_height", "latent_width"),
            to="hidden_states",
        ),
    ),
    outputs=(Output("upsampled", "result"),),
    fixed={},
    refuse=(Refusal("temporal_upsample", (False,)),),  # more frames, which the pipeline does not reckon with
)

FAMILIES = (LTX,)

SPECS = (
    LTX_TRANSFORMER,
    LTX_UPSAMPLER,
)
