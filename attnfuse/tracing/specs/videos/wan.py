"""Wan, and SkyReels 2, which is made of it: sizes and transformers."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.patch_names import STACKED_ROTARY
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Refusal, Spec
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
    ("WanPipeline", "WanImageToVideoPipeline", "WanVideoToVideoPipeline", "WanVACEPipeline"),
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


SKY_REELS_2 = PipelineFamily(
    "SkyReels 2",
    ("SkyReelsV2Pipeline", "SkyReelsV2ImageToVideoPipeline"),
    "skyreels_v2/pipeline_skyreels_v2.py",
    _sky_reels_2,
    aside=(),
)

WAN_TRANSFORMER = Spec(
    class_name="WanTransformer3DModel",
    library="diffusers",
    families=(WAN,),
    models=("transformer", "transformer_2"),
    source="wan/pipeline_wan.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_frames", "latent_height", "latent_width")),
        Input("timestep", ("rows",), "timestep"),
        Input("encoder_hidden_states", ("rows", "tokens", "text_dim")),
        Input(
            "encoder_hidden_states_image",
            ("rows", 257, "image_dim"),
            when=lambda context: context.option("image_dim") is not None,
            only="image_dim is set (2.1, of a picture)",
            note="the image encoder's",
        ),
    ),
    outputs=SAMPLE,
    check=lambda context: (
        "expand_timesteps is set, and a timestep for every patch is not supported"
        if context.pipeline.options.get("expand_timesteps")
        else ""
    ),
    refuse=(Refusal("pos_embed_seq_len"),),  # first and last frame: two pictures
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
        "control_channels": context.number("vace_in_channels", default=96),
        "control_layers": len(context.option("vace_layers", range(0, 40, 5))),
    },
)

SKY_REELS_2_TRANSFORMER = replace(
    WAN_TRANSFORMER,
    class_name="SkyReelsV2Transformer3DModel",
    families=(SKY_REELS_2,),
    models=("transformer",),
    source="skyreels_v2/pipeline_skyreels_v2.py",
    check=None,
    # Those of diffusion forcing have a timestep for every frame: other pipelines.
    refuse=(
        Refusal("inject_sample_info", (False,)),
        Refusal("num_frame_per_block", (1,)),
        Refusal("pos_embed_seq_len"),
    ),
    patches=(*WAN_TRANSFORMER.patches, STACKED_ROTARY),
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
