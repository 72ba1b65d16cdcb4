"""Lumina-Next and Lumina2: sizes and transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.patch_names import JOINT_SEQUENCE, MASKED_ATTENTION, REAL_ROTARY
from attnfuse.tracing.specs.record import SAMPLE, Input, PipelineFamily, Spec, divide
from attnfuse.tracing.specs.sizes import picture_sizes


def _lumina(context: SpecContext) -> Sizes:
    """Height and width: the transformer's `sample_size` × 8. Tokens: 256. Guided: two rows an image."""
    return {**picture_sizes(context, 8, 16), "tokens": context.text(256)}


LUMINA = PipelineFamily(
    "Lumina-Next", ("LuminaPipeline", "LuminaText2ImgPipeline"), "lumina/pipeline_lumina.py", _lumina
)


def _lumina_2(context: SpecContext) -> Sizes:
    """Height and width: the transformer's `sample_size` × 8.

    Tokens: 256, or as many as the transformer has turns for on the first of its axes (`axes_lens`, 300 in mindone); no
    text has more. With and without the prompt are two calls: rows are not doubled.
    """
    has_axes = context.has("transformer") and context.option("axes_lens", model="transformer") is not None
    turns = context.numbers("axes_lens", "transformer")[0] if has_axes else 300
    tokens = context.text(min(256, turns), turns, "transformer's (axes_lens)")
    return {**picture_sizes(context, 8, 16, guided=False), "tokens": tokens}


LUMINA_2 = PipelineFamily(
    "Lumina2", ("Lumina2Pipeline", "Lumina2Text2ImgPipeline"), "lumina2/pipeline_lumina2.py", _lumina_2
)

#: Rows and columns of the rotary table that the pipeline makes, whatever the picture's size.
_LUMINA_GRID = 384


def _lumina_sizes(context: SpecContext) -> Sizes:
    """The rotary table has a complex number for every pair of a head's numbers."""
    width = divide(context.number("hidden_size"), context.number("num_attention_heads"), "hidden_size", context.path())
    return {"head_pairs": width // 2}


def _proportional(context: SpecContext) -> Mapping[str, Any]:
    """The tokens of a picture of the default size, for attention in proportion to them, which the pipeline asks for."""
    return {"cross_attention_kwargs": {"base_sequence_length": (context.number("sample_size", default=128) // 2) ** 2}}


LUMINA_TRANSFORMER = Spec(
    class_name="LuminaNextDiT2DModel",
    library="diffusers",
    families=(LUMINA,),
    models=("transformer",),
    source="lumina/pipeline_lumina.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("timestep", ("rows",), "float32", note="one less the scheduler's by a thousand"),
        Input("encoder_hidden_states", ("rows", "tokens", "cross_attention_dim")),
        Input("encoder_mask", ("rows", "tokens"), "int64", note="the tokenizer's"),
        Input(
            "image_rotary_emb",
            (_LUMINA_GRID, _LUMINA_GRID, "head_pairs", 2),
            "float32",
            note="the pipeline's table of complex numbers, as `view_as_real` shows it",
        ),
    ),
    outputs=SAMPLE,
    constants=_proportional,
    sizes=_lumina_sizes,
    patches=(MASKED_ATTENTION, REAL_ROTARY),
)

LUMINA_2_TRANSFORMER = Spec(
    class_name="Lumina2Transformer2DModel",
    library="diffusers",
    families=(LUMINA_2,),
    models=("transformer",),
    source="lumina2/pipeline_lumina2.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("timestep", ("rows",), "float32", note="one less the scheduler's by a thousand"),
        Input("encoder_hidden_states", ("rows", "tokens", "cap_feat_dim")),
        Input("encoder_attention_mask", ("rows", "tokens"), "int64", note="the tokenizer's"),
    ),
    outputs=SAMPLE,
    patches=(MASKED_ATTENTION, JOINT_SEQUENCE),
    fixed_settings=(LORA_SCALE,),
)

FAMILIES = (
    LUMINA,
    LUMINA_2,
)

SPECS = (
    LUMINA_TRANSFORMER,
    LUMINA_2_TRANSFORMER,
)
