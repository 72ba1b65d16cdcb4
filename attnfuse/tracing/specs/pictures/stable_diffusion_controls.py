"""The ControlNets and T2I adapters of Stable Diffusion and Stable Diffusion XL."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import SpecContext
from attnfuse.tracing.specs.fixed_settings import ADAPTER_SCALE, GUESS_MODE, ONE_CONTROLNET, UNION_OF_ONE
from attnfuse.tracing.specs.patch_names import ATTENTION_TYPE
from attnfuse.tracing.specs.pictures.stable_diffusion import (
    ADDED_CONDITIONS,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_XL,
    adapter_channels,
    condition_sizes,
    one_context,
    residual_shapes,
)
from attnfuse.tracing.specs.record import Input, Output, Refusal, Spec
from attnfuse.tracing.specs.shared.controlnets import CONDITIONING_SCALE


def _residuals(context: SpecContext) -> int:
    return len(residual_shapes(context))


def _features(context: SpecContext) -> int:
    return len(adapter_channels(context))


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
        CONDITIONING_SCALE,
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
    fixed_settings=(
        ONE_CONTROLNET,
        GUESS_MODE,
    ),
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
        replace(CONDITIONING_SCALE, to="conditioning_scale.0"),
    ),
    outputs=CONTROLNET.outputs,
    sizes=lambda context: {**condition_sizes(context), "types": context.number("num_control_type", default=6)},
    check=one_context,
    refuse=CONTROLNET.refuse,
    patches=(ATTENTION_TYPE,),
    fixed_settings=(
        ONE_CONTROLNET,
        GUESS_MODE,
        UNION_OF_ONE,
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
    fixed_settings=(ADAPTER_SCALE,),
)

SPECS = (
    CONTROLNET,
    T2I_ADAPTER,
    CONTROLNET_UNION,
)
