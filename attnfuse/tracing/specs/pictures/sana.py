"""Sana: sizes, transformer, ControlNet."""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE, ONE_CONTROLNET
from attnfuse.tracing.specs.instructions import instruction_tokens
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.pictures.pixart import TEXT_MASK
from attnfuse.tracing.specs.record import SAMPLE, Input, Output, PipelineFamily, Spec
from attnfuse.tracing.specs.shared.controlnets import (
    CONDITIONING_SCALE,
    controlnet_blocks,
    hidden_size,
    with_controlnet,
)
from attnfuse.tracing.specs.sizes import picture_sizes


def _sana(context: SpecContext) -> Sizes:
    """Height and width: 1024; the deep-compression VAE makes one latent of 32 × 32 pixels. Tokens: 300. Guided, but
    for Sprint.

    The text encoder sees the pipeline's instruction in front of a prompt (`complex_human_instruction`), as many tokens
    as the tokenizer makes of it, less two; the prompt's are cut out of what it gives. A length that is given for the
    text encoder is that of both.
    """
    scale = 32
    if context.has("vae"):
        scale = 2 ** (len(context.numbers("encoder_block_out_channels", "vae")) - 1)
    patch = context.number("patch_size", "transformer", 1)
    tokens = context.text(300)
    own = context.model == "text_encoder" and context.shapes.sequence_length is not None
    instruction = None if own else instruction_of(context)
    return {
        **picture_sizes(context, scale, scale * patch, side=1024, guided=not _sprints(context)),
        "tokens": tokens,
        "text_encoder_tokens": tokens + (instruction - 2 if instruction is not None else 0),
    }


def instruction_of(context: SpecContext) -> int | None:
    """The tokens of the instruction; None where they cannot be counted."""
    return instruction_tokens(context, "sana/pipeline_sana.py", "complex_human_instruction")


def uncounted_instruction(context: SpecContext) -> str:
    """What to tell the user where they cannot be."""
    if context.shapes.sequence_length is not None or instruction_of(context) is not None:
        return ""
    return (
        "the pipeline puts an instruction before the prompt (complex_human_instruction), whose tokens are not counted"
        " for want of tokenizer/tokenizer.json: it is traced for the prompt's alone; say how many both have with"
        " --sequence-length text_encoder=N"
    )


SANA = PipelineFamily(
    "Sana",
    ("SanaPipeline", "SanaControlNetPipeline", "SanaSprintPipeline", "SanaSprintImg2ImgPipeline"),
    "sana/pipeline_sana.py",
    _sana,
)


def _sprints(context: SpecContext) -> bool:
    """Whether guidance is distilled, and handed over as a number."""
    return context.runs("SanaSprintPipeline", "SanaSprintImg2ImgPipeline")


def _sana_blocks(context: SpecContext) -> Sequence[tuple[int, ...]]:
    patch = context.number("patch_size", default=1)
    tokens = (context.sizes["latent_height"] // patch) * (context.sizes["latent_width"] // patch)
    return [(context.sizes["rows"], tokens, hidden_size(context))] * controlnet_blocks(context, "num_layers")


def _sprint_alone(context: SpecContext) -> str:
    """Guidance is an input of those pipelines' models, and of no others."""
    embeds = bool(context.option("guidance_embeds", False))
    return "" if embeds == _sprints(context) else f"guidance_embeds = {embeds} is not supported"


SANA_TRANSFORMER = Spec(
    class_name="SanaTransformer2DModel",
    library="diffusers",
    families=(SANA,),
    models=("transformer",),
    source="sana/pipeline_sana.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "caption_channels")),
        Input(
            "timestep",
            ("rows",),
            "float32",
            when=lambda context: not with_controlnet(context),
            only="the pipeline has no ControlNet",
            note="multiplied with timestep_scale; in Sprint sin t / (cos t + sin t)",
        ),
        Input("timestep", ("rows",), "timestep", when=with_controlnet, only="the pipeline has a ControlNet"),
        TEXT_MASK,
        Input("guidance", ("rows",), when=_sprints, only="Sprint", note="multiplied with guidance_embeds_scale"),
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
    check=_sprint_alone,
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
        Input("timestep", ("rows",), "timestep", note="as the transformer's"),
        Input(
            "controlnet_cond",
            ("rows", "in_channels", "latent_height", "latent_width"),
            note="the picture of conditions, encoded by the VAE",
        ),
        TEXT_MASK,
        CONDITIONING_SCALE,
    ),
    outputs=(
        Output("controlnet_block_{i}", "result[0][{i}]", lambda context: controlnet_blocks(context, "num_layers")),
    ),
    patches=(MASKED_ATTENTION,),
    fixed_settings=(ONE_CONTROLNET,),
)

FAMILIES = (SANA,)

SPECS = (
    SANA_TRANSFORMER,
    SANA_CONTROLNET,
)
