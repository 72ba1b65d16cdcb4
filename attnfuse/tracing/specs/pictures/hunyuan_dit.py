"""HunyuanDiT: sizes, transformer, ControlNet."""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import ONE_CONTROLNET
from attnfuse.tracing.specs.record import SAMPLE, Input, Output, PipelineFamily, Spec
from attnfuse.tracing.specs.shared.controlnets import CONDITIONING_SCALE, hidden_size, with_controlnet
from attnfuse.tracing.specs.sizes import patch_pixels, picture_sizes, vae_scale


def _hunyuan_dit(context: SpecContext) -> Sizes:
    """Height and width: the transformer's `sample_size` × the VAE's downscaling.

    Tokens: 77 of BERT ("tokens") and 256 of T5, whose number is `sequence_length`. Guided.
    """
    scale = vae_scale(context)
    sizes = picture_sizes(context, scale, max(16, patch_pixels(context, scale)))
    return {**sizes, "tokens": 77, "text_encoder_2_tokens": context.text(256)}


HUNYUAN_DIT = PipelineFamily(
    "HunyuanDiT",
    ("HunyuanDiTPipeline", "HunyuanDiTControlNetPipeline"),
    "hunyuandit/pipeline_hunyuandit.py",
    _hunyuan_dit,
)


def _styled(context: SpecContext) -> bool:
    return bool(context.option("use_style_cond_and_image_meta_size", True))


def hunyuan_dit_controls(context: SpecContext) -> int:
    """How many outputs its ControlNet gives: it is the transformer's first half, but for the middle block."""
    return max(0, context.number("transformer_num_layers", "controlnet", 40) // 2 - 1)


def _hunyuan_dit_blocks(context: SpecContext) -> Sequence[tuple[int, ...]]:
    shape = (context.sizes["rows"], hunyuan_dit_sizes(context)["rotary_tokens"], hidden_size(context))
    return [shape] * hunyuan_dit_controls(context)


def hunyuan_dit_sizes(context: SpecContext) -> Sizes:
    """The rotary table has a row for every patch."""
    patch = context.number("patch_size")
    grid = (context.sizes["latent_height"] // patch) * (context.sizes["latent_width"] // patch)
    return {"rotary_tokens": grid, "t5_tokens": context.sizes["text_encoder_2_tokens"]}


HUNYUAN_DIT_INPUTS = (
    Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
    Input("timestep", ("rows",)),
    Input("encoder_hidden_states", ("rows", "tokens", "cross_attention_dim")),
    Input("text_embedding_mask", ("rows", "tokens"), "int64"),
    Input("encoder_hidden_states_t5", ("rows", "t5_tokens", "cross_attention_dim_t5")),
    Input("text_embedding_mask_t5", ("rows", "t5_tokens"), "int64"),
    Input(
        "image_meta_size",
        ("rows", 6),
        when=_styled,
        only="use_style_cond_and_image_meta_size is set (HunyuanDiT 1.0, 1.1)",
    ),
    Input(
        "style",
        ("rows",),
        "int64",
        when=_styled,
        only="use_style_cond_and_image_meta_size is set (HunyuanDiT 1.0, 1.1)",
    ),
    Input("rotary_cos", ("rotary_tokens", "attention_head_dim"), "float32", to="image_rotary_emb.0"),
    Input("rotary_sin", ("rotary_tokens", "attention_head_dim"), "float32", to="image_rotary_emb.1"),
)
"""What HunyuanDiT's pipelines hand to the transformer and, but for the picture of conditions, to its ControlNet."""

HUNYUAN_DIT_TRANSFORMER = Spec(
    class_name="HunyuanDiT2DModel",
    library="diffusers",
    families=(HUNYUAN_DIT,),
    models=("transformer",),
    source="hunyuandit/pipeline_hunyuandit.py",
    inputs=(
        *HUNYUAN_DIT_INPUTS,
        Input(
            "controlnet_block_{i}",
            ("rows", "rotary_tokens", "hidden"),
            to="controlnet_block_samples.{i}",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=_hunyuan_dit_blocks,
        ),
    ),
    outputs=SAMPLE,
    sizes=hunyuan_dit_sizes,
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
        CONDITIONING_SCALE,
    ),
    outputs=(Output("controlnet_block_{i}", "result[0][{i}]", hunyuan_dit_controls),),
    sizes=hunyuan_dit_sizes,
    fixed_settings=(ONE_CONTROLNET,),
)

FAMILIES = (HUNYUAN_DIT,)

SPECS = (
    HUNYUAN_DIT_TRANSFORMER,
    HUNYUAN_DIT_CONTROLNET,
)
