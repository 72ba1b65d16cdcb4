"""The transformers and UNets of videos: one entry a class.

Imports `record`, `told`, `transformers`, `unets` and `video_families` of this room.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnfuse.tracing.specs.record import (
    MASKED_ATTENTION,
    MASKED_TEXT,
    Input,
    Output,
    Refusal,
    Scene,
    Sizes,
    Spec,
    divide,
)
from attnfuse.tracing.specs.told import IP_ADAPTER_SCALE, LORA_SCALE
from attnfuse.tracing.specs.transformers import with_controlnet
from attnfuse.tracing.specs.unets import middle_shape, residual_shapes
from attnfuse.tracing.specs.video_families import (
    ALLEGRO,
    ANIMATE_DIFF,
    COGVIDEOX,
    HUNYUAN_VIDEO,
    I2VGEN,
    LATTE,
    LTX,
    MOCHI,
    STABLE_VIDEO,
    WAN,
)

_SAMPLE = (Output("sample"),)


def _rotary(scene: Scene) -> bool:
    return bool(scene.option("use_rotary_positional_embeddings", False))


def _cogvideox_sizes(scene: Scene) -> Sizes:
    """CogVideoX 1.5 patches frames too, and its pipeline fills up the last patch."""
    frames = scene.sizes["latent_frames"]
    patch_t = scene.number("patch_size_t", default=1)
    frames += -frames % patch_t
    patch = scene.number("patch_size", default=2)
    grid = (scene.sizes["latent_height"] // patch) * (scene.sizes["latent_width"] // patch)
    return {"padded_frames": frames, "rotary_tokens": frames // patch_t * grid}


COGVIDEOX_TRANSFORMER = Spec(
    class_name="CogVideoXTransformer3DModel",
    library="diffusers",
    families=(COGVIDEOX,),
    models=("transformer",),
    source="cogvideo/pipeline_cogvideox.py",
    inputs=(
        Input("hidden_states", ("rows", "padded_frames", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
        Input("timestep", ("rows",), "timestep"),
        Input(
            "rotary_cos",
            ("rotary_tokens", "attention_head_dim"),
            "float32",
            to="image_rotary_emb.0",
            when=_rotary,
            only="use_rotary_positional_embeddings is set",
        ),
        Input(
            "rotary_sin",
            ("rotary_tokens", "attention_head_dim"),
            "float32",
            to="image_rotary_emb.1",
            when=_rotary,
            only="use_rotary_positional_embeddings is set",
        ),
        Input(
            "ofs",
            (1,),
            when=lambda scene: scene.option("ofs_embed_dim") is not None,
            only="ofs_embed_dim is set (1.5, of a picture)",
        ),
    ),
    outputs=_SAMPLE,
    sizes=_cogvideox_sizes,
    told=(LORA_SCALE,),
)


def _allegro_sizes(scene: Scene) -> Sizes:
    """Each third of a head is turned by a table of its own; a position for every patch looks it up."""
    patch = scene.number("patch_size")
    rows, columns = scene.sizes["latent_height"] // patch, scene.sizes["latent_width"] // patch
    return {
        "grid_height": rows,
        "grid_width": columns,
        "third": divide(scene.number("attention_head_dim"), 3, "attention_head_dim", scene.path()),
        "patches": scene.sizes["latent_frames"] // scene.number("patch_size_t") * rows * columns,
    }


ALLEGRO_TRANSFORMER = Spec(
    class_name="AllegroTransformer3DModel",
    library="diffusers",
    families=(ALLEGRO,),
    models=("transformer",),
    source="allegro/pipeline_allegro.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_frames", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", 1, "tokens", "caption_channels")),
        Input("encoder_attention_mask", ("rows", "tokens"), "int64", note="the tokenizer's"),
        Input("timestep", ("rows",), "timestep"),
        Input("time_cos", ("latent_frames", "third"), "float32", to="image_rotary_emb.0.0.0"),
        Input("time_sin", ("latent_frames", "third"), "float32", to="image_rotary_emb.0.0.1"),
        Input("height_cos", ("grid_height", "third"), "float32", to="image_rotary_emb.0.1.0"),
        Input("height_sin", ("grid_height", "third"), "float32", to="image_rotary_emb.0.1.1"),
        Input("width_cos", ("grid_width", "third"), "float32", to="image_rotary_emb.0.2.0"),
        Input("width_sin", ("grid_width", "third"), "float32", to="image_rotary_emb.0.2.1"),
        Input("time_indices", (1, "patches"), "int64", to="image_rotary_emb.1.0"),
        Input("height_indices", (1, "patches"), "int64", to="image_rotary_emb.1.1"),
        Input("width_indices", (1, "patches"), "int64", to="image_rotary_emb.1.2"),
    ),
    outputs=_SAMPLE,
    sizes=_allegro_sizes,
    stand_ins=(MASKED_ATTENTION,),
)


def _ltx_constants(scene: Scene) -> Mapping[str, Any]:
    """Numbers of latents, and of what they stand for at the pipeline's 25 frames a second."""
    sizes = scene.sizes
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
        Input("timestep", ("rows",), "float32"),
        Input("encoder_attention_mask", ("rows", "tokens"), "bool"),
    ),
    outputs=_SAMPLE,
    constants=_ltx_constants,
    refuse=(Refusal("patch_size", (1,)), Refusal("patch_size_t", (1,))),
    stand_ins=(MASKED_ATTENTION,),
    told=(LORA_SCALE,),
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
            when=lambda scene: scene.option("image_dim") is not None,
            only="image_dim is set (2.1, of a picture)",
            note="the image encoder's",
        ),
    ),
    outputs=_SAMPLE,
    check=lambda scene: (
        "expand_timesteps is set, and a timestep for every patch is not supported"
        if scene.pipeline.options.get("expand_timesteps")
        else ""
    ),
    refuse=(Refusal("pos_embed_seq_len"),),  # first and last frame: two pictures
    told=(LORA_SCALE,),
)


