"""ControlNets and adapters: what turns a picture of conditions into features a UNet or transformer adds to its own.

Imports `families`, `record` and `unets` of this room.
"""

from __future__ import annotations

from attnfuse.tracing.specs.families import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from attnfuse.tracing.specs.record import Input, Output, Refusal, Scene, Spec
from attnfuse.tracing.specs.unets import ADDED_CONDITIONS, condition_sizes, one_context, residual_shapes


def _residuals(scene: Scene) -> int:
    return len(residual_shapes(scene))


def _features(scene: Scene) -> int:
    return len(scene.numbers("channels"))


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
    # `controlnet_conditioning_scale` multiplies all outputs, and is 1 in the graph: multiply them outside of it.
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
)

T2I_ADAPTER = Spec(
    class_name="T2IAdapter",
    library="diffusers",
    families=(STABLE_DIFFUSION, STABLE_DIFFUSION_XL),
    models=("adapter",),
    source="t2i_adapter/pipeline_stable_diffusion_adapter.py",
    inputs=(Input("image", ("batch", "in_channels", "height", "width"), to="x"),),
    # The pipeline multiplies them with `adapter_conditioning_scale` and, where it guides, repeats them.
    outputs=(Output("adapter_feature_{i}", "result[{i}]", _features),),
    fixed={},
)

SPECS = (CONTROLNET, T2I_ADAPTER)
