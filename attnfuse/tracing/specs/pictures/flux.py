"""Flux, Flux2 and Chroma, which pack latents two by two: sizes, transformers, ControlNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import IP_ADAPTER_SCALE, LORA_SCALE, ONE_CONTROLNET
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.record import SAMPLE, FixedSetting, Input, Output, PipelineFamily, Spec
from attnfuse.tracing.specs.shared.controlnets import (
    CONDITIONING_SCALE,
    controlnet_blocks,
    hidden_size,
    packed_blocks,
    with_controlnet,
)
from attnfuse.tracing.specs.sizes import packed_sizes


def _flux(context: SpecContext) -> Sizes:
    """Height and width: 128 latents × the VAE's downscaling; latents are packed two by two into "image_tokens".

    In Kontext the picture that is edited follows, of the same size. Tokens: 512 of T5; CLIP, which sees as many as its
    tokenizer fills a text up to (77), gives a pooled vector only. Not doubled: guidance is an input, or distilled away.
    """
    sizes = packed_sizes(context)
    pictures = 2 if _edits(context) else 1
    return {
        **sizes,
        "image_tokens": pictures * sizes["image_tokens"],
        "text_encoder_tokens": context.filled("text_encoder"),
    }


def _edits(context: SpecContext) -> bool:
    return context.runs("FluxKontextPipeline", "FluxKontextInpaintPipeline")


FLUX = PipelineFamily(
    "Flux",
    (
        "FluxPipeline",
        "FluxImg2ImgPipeline",
        "FluxInpaintPipeline",
        "FluxControlPipeline",
        "FluxControlImg2ImgPipeline",
        "FluxControlInpaintPipeline",
        "FluxFillPipeline",
        "FluxKontextPipeline",
        "FluxKontextInpaintPipeline",
        "FluxControlNetPipeline",
        "FluxControlNetImg2ImgPipeline",
        "FluxControlNetInpaintPipeline",
    ),
    "flux/pipeline_flux.py",
    _flux,
)


def _flux_2(context: SpecContext) -> Sizes:
    """Height and width: 128 latents × the VAE's downscaling; latents are packed two by two into "image_tokens".

    Tokens: 512. Not doubled: guidance is an input.
    """
    return packed_sizes(context)


FLUX_2 = PipelineFamily("Flux2", ("Flux2Pipeline",), "flux2/pipeline_flux2.py", _flux_2)


def _chroma(context: SpecContext) -> Sizes:
    """Height and width: 128 latents × the VAE's downscaling; latents are packed two by two into "image_tokens".

    Tokens: 512. With and without the prompt are two calls: rows are not doubled.
    """
    sizes = packed_sizes(context)
    return {**sizes, "all_tokens": sizes["tokens"] + sizes["image_tokens"]}


CHROMA = PipelineFamily("Chroma", ("ChromaPipeline", "ChromaImg2ImgPipeline"), "chroma/pipeline_chroma.py", _chroma)


def guided(context: SpecContext) -> bool:
    """Whether guidance is an input."""
    return bool(context.option("guidance_embeds", False))


def _flux_single_blocks(context: SpecContext) -> Sequence[tuple[int, ...]]:
    shape = (context.sizes["rows"], context.sizes["image_tokens"], hidden_size(context))
    return [shape] * controlnet_blocks(context, "num_single_layers")


def _repeated(context: SpecContext) -> Mapping[str, Any]:
    """A ControlNet that reads pixels (XLabs') gives fewer blocks, which the pipeline has the transformer repeat."""
    if not with_controlnet(context):
        return {}
    pixels = context.option("conditioning_embedding_channels", model="controlnet") is not None
    return {"controlnet_blocks_repeat": pixels}


FLUX_TRANSFORMER = Spec(
    class_name="FluxTransformer2DModel",
    library="diffusers",
    families=(FLUX,),
    models=("transformer",),
    source="flux/pipeline_flux.py",
    inputs=(
        Input("hidden_states", ("rows", "image_tokens", "in_channels"), note="latents packed two by two"),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("pooled_projections", ("rows", "pooled_projection_dim")),
        Input("timestep", ("rows",), note="the scheduler's, by a thousand"),
        Input("img_ids", ("image_tokens", 3)),
        Input("txt_ids", ("tokens", 3)),
        Input("guidance", ("rows",), "float32", when=guided, only="guidance_embeds is set (Flux dev)"),
        Input(
            "controlnet_block_{i}",
            ("rows", "image_tokens", "hidden"),
            to="controlnet_block_samples.{i}",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=packed_blocks,
        ),
        Input(
            "controlnet_single_block_{i}",
            ("rows", "image_tokens", "hidden"),
            to="controlnet_single_block_samples.{i}",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=_flux_single_blocks,
        ),
    ),
    outputs=(Output("sample"),),
    constants=_repeated,
    fixed_settings=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
        FixedSetting(
            "image",
            "as large as the result",
            "the picture that is edited has as many tokens as the one that is made; of another size it would be another"
            " graph",
            when=_edits,
            only="in Kontext",
        ),
    ),
)

