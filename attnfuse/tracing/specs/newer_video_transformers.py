"""The transformers of newer video pipelines: one entry a class.

Imports `record`, `video_families` and `video_transformers` of this room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attnfuse.tracing.specs.record import FRAME_TIMESTEPS, Input, Output, Refusal, Scene, Sizes, Spec
from attnfuse.tracing.specs.video_families import (
    CONSIS_ID,
    COSMOS,
    EASY_ANIMATE,
    KANDINSKY_5,
    SKY_REELS_2,
)
from attnfuse.tracing.specs.video_transformers import COGVIDEOX_TRANSFORMER, WAN_TRANSFORMER

_SAMPLE = (Output("sample"),)


def _of_video(scene: Scene) -> bool:
    """Whether the first frames are given."""
    return scene.pipeline.class_name.endswith("VideoToWorldPipeline")


def _frames_apart(scene: Scene) -> bool:
    """Whether every frame has a timestep of its own."""
    return scene.pipeline.class_name == "Cosmos2VideoToWorldPipeline"


def _frames_a_second(scene: Scene) -> Mapping[str, Any]:
    """The pipelines' defaults, with which time is measured; a picture has none."""
    fps = {"Cosmos2TextToImagePipeline": None, "Cosmos2VideoToWorldPipeline": 16}
    return {"fps": fps.get(scene.pipeline.class_name, 30)}


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
            when=lambda scene: not _frames_apart(scene),
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
            when=lambda scene: bool(scene.option("concat_padding_mask", True)),
            only="concat_padding_mask is set",
            note="zeros",
        ),
    ),
    outputs=_SAMPLE,
    constants=_frames_a_second,
    sizes=lambda scene: {
        "sample_channels": scene.number("in_channels", default=16) - _of_video(scene),
        "frame_rows": scene.sizes["rows"] * scene.sizes["latent_frames"],
    },
    stand_ins=(FRAME_TIMESTEPS,),
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
    sizes=lambda scene: {
        "control_channels": scene.number("vace_in_channels", default=96),
        "control_layers": len(scene.option("vace_layers", range(0, 40, 5))),
    },
)


def _kandinsky_5_sizes(scene: Scene) -> Sizes:
    """Places are counted in patches of two by two latents."""
    channels = scene.number("in_visual_dim", default=4)
    return {
        # Beside the latents, those of a picture and its mask.
        "visual_channels": 2 * channels + 1 if scene.option("visual_cond", False) else channels,
        "patch_rows": scene.sizes["latent_height"] // 2,
        "patch_columns": scene.sizes["latent_width"] // 2,
    }


KANDINSKY_5_TRANSFORMER = Spec(
    class_name="Kandinsky5Transformer3DModel",
    library="diffusers",
    families=(KANDINSKY_5,),
    models=("transformer",),
    source="kandinsky5/pipeline_kandinsky.py",
    inputs=(
        Input("hidden_states", ("rows", "latent_frames", "latent_height", "latent_width", "visual_channels")),
        Input("encoder_hidden_states", ("rows", "tokens", "in_text_dim")),
        Input("pooled_projections", ("rows", "in_text_dim2")),
        Input("timestep", ("rows",)),
        Input("frame_positions", ("latent_frames",), "int64", to="visual_rope_pos.0"),
        Input("row_positions", ("patch_rows",), "int64", to="visual_rope_pos.1"),
        Input("column_positions", ("patch_columns",), "int64", to="visual_rope_pos.2"),
        Input("text_rope_pos", ("tokens",), "int64"),
    ),
    outputs=_SAMPLE,
    fixed={"scale_factor": (1, 2, 2), "sparse_params": None, "return_dict": False},
    sizes=_kandinsky_5_sizes,
    refuse=(Refusal("attention_type", ("regular",)),),
)


def _has_face(scene: Scene) -> bool:
    return bool(scene.option("is_train_face", False))


CONSIS_ID_TRANSFORMER = replace(
    COGVIDEOX_TRANSFORMER,
    class_name="ConsisIDTransformer3DModel",
    families=(CONSIS_ID,),
    source="consisid/pipeline_consisid.py",
    inputs=(
        *(entry for entry in COGVIDEOX_TRANSFORMER.inputs if entry.name != "ofs"),
        Input(
            "id_cond",
            (1, "id_width"),
            when=_has_face,
            only="is_train_face is set",
            note="the face's embedding",
        ),
        Input(
            "id_vit_hidden_{i}",
            (1, 577, "vit_width"),
            to="id_vit_hidden.{i}",
            when=_has_face,
            only="is_train_face is set",
            note="the face's features",
            each=lambda scene: (
                [(1, 577, scene.number("LFE_vit_dim", default=1024))] * scene.number("LFE_num_scale", default=5)
            ),
        ),
    ),
    sizes=lambda scene: {
        **(COGVIDEOX_TRANSFORMER.sizes(scene)),
        "id_width": scene.number("LFE_id_dim", default=1280),
    },
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
    outputs=_SAMPLE,
    refuse=(Refusal("text_embed_dim_t5"),),
)

SPECS = (
    COSMOS_TRANSFORMER,
    SKY_REELS_2_TRANSFORMER,
    WAN_VACE_TRANSFORMER,
    KANDINSKY_5_TRANSFORMER,
    CONSIS_ID_TRANSFORMER,
    EASY_ANIMATE_TRANSFORMER,
)
