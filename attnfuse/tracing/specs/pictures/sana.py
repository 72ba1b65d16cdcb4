"""Sana: sizes, transformer, ControlNet."""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import CONDITIONING_SCALE, LORA_SCALE
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.pictures.pixart import TEXT_MASK
from attnfuse.tracing.specs.record import SAMPLE, Input, Output, PipelineFamily, Refusal, Spec
from attnfuse.tracing.specs.shared.controlnets import controlnet_blocks, hidden_size, with_controlnet
from attnfuse.tracing.specs.sizes import picture_sizes


def _sana(context: SpecContext) -> Sizes:
    """Height and width: 1024; the deep-compression VAE makes one latent of 32 × 32 pixels. Tokens: 300. Guided."""
    scale = 32
    if context.has("vae"):
        scale = 2 ** (len(context.numbers("encoder_block_out_channels", "vae")) - 1)
    patch = context.number("patch_size", "transformer", 1)
    return {**picture_sizes(context, scale, scale * patch, side=1024), "tokens": context.text(300)}


SANA = PipelineFamily("Sana", ("SanaPipeline", "SanaControlNetPipeline"), "sana/pipeline_sana.py", _sana)


def _sana_blocks(context: SpecContext) -> Sequence[tuple[int, ...]]:
    patch = context.number("patch_size", default=1)
    tokens = (context.sizes["latent_height"] // patch) * (context.sizes["latent_width"] // patch)
    return [(context.sizes["rows"], tokens, hidden_size(context))] * controlnet_blocks(context, "num_layers")


SANA_TRANSFORMER = Spec(
    class_name="SanaTransformer2DModel",
    library="diffusers",
    families=(SANA,),
    models=("transformer",),
    source="sana/pipeline_sana.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "caption_channels")),
        Input("timestep", ("rows",), "float32", note="multiplied with timestep_scale, but not beside a ControlNet"),
        TEXT_MASK,
        Input(
            "controlnet_block_{i}",
            ("rows", "patches", "hidden"),
            to="controlnet_block_samples.{i}",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=_sana_blocks,
        ),
    ),
    outputs=SAMPLE,
    refuse=(Refusal("guidance_embeds", (False,)),),  # Sana Sprint: another pipeline
    patches=(MASKED_ATTENTION,),
    fixed_settings=(LORA_SCALE,),
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
    outputs=(
        Output("controlnet_block_{i}", "result[0][{i}]", lambda context: controlnet_blocks(context, "num_layers")),
    ),
    patches=(MASKED_ATTENTION,),
    fixed_settings=(CONDITIONING_SCALE,),
)

FAMILIES = (SANA,)

SPECS = (
    SANA_TRANSFORMER,
    SANA_CONTROLNET,
)
