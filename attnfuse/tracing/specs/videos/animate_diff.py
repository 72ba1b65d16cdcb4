"""AnimateDiff: sizes, UNet, ControlNets."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import GUESS_MODE, IP_ADAPTER_SCALE, LORA_SCALE, ONE_CONTROLNET
from attnfuse.tracing.specs.pictures.stable_diffusion import controlnet_residuals, one_context
from attnfuse.tracing.specs.pictures.stable_diffusion_controls import CONTROLNET
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.shared.controlnets import CONDITIONING_SCALE
from attnfuse.tracing.specs.sizes import vae_scale, video_sizes


def _animate_diff(context: SpecContext) -> Sizes:
    """Height and width: the UNet's `sample_size` × the VAE's downscaling, 16 frames, each with latents of its own.

    Tokens: as many as the tokenizer fills a text up to (77), given to every frame ("text_rows"). Guided.
    """
    spatial = vae_scale(context)
    side = context.number("sample_size", "unet") * spatial if context.has("unet") else 512
    sizes = video_sizes(context, (side, side), spatial, spatial, (16, 1), guided=True)
    return {**sizes, "tokens": context.text_filled("text_encoder"), "text_rows": sizes["rows"] * sizes["frames"]}


ANIMATE_DIFF = PipelineFamily(
    "AnimateDiff",
    ("AnimateDiffPipeline", "AnimateDiffControlNetPipeline", "AnimateDiffSparseControlNetPipeline"),
    "animatediff/pipeline_animatediff.py",
    _animate_diff,
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
        *controlnet_residuals("text_rows"),
    ),
    outputs=SAMPLE,
    refuse=(
        Refusal("encoder_hid_dim"),
        Refusal("encoder_hid_dim_type"),
        Refusal("addition_embed_type"),
        Refusal("time_cond_proj_dim"),
    ),
    fixed_settings=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
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
        CONDITIONING_SCALE,
    ),
    refuse=(
        *(refusal for refusal in CONTROLNET.refuse if refusal.option != "addition_embed_type"),
        Refusal("addition_embed_type"),
    ),
)


def _sparse_sizes(context: SpecContext) -> Sizes:
    """The conditions are latents or, of the larger embedding, pixels."""
    latents = bool(context.option("use_simplified_condition_embedding", True))
    return {
        "condition_channels": context.number("conditioning_channels", default=4),
        "condition_height": context.sizes["latent_height" if latents else "height"],
        "condition_width": context.sizes["latent_width" if latents else "width"],
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
        CONDITIONING_SCALE,
    ),
    outputs=CONTROLNET.outputs,
    sizes=_sparse_sizes,
    check=one_context,
    fixed_settings=(
        ONE_CONTROLNET,
        GUESS_MODE,
    ),
)

FAMILIES = (ANIMATE_DIFF,)

SPECS = (
    MOTION_UNET,
    MOTION_CONTROLNET,
    SPARSE_CONTROLNET,
)