FLUX_2_TRANSFORMER = Spec(
    class_name="Flux2Transformer2DModel",
    library="diffusers",
    families=(FLUX_2,),
    models=("transformer",),
    source="flux2/pipeline_flux2.py",
    inputs=(
        Input("hidden_states", ("rows", "image_tokens", "in_channels"), note="latents packed two by two"),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("timestep", ("rows",), note="the scheduler's, by a thousand"),
        Input("img_ids", ("rows", "image_tokens", 4), "int64"),
        Input("txt_ids", ("rows", "tokens", 4), "int64"),
        Input("guidance", ("rows",), "float32"),
    ),
    outputs=SAMPLE,
    fixed_settings=(LORA_SCALE,),
)


def _of_picture(context: SpecContext) -> bool:
    """Whether it starts from a picture: that pipeline leaves timesteps as the scheduler has them."""
    return context.pipeline.class_name == "ChromaImg2ImgPipeline"


CHROMA_TRANSFORMER = Spec(
    class_name="ChromaTransformer2DModel",
    library="diffusers",
    families=(CHROMA,),
    models=("transformer",),
    source="chroma/pipeline_chroma.py",
    inputs=(
        Input("hidden_states", ("rows", "image_tokens", "in_channels"), note="latents packed two by two"),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input(
            "timestep",
            ("rows",),
            when=lambda context: not _of_picture(context),
            only="the pipeline is not ChromaImg2Img",
            note="the scheduler's, by a thousand",
        ),
        Input(
            "timestep",
            ("rows",),
            "timestep",
            when=_of_picture,
            only="the pipeline is ChromaImg2Img",
            note="by a thousand",
        ),
        Input("img_ids", ("image_tokens", 3)),
        Input("txt_ids", ("tokens", 3)),
        Input("attention_mask", ("rows", "all_tokens"), note="of the text, and ones for the image"),
    ),
    outputs=SAMPLE,
    patches=(MASKED_ATTENTION,),
    fixed_settings=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
    ),
)


def _reads_pixels(context: SpecContext) -> bool:
    return context.option("conditioning_embedding_channels") is not None


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
            when=lambda context: not _reads_pixels(context),
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
            when=lambda context: context.option("num_mode") is not None,
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
            when=lambda context: bool(context.option("guidance_embeds", False)),
            only="guidance_embeds is set",
        ),
        CONDITIONING_SCALE,
    ),
    outputs=(
        Output("controlnet_block_{i}", "result[0][{i}]", lambda context: controlnet_blocks(context, "num_layers")),
        Output(
            "controlnet_single_block_{i}",
            "result[1][{i}]",
            lambda context: controlnet_blocks(context, "num_single_layers"),
        ),
    ),
    fixed_settings=(ONE_CONTROLNET,),
)

FAMILIES = (
    FLUX,
    CHROMA,
    FLUX_2,
)

SPECS = (
    FLUX_TRANSFORMER,
    FLUX_2_TRANSFORMER,
    CHROMA_TRANSFORMER,
    FLUX_CONTROLNET,
)
