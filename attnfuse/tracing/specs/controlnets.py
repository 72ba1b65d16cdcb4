"""ControlNets and adapters: what turns a picture of conditions into features a UNet or transformer adds to its own.

Imports `families`, `video_families`, `record`, `told`, `transformers` and `unets` of this room.
"""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.families import (
    FLUX,
    HUNYUAN_DIT,
    QWEN_IMAGE,
    SANA,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_3,
    STABLE_DIFFUSION_XL,
)
from attnfuse.tracing.specs.record import (
    MASKED_ATTENTION,
    QWEN_ROTARY,
    TOLD_TYPE,
    Input,
    Output,
    Refusal,
    Scene,
    Sizes,
    Spec,
)
from attnfuse.tracing.specs.told import ADAPTER_SCALE, CONDITIONING_SCALE, GUESS_MODE, UNION_OF_ONE
from attnfuse.tracing.specs.transformers import (
    HUNYUAN_DIT_INPUTS,
    TEXT_MASK,
    controlnet_blocks,
    hunyuan_dit_controls,
    hunyuan_dit_sizes,
    qwen_constants,
)
from attnfuse.tracing.specs.unets import (
    ADDED_CONDITIONS,
    adapter_channels,
    condition_sizes,
    one_context,
    residual_shapes,
)
from attnfuse.tracing.specs.video_families import ANIMATE_DIFF


def _residuals(scene: Scene) -> int:
    return len(residual_shapes(scene))


def _features(scene: Scene) -> int:
    return len(adapter_channels(scene))


CONTROLNET = Spec(
    class_name="ControlNetModel",
    library="diffusers",
    families=(STABLE_DIFFUSION, STABLE_DIFFUSION_XL),
    models=("controlnet",),
    source="controlnet/pipeline_controlnet_sd_xl.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("timestep", (1,), "timestep", note="as the UNet's"),
        Input("encoder_hidden_states", ("rows", "tokens", "context")),
        Input("controlnet_cond", ("rows", 3, "height", "width"), note="the picture of conditions, in pixels"),
        *ADDED_CONDITIONS,
    ),
    outputs=(
        Output("down_block_residual_{i}", "result[0][{i}]", _residuals),
        Output("mid_block_residual", "result[1]"),
    ),
    sizes=condition_sizes,
    check=one_context,
    refuse=(
        Refusal("class_embed_type"),
        Refusal("encoder_hid_dim"),
        Refusal("encoder_hid_dim_type"),
        Refusal("num_class_embeds"),
        Refusal("conditioning_channels", (3,)),
        Refusal("global_pool_conditions", (False,)),  # the pipeline then guesses, with half the rows
        Refusal("addition_embed_type", (None, "text_time")),
    ),
    told=(
        CONDITIONING_SCALE,
        GUESS_MODE,
    ),
)

MOTION_CONTROLNET = replace(
    CONTROLNET,
    families=(ANIMATE_DIFF,),
    source="animatediff/pipeline_animatediff_controlnet.py",
    inputs=(
        Input("sample", ("text_rows", "in_channels", "latent_height", "latent_width"), note="every frame a row"),
        Input("timestep", (1,), "timestep", note="as the UNet's"),
        Input("encoder_hidden_states", ("text_rows", "tokens", "context")),
        Input("controlnet_cond", ("text_rows", 3, "height", "width"), note="the pictures of conditions, in pixels"),
    ),
    refuse=(
        *(refusal for refusal in CONTROLNET.refuse if refusal.option != "addition_embed_type"),
        Refusal("addition_embed_type"),
    ),
)

T2I_ADAPTER = Spec(
    class_name="T2IAdapter",
    library="diffusers",
    families=(STABLE_DIFFUSION, STABLE_DIFFUSION_XL),
    models=("adapter",),
    source="t2i_adapter/pipeline_stable_diffusion_adapter.py",
    inputs=(Input("image", ("batch", "in_channels", "height", "width"), to="x"),),
    # Where it guides, the pipeline repeats them.
    outputs=(Output("adapter_feature_{i}", "result[{i}]", _features),),
    fixed={},
    told=(ADAPTER_SCALE,),
)


def _sd3_sizes(scene: Scene) -> Sizes:
    """The condition is latents, beside which inpainting has its mask's."""
    extra = scene.option("extra_conditioning_channels", 0) and scene.number("extra_conditioning_channels")
    return {"condition_channels": scene.number("in_channels", default=16) + extra}


