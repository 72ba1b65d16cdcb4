"""Wan, and SkyReels 2, which is made of it: sizes and transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.patch_names import STACKED_ROTARY
from attnfuse.tracing.specs.record import SAMPLE, FixedSetting, Input, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.sizes import video_sizes


def _wan(context: SpecContext) -> Sizes:
    """Height and width: 480 × 832, 81 frames; four frames make one latent. Tokens: 512.

    With and without the prompt are two calls: rows are not doubled.
    """
    spatial = context.number("scale_factor_spatial", "vae", 8)
    temporal = context.number("scale_factor_temporal", "vae", 4)
    sizes = video_sizes(context, (480, 832), spatial, 2 * spatial, (81, temporal), guided=False)
    return {**sizes, "tokens": context.text(512)}


WAN = PipelineFamily(
    "Wan",
    (
        "WanPipeline",
        "WanImageToVideoPipeline",
        "WanVideoToVideoPipeline",
        "WanVACEPipeline",
        "LucyEditPipeline",
    ),
    "wan/pipeline_wan.py",
    _wan,
    aside=(),  # the picture of a video passes through its image encoder
)


def _sky_reels_2(context: SpecContext) -> Sizes:
    """Height and width: 544 × 960, 97 frames; four frames make one latent. Tokens: 512.

    With and without the prompt are two calls: rows are not doubled.
    """
    spatial = context.number("scale_factor_spatial", "vae", 8)
    temporal = context.number("scale_factor_temporal", "vae", 4)
    sizes = video_sizes(context, (544, 960), spatial, 2 * spatial, (97, temporal), guided=False)
    return {**sizes, "tokens": context.text(512)}


SKY_REELS_FORCING = (
    "SkyReelsV2DiffusionForcingPipeline",
    "SkyReelsV2DiffusionForcingImageToVideoPipeline",
    "SkyReelsV2DiffusionForcingVideoToVideoPipeline",
)
"""Those of diffusion forcing, in which every frame has a timestep of its own."""

SKY_REELS_2 = PipelineFamily(
    "SkyReels 2",
    (
        "SkyReelsV2Pipeline",
        "SkyReelsV2ImageToVideoPipeline",
        *SKY_REELS_FORCING,
    ),
    "skyreels_v2/pipeline_skyreels_v2.py",
    _sky_reels_2,
    aside=(),
)


def _patches_apart(context: SpecContext) -> bool:
    """Whether every patch has a timestep of its own (2.2, of text and picture)."""
    return bool(context.pipeline.options.get("expand_timesteps"))


def two_pictures(context: SpecContext) -> bool:
    """Whether the transformer sees the last picture beside the first (2.1, of first and last frame)."""
    return context.option("pos_embed_seq_len", model="transformer") is not None


def _wan_sizes(context: SpecContext) -> Sizes:
    sizes = context.sizes
    return {
        "patches": sizes["latent_frames"] * (sizes["latent_height"] // 2) * (sizes["latent_width"] // 2),
        "pictures": sizes["rows"] * (2 if two_pictures(context) else 1),
    }


WAN_TRANSFORMER = Spec(
    class_name="WanTransformer3DModel",
    library="diffusers",
    families=(WAN,),
    models=("transformer", "transformer_2"),
    source="wan/pipeline_wan.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_frames", "latent_height", "latent_width")),
        Input(
            "timestep",
            ("rows",),
            "timestep",
            when=lambda context: not _patches_apart(context),
            only="the pipeline has no expand_timesteps",
        ),
        Input(
            "patch_timesteps",
            ("rows", "patches"),
            "float32",
            to="timestep",
            when=_patches_apart,
            only="the pipeline has expand_timesteps (2.2, of text and picture)",
            note="0 where a picture is given",
        ),
        Input("encoder_hidden_states", ("rows", "tokens", "text_dim")),
        Input(
            "encoder_hidden_states_image",
            ("pictures", 257, "image_dim"),
            when=lambda context: context.option("image_dim") is not None,
            only="image_dim is set (2.1, of a picture)",
            note="the image encoder's; the first and the last where pos_embed_seq_len is set",
        ),
    ),
    outputs=SAMPLE,
    sizes=_wan_sizes,
    fixed_settings=(LORA_SCALE,),
)

WAN_VACE_TRANSFORMER = replace(
    WAN_TRANSFORMER,
    class_name="WanVACETransformer3DModel",
    source="wan/pipeline_wan_vace.py",
    inputs=(
        *WAN_TRANSFORMER.inputs,
        Input(
            "control_hidden_states",
            ("rows", "control_channels", "latent_frames", "latent_height", "latent_width"),
            note="the video of conditions, encoded by the VAE, and its mask; without pictures of reference",
        ),
        Input("control_hidden_states_scale", ("control_layers",), note="of each layer of conditions"),
    ),
    sizes=lambda context: {
        **_wan_sizes(context),
        "control_channels": context.number("vace_in_channels", default=96),
        "control_layers": len(context.option("vace_layers", range(0, 40, 5))),
    },
)


def _forced(context: SpecContext) -> bool:
    return context.runs(*SKY_REELS_FORCING)


def _forcing(context: SpecContext) -> Mapping[str, Any]:
    """Of every row whether a second has more than 16 frames, as those of the default, 24."""
    return {"enable_diffusion_forcing": True, "fps": (1,) * context.sizes["rows"]} if _forced(context) else {}


SKY_REELS_2_TRANSFORMER = replace(
    WAN_TRANSFORMER,
    class_name="SkyReelsV2Transformer3DModel",
    families=(SKY_REELS_2,),
    models=("transformer",),
    source="skyreels_v2/pipeline_skyreels_v2.py",
    inputs=(
        WAN_TRANSFORMER.inputs[0],
        Input(
            "timestep",
            ("rows",),
            "timestep",
            when=lambda context: not _forced(context),
            only="the pipeline is not of diffusion forcing",
        ),
        Input(
            "frame_timesteps",
            ("rows", "latent_frames"),
            "int64",
            to="timestep",
            when=_forced,
            only="the pipeline is of diffusion forcing",
        ),
        *WAN_TRANSFORMER.inputs[3:],
    ),
    constants=_forcing,
    refuse=(
        Refusal("num_frame_per_block", (1,)),
        Refusal("pos_embed_seq_len"),
    ),
    patches=(*WAN_TRANSFORMER.patches, STACKED_ROTARY),
    fixed_settings=(
        LORA_SCALE,
        FixedSetting(
            "fps", 24, "the embedding is that of more than 16 frames a second", _forced, "in diffusion forcing"
        ),
        FixedSetting(
            "causal_block_size",
            None,
            "every frame attends to all: blocks that see no later one would be another graph",
            _forced,
            "in diffusion forcing",
        ),
    ),
)

FAMILIES = (
    WAN,
    SKY_REELS_2,
)

SPECS = (
    WAN_TRANSFORMER,
    SKY_REELS_2_TRANSFORMER,
    WAN_VACE_TRANSFORMER,
)