def _guided(scene: Scene) -> bool:
    return bool(scene.option("guidance_embeds", True))


HUNYUAN_VIDEO_TRANSFORMER = Spec(
    class_name="HunyuanVideoTransformer3DModel",
    library="diffusers",
    families=(HUNYUAN_VIDEO,),
    models=("transformer",),
    source="hunyuan_video/pipeline_hunyuan_video.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_frames", "latent_height", "latent_width")),
        Input("timestep", ("rows",)),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
        Input("encoder_attention_mask", ("rows", "tokens")),
        Input("pooled_projections", ("rows", "pooled_projection_dim")),
        Input("guidance", ("rows",), when=_guided, only="guidance_embeds is set", note="by a thousand"),
    ),
    outputs=_SAMPLE,
    refuse=(Refusal("image_condition_type"),),
    stand_ins=(MASKED_ATTENTION,),
    told=(LORA_SCALE,),
)

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
    outputs=_SAMPLE,
    stand_ins=(MASKED_TEXT,),
    told=(LORA_SCALE,),
)

LATTE_TRANSFORMER = Spec(
    class_name="LatteTransformer3DModel",
    library="diffusers",
    families=(LATTE,),
    models=("transformer",),
    source="latte/pipeline_latte.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "frames", "latent_height", "latent_width")),
        Input("timestep", ("rows",), "timestep"),
        Input("encoder_hidden_states", ("rows", "tokens", "caption_channels")),
    ),
    outputs=_SAMPLE,
    fixed={"enable_temporal_attentions": True, "return_dict": False},
)

MOTION_UNET = Spec(
    class_name="UNetMotionModel",
    library="diffusers",
    families=(ANIMATE_DIFF,),
    models=("unet",),
    source="animatediff/pipeline_animatediff.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "frames", "latent_height", "latent_width")),
        Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis"),
        Input("encoder_hidden_states", ("text_rows", "tokens", "cross_attention_dim")),
        Input(
            "down_block_residual_{i}",
            ("text_rows", "channels", "height", "width"),
            to="down_block_additional_residuals.{i}",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=residual_shapes,
        ),
        Input(
            "mid_block_residual",
            ("text_rows", "channels", "height", "width"),
            to="mid_block_additional_residual",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its last output",
            each=middle_shape,
        ),
    ),
    outputs=_SAMPLE,
    refuse=(
        Refusal("encoder_hid_dim"),
        Refusal("encoder_hid_dim_type"),
        Refusal("addition_embed_type"),
        Refusal("time_cond_proj_dim"),
    ),
    told=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
    ),
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
    outputs=_SAMPLE,
)

I2VGEN_UNET = Spec(
    class_name="I2VGenXLUNet",
    library="diffusers",
    families=(I2VGEN,),
    models=("unet",),
    source="i2vgen_xl/pipeline_i2vgen_xl.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "frames", "latent_height", "latent_width")),
        Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis"),
        Input("fps", ("rows",), "int64"),
        Input("image_latents", ("rows", "in_channels", "frames", "latent_height", "latent_width")),
        Input("image_embeddings", ("rows", 1, "cross_attention_dim")),
        Input("encoder_hidden_states", ("rows", "tokens", "cross_attention_dim")),
    ),
    outputs=_SAMPLE,
)

SPECS = (
    COGVIDEOX_TRANSFORMER,
    ALLEGRO_TRANSFORMER,
    LTX_TRANSFORMER,
    WAN_TRANSFORMER,
    HUNYUAN_VIDEO_TRANSFORMER,
    MOCHI_TRANSFORMER,
    LATTE_TRANSFORMER,
    MOTION_UNET,
    STABLE_VIDEO_UNET,
    I2VGEN_UNET,
)