SD3_CONTROLNET = Spec(
    class_name="SD3ControlNetModel",
    library="diffusers",
    families=(STABLE_DIFFUSION_3,),
    models=("controlnet",),
    source="controlnet_sd3/pipeline_stable_diffusion_3_controlnet.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input(
            "controlnet_cond",
            ("rows", "condition_channels", "latent_height", "latent_width"),
            note="the picture of conditions, encoded by the VAE",
        ),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("pooled_projections", ("rows", "pooled_projection_dim")),
        Input("timestep", ("rows",), "float32", note="as the transformer's"),
    ),
    outputs=(Output("controlnet_block_{i}", "result[0][{i}]", lambda scene: controlnet_blocks(scene, "num_layers")),),
    sizes=_sd3_sizes,
    check=lambda scene: (
        "joint_attention_dim = None is not supported: it takes the transformer's own embedding of patches"
        if scene.option("joint_attention_dim", 4096) is None
        else ""
    ),
    refuse=(Refusal("use_pos_embed", (True,)),),
    told=(CONDITIONING_SCALE,),
)


def _reads_pixels(scene: Scene) -> bool:
    return scene.option("conditioning_embedding_channels") is not None


FLUX_CONTROLNET = Spec(
    class_name="FluxControlNetModel",
    library="diffusers",
    families=(FLUX,),
    models=("controlnet",),
    source="flux/pipeline_flux_controlnet.py",
    inputs=(
        Input("hidden_states", ("rows", "image_tokens", "in_channels"), note="latents packed two by two"),
        Input(
            "controlnet_cond",
            ("rows", "image_tokens", "in_channels"),
            when=lambda scene: not _reads_pixels(scene),
            only="conditioning_embedding_channels is not set",
            note="the picture of conditions, encoded by the VAE and packed",
        ),
        Input(
            "controlnet_image",
            ("rows", 3, "height", "width"),
            to="controlnet_cond",
            when=_reads_pixels,
            only="conditioning_embedding_channels is set (XLabs)",
            note="the picture of conditions, in pixels",
        ),
        Input(
            "controlnet_mode",
            ("rows", 1),
            "int64",
            when=lambda scene: scene.option("num_mode") is not None,
            only="num_mode is set (union)",
        ),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("pooled_projections", ("rows", "pooled_projection_dim")),
        Input("timestep", ("rows",), note="the scheduler's, by a thousand"),
        Input("img_ids", ("image_tokens", 3)),
        Input("txt_ids", ("tokens", 3)),
        Input(
            "guidance",
            ("rows",),
            "float32",
            when=lambda scene: bool(scene.option("guidance_embeds", False)),
            only="guidance_embeds is set",
        ),
    ),
    outputs=(
        Output("controlnet_block_{i}", "result[0][{i}]", lambda scene: controlnet_blocks(scene, "num_layers")),
        Output(
            "controlnet_single_block_{i}",
            "result[1][{i}]",
            lambda scene: controlnet_blocks(scene, "num_single_layers"),
        ),
    ),
    told=(CONDITIONING_SCALE,),
)

CONTROLNET_UNION = Spec(
    class_name="ControlNetUnionModel",
    library="diffusers",
    families=(STABLE_DIFFUSION_XL,),
    models=("controlnet",),
    source="controlnet/pipeline_controlnet_union_sd_xl.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("timestep", (1,), "timestep", note="as the UNet's"),
        Input("encoder_hidden_states", ("rows", "tokens", "context")),
        Input(
            "controlnet_cond",
            ("rows", 3, "height", "width"),
            to="controlnet_cond.0",
            note="the picture of conditions, in pixels: one",
        ),
        Input("control_type", ("rows", "types"), note="1 for the picture's type, 0 for others"),
        Input("control_mode", (1,), "int64", to="control_type_idx.0", note="the picture's type, by its number"),
        *ADDED_CONDITIONS,
    ),
    outputs=CONTROLNET.outputs,
    sizes=lambda scene: {**condition_sizes(scene), "types": scene.number("num_control_type", default=6)},
    check=one_context,
    refuse=CONTROLNET.refuse,
    stand_ins=(TOLD_TYPE,),
    told=(
        CONDITIONING_SCALE,
        GUESS_MODE,
        UNION_OF_ONE,
    ),
)

