"""Cosmos and Cosmos2: sizes and transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import FRAME_TIMESTEPS
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec
from attnfuse.tracing.specs.sizes import COMPRESSION_RATIOS, video_sizes


def _cosmos(context: SpecContext) -> Sizes:
    """Height and width: 704 × 1280, 121 frames; eight frames make one latent. Tokens: 512.

    Cosmos2: a picture of 768 × 1360, or 93 frames; four make one latent. With and without the prompt are two calls:
    rows are not doubled.
    """
    second = context.pipeline.class_name.startswith("Cosmos2")
    names = ("scale_factor_spatial", "scale_factor_temporal") if second else COMPRESSION_RATIOS
    spatial, temporal = context.number(names[0], "vae", 8), context.number(names[1], "vae", 4 if second else 8)
    pictures = context.pipeline.class_name == "Cosmos2TextToImagePipeline"
    size, frames = ((768, 1360), 1) if pictures else ((704, 1280), 93 if second else 121)
    sizes = video_sizes(context, size, spatial, 2 * spatial, (frames, temporal), guided=False)
    return {**sizes, "tokens": context.text(512)}


COSMOS = PipelineFamily(
    "Cosmos",
    (
        "CosmosTextToWorldPipeline",
        "CosmosVideoToWorldPipeline",
        "Cosmos2TextToImagePipeline",
        "Cosmos2VideoToWorldPipeline",
    ),
    "cosmos/pipeline_cosmos_text2world.py",
    _cosmos,
)


def _of_video(context: SpecContext) -> bool:
    """Whether the first frames are given."""
    return context.pipeline.class_name.endswith("VideoToWorldPipeline")


def _frames_apart(context: SpecContext) -> bool:
    """Whether every frame has a timestep of its own."""
    return context.pipeline.class_name == "Cosmos2VideoToWorldPipeline"


def _frames_a_second(context: SpecContext) -> Mapping[str, Any]:
    """The pipelines' defaults, with which time is measured; a picture has none."""
    fps = {"Cosmos2TextToImagePipeline": None, "Cosmos2VideoToWorldPipeline": 16}
    return {"fps": fps.get(context.pipeline.class_name, 30)}


COSMOS_TRANSFORMER = Spec(
    class_name="CosmosTransformer3DModel",
    library="diffusers",
    families=(COSMOS,),
    models=("transformer",),
    source="cosmos/pipeline_cosmos_video2world.py",
    inputs=(
        Input("hidden_states", ("rows", "sample_channels", "latent_frames", "latent_height", "latent_width")),
        Input(
            "timestep",
            ("rows",),
            when=lambda context: not _frames_apart(context),
            only="the pipeline is not Cosmos2VideoToWorld",
        ),
        Input(
            "frame_timesteps",
            ("frame_rows",),
            to="timestep",
            when=_frames_apart,
            only="the pipeline is Cosmos2VideoToWorld",
            note="of every row's frames in turn, which the pipeline has as rows × 1 × frames × 1 × 1",
        ),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
        Input(
            "condition_mask",
            ("rows", 1, "latent_frames", "latent_height", "latent_width"),
            when=_of_video,
            only="the pipeline is of videos (VideoToWorld)",
            note="1 for the frames that are given, 0 for others",
        ),
        Input(
            "padding_mask",
            (1, 1, "height", "width"),
            when=lambda context: bool(context.option("concat_padding_mask", True)),
            only="concat_padding_mask is set",
            note="zeros",
        ),
    ),
    outputs=SAMPLE,
    constants=_frames_a_second,
    sizes=lambda context: {
        "sample_channels": context.number("in_channels", default=16) - _of_video(context),
        "frame_rows": context.sizes["rows"] * context.sizes["latent_frames"],
    },
    patches=(FRAME_TIMESTEPS,),
)

FAMILIES = (COSMOS,)

SPECS = (COSMOS_TRANSFORMER,)
