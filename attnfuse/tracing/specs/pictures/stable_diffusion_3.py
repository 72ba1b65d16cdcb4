"""Stable Diffusion 3: sizes, transformer, ControlNet."""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import IP_ADAPTER_SCALE, LORA_SCALE, ONE_CONTROLNET
from attnfuse.tracing.specs.record import Input, Output, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.shared.controlnets import (
    CONDITIONING_SCALE,
    controlnet_blocks,
    hidden_size,
    with_controlnet,
)
from attnfuse.tracing.specs.sizes import vae_scale


def _stable_diffusion_3(context: SpecContext) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling.

    Tokens: CLIP's, as many as its tokenizer fills a text up to (77), and T5's 256 behind them, or as many zeros as
    CLIP's where the pipeline has no T5; `sequence_length` is T5's. Guided: two rows an image.
    """
    scale = vae_scale(context)

    def default() -> tuple[int, int]:
        if context.has("transformer"):
            size = context.number("sample_size", "transformer") * scale
        else:
            size = context.number("sample_size", "vae") if context.has("vae") else 128 * scale
        return size, size

    patch = context.number("patch_size", "transformer", 2)
    height, width = context.image(default, scale * patch, "the VAE's downscaling and the transformer's patches")
    # The second encoder's texts are filled up to what the first's tokenizer says.
    clip = context.filled("text_encoder", "text_encoder_2", tokenizer="tokenizer")
    has_t5 = context.has("text_encoder_3") or not context.pipeline.class_name
    t5 = context.text(256) if has_t5 else clip
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=True),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
        "text_encoder_tokens": clip,
        "text_encoder_2_tokens": clip,
        "text_encoder_3_tokens": t5,
        "tokens": clip + t5,
    }


STABLE_DIFFUSION_3 = PipelineFamily(
    "Stable Diffusion 3",
    (
        "StableDiffusion3Pipeline",
        "StableDiffusion3Img2ImgPipeline",
        "StableDiffusion3InpaintPipeline",
        "StableDiffusion3ControlNetPipeline",
        "StableDiffusion3ControlNetInpaintingPipeline",
    ),
    "stable_diffusion_3/pipeline_stable_diffusion_3.py",
    _stable_diffusion_3,
)


def _sd3_blocks(context: SpecContext) -> Sequence[tuple[int, ...]]:
    patch = context.number("patch_size", default=2)
    tokens = (context.sizes["latent_height"] // patch) * (context.sizes["latent_width"] // patch)
    return [(context.sizes["rows"], tokens, hidden_size(context))] * controlnet_blocks(context, "num_layers")


SD3 = Spec(
    class_name="SD3Transformer2DModel",
    library="diffusers",
    families=(STABLE_DIFFUSION_3,),
    models=("transformer",),
    source="stable_diffusion_3/pipeline_stable_diffusion_3.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("pooled_projections", ("rows", "pooled_projection_dim")),
        Input("timestep", ("rows",), "float32", note="the flow-matching scheduler's, one a row"),
        Input(
            "controlnet_block_{i}",
            ("rows", "patches", "hidden"),
            to="block_controlnet_hidden_states.{i}",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=_sd3_blocks,
        ),
    ),
    outputs=(Output("sample"),),
    fixed_settings=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
    ),
)


def _sd3_sizes(context: SpecContext) -> Sizes:
    """The condition is latents, beside which inpainting has its mask's."""
    extra = context.option("extra_conditioning_channels", 0) and context.number("extra_conditioning_channels")
    return {"condition_channels": context.number("in_channels", default=16) + extra}


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
        CONDITIONING_SCALE,
    ),
    outputs=(
        Output("controlnet_block_{i}", "result[0][{i}]", lambda context: controlnet_blocks(context, "num_layers")),
    ),
    sizes=_sd3_sizes,
    check=lambda context: (
        "joint_attention_dim = None is not supported: it takes the transformer's own embedding of patches"
        if context.option("joint_attention_dim", 4096) is None
        else ""
    ),
    refuse=(Refusal("use_pos_embed", (True,)),),
    fixed_settings=(ONE_CONTROLNET,),
)

FAMILIES = (STABLE_DIFFUSION_3,)

SPECS = (
    SD3,
    SD3_CONTROLNET,
)