HUNYUAN_DIT_CONTROLNET = Spec(
    class_name="HunyuanDiT2DControlNetModel",
    library="diffusers",
    families=(HUNYUAN_DIT,),
    models=("controlnet",),
    source="controlnet_hunyuandit/pipeline_hunyuandit_controlnet.py",
    inputs=(
        *HUNYUAN_DIT_INPUTS,
        Input(
            "controlnet_cond",
            ("rows", "in_channels", "latent_height", "latent_width"),
            note="the picture of conditions, encoded by the VAE",
        ),
    ),
    outputs=(Output("controlnet_block_{i}", "result[0][{i}]", hunyuan_dit_controls),),
    sizes=hunyuan_dit_sizes,
    told=(CONDITIONING_SCALE,),
)

SANA_CONTROLNET = Spec(
    class_name="SanaControlNetModel",
    library="diffusers",
    families=(SANA,),
    models=("controlnet",),
    source="sana/pipeline_sana_controlnet.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "caption_channels")),
        Input("timestep", ("rows",), "float32", note="as the transformer's"),
        Input(
            "controlnet_cond",
            ("rows", "in_channels", "latent_height", "latent_width"),
            note="the picture of conditions, encoded by the VAE",
        ),
        TEXT_MASK,
    ),
    outputs=(Output("controlnet_block_{i}", "result[0][{i}]", lambda scene: controlnet_blocks(scene, "num_layers")),),
    stand_ins=(MASKED_ATTENTION,),
    told=(CONDITIONING_SCALE,),
)


def _qwen_sizes(scene: Scene) -> Sizes:
    """The condition is packed latents, beside which inpainting has its mask."""
    extra = scene.option("extra_condition_channels", 0) and scene.number("extra_condition_channels")
    return {"condition_channels": scene.number("in_channels", default=64) + extra}


QWEN_IMAGE_CONTROLNET = Spec(
    class_name="QwenImageControlNetModel",
    library="diffusers",
    families=(QWEN_IMAGE,),
    models=("controlnet",),
    source="qwenimage/pipeline_qwenimage_controlnet.py",
    inputs=(
        Input("hidden_states", ("rows", "image_tokens", "in_channels"), note="latents packed two by two"),
        Input(
            "controlnet_cond",
            ("rows", "image_tokens", "condition_channels"),
            note="the picture of conditions, encoded by the VAE and packed",
        ),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("timestep", ("rows",), note="the scheduler's, by a thousand"),
    ),
    outputs=(Output("controlnet_block_{i}", "result[{i}]", lambda scene: controlnet_blocks(scene, "num_layers")),),
    sizes=_qwen_sizes,
    constants=qwen_constants,
    stand_ins=(QWEN_ROTARY,),
    told=(CONDITIONING_SCALE,),
)


def _sparse_sizes(scene: Scene) -> Sizes:
    """The conditions are latents or, of the larger embedding, pixels."""
    latents = bool(scene.option("use_simplified_condition_embedding", True))
    return {
        "condition_channels": scene.number("conditioning_channels", default=4),
        "condition_height": scene.sizes["latent_height" if latents else "height"],
        "condition_width": scene.sizes["latent_width" if latents else "width"],
    }


SPARSE_CONTROLNET = Spec(
    class_name="SparseControlNetModel",
    library="diffusers",
    families=(ANIMATE_DIFF,),
    models=("controlnet",),
    source="animatediff/pipeline_animatediff_sparsectrl.py",
    inputs=(
        Input(
            "sample",
            ("rows", "in_channels", "frames", "latent_height", "latent_width"),
            note="of which it takes nothing but the shape",
        ),
        Input("timestep", (1,), "timestep", note="as the UNet's"),
        Input("encoder_hidden_states", ("text_rows", "tokens", "cross_attention_dim")),
        Input(
            "controlnet_cond",
            (1, "condition_channels", "frames", "condition_height", "condition_width"),
            note="zeros for frames without a picture of conditions",
        ),
        Input(
            "conditioning_mask",
            (1, 1, "frames", "condition_height", "condition_width"),
            note="1 for frames with a picture of conditions, 0 for others",
        ),
    ),
    outputs=CONTROLNET.outputs,
    sizes=_sparse_sizes,
    check=one_context,
    told=(
        CONDITIONING_SCALE,
        GUESS_MODE,
    ),
)

SPECS = (
    CONTROLNET,
    MOTION_CONTROLNET,
    T2I_ADAPTER,
    SD3_CONTROLNET,
    FLUX_CONTROLNET,
    CONTROLNET_UNION,
    HUNYUAN_DIT_CONTROLNET,
    SANA_CONTROLNET,
    QWEN_IMAGE_CONTROLNET,
    SPARSE_CONTROLNET,
)
