"""Qwen-Image: sizes, transformer, ControlNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE, ONE_CONTROLNET
from attnfuse.tracing.specs.patch_names import QWEN_ROTARY
from attnfuse.tracing.specs.pictures.flux import guided
from attnfuse.tracing.specs.record import SAMPLE, Input, Output, PipelineFamily, Spec
from attnfuse.tracing.specs.shared.controlnets import (
    CONDITIONING_SCALE,
    controlnet_blocks,
    packed_blocks,
    with_controlnet,
)
from attnfuse.tracing.specs.sizes import packed_sizes_at


def _qwen_image(context: SpecContext) -> Sizes:
    """Height and width: 128 latents × the VAE's downscaling; latents are packed two by two into "image_tokens".

    Tokens: 512, the most; the pipeline hands over as many as the prompt has. With and without the prompt are two calls:
    rows are not doubled.
    """
    scale = 2 ** len(context.option("temperal_downsample", (False, True, True), model="vae"))
    return packed_sizes_at(context, scale)


QWEN_IMAGE = PipelineFamily(
    "Qwen-Image",
    (
        "QwenImagePipeline",
        "QwenImageImg2ImgPipeline",
        "QwenImageInpaintPipeline",
        "QwenImageControlNetPipeline",
        "QwenImageControlNetInpaintPipeline",
    ),
    "qwenimage/pipeline_qwenimage.py",
    _qwen_image,
)


def qwen_constants(context: SpecContext) -> Mapping[str, Any]:
    """Frames and packed latents of every picture, and the tokens of its text, from which rotary tables are made."""
    rows, sizes = context.sizes["rows"], context.sizes
    return {
        "img_shapes": [[(1, sizes["latent_height"] // 2, sizes["latent_width"] // 2)]] * rows,
        "txt_seq_lens": [sizes["tokens"]] * rows,
    }


# The pipeline hands over a mask of the text too, which nothing in the model reads.
QWEN_IMAGE_TRANSFORMER = Spec(
    class_name="QwenImageTransformer2DModel",
    library="diffusers",
    families=(QWEN_IMAGE,),
    models=("transformer",),
    source="qwenimage/pipeline_qwenimage.py",
    inputs=(
        Input("hidden_states", ("rows", "image_tokens", "in_channels"), note="latents packed two by two"),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("timestep", ("rows",), note="the scheduler's, by a thousand"),
        Input("guidance", ("rows",), "float32", when=guided, only="guidance_embeds is set"),
        Input(
            "controlnet_block_{i}",
            ("rows", "image_tokens", "hidden"),
            to="controlnet_block_samples.{i}",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=packed_blocks,
        ),
    ),
    outputs=SAMPLE,
    constants=qwen_constants,
    patches=(QWEN_ROTARY,),
    fixed_settings=(LORA_SCALE,),
)


def _qwen_sizes(context: SpecContext) -> Sizes:
    """The condition is packed latents, beside which inpainting has its mask."""
    extra = context.option("extra_condition_channels", 0) and context.number("extra_condition_channels")
    return {"condition_channels": context.number("in_channels", default=64) + extra}


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
        CONDITIONING_SCALE,
    ),
    outputs=(Output("controlnet_block_{i}", "result[{i}]", lambda context: controlnet_blocks(context, "num_layers")),),
    sizes=_qwen_sizes,
    constants=qwen_constants,
    patches=(QWEN_ROTARY,),
    fixed_settings=(ONE_CONTROLNET,),
)

FAMILIES = (QWEN_IMAGE,)

SPECS = (
    QWEN_IMAGE_TRANSFORMER,
    QWEN_IMAGE_CONTROLNET,
)
