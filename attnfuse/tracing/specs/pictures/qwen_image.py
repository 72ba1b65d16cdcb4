"""Qwen-Image: sizes, transformer, ControlNet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attnfuse.tracing.folder import read_json
from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE, ONE_CONTROLNET
from attnfuse.tracing.specs.patch_names import QWEN_ROTARY, QWEN_TEXT
from attnfuse.tracing.specs.pictures.flux import guided
from attnfuse.tracing.specs.record import SAMPLE, FixedSetting, Input, Output, PipelineFamily, Spec
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


def _qwen_image_edit(context: SpecContext) -> Sizes:
    """Height and width: 128 latents × the VAE's downscaling; latents are packed two by two into "image_tokens".

    The picture that is edited follows, of the same proportions and 1024² pixels; EditInpaint makes one of that size
    whatever is asked for. The text encoder sees it too, in EditPlus of 384² pixels. Tokens: 512, the most, behind those
    of the picture; before both the text encoder sees 64 more, the template's, which are cut off. With and without the
    prompt are two calls: rows are not doubled.
    """
    sizes = _qwen_image(context)
    height, width = _of_area(1024 * 1024, sizes["height"], sizes["width"])
    if context.runs("QwenImageEditInpaintPipeline"):
        sizes = _qwen_image(replace(context, shapes=replace(context.shapes, height=height, width=width)))
    plus = context.runs("QwenImageEditPlusPipeline")
    rows, columns = _seen(context, *(_of_area(384 * 384, height, width) if plus else (height, width)))
    side = 2 * (sizes["height"] // sizes["latent_height"])
    tokens = sizes["tokens"] + rows * columns // 4
    return {
        **sizes,
        "picture_height": height,
        "picture_width": width,
        "image_tokens": sizes["image_tokens"] + (height // side) * (width // side),
        "seen_rows": rows,
        "seen_columns": columns,
        "tokens": tokens,
        "text_encoder_tokens": tokens + 64,
    }


QWEN_IMAGE_EDIT = PipelineFamily(
    "Qwen-Image-Edit",
    ("QwenImageEditPipeline", "QwenImageEditInpaintPipeline", "QwenImageEditPlusPipeline"),
    "qwenimage/pipeline_qwenimage_edit.py",
    _qwen_image_edit,
)


def _of_area(area: int, height: int, width: int) -> tuple[int, int]:
    """`calculate_dimensions` of the pipelines: so many pixels of the picture's proportions, in multiples of 32."""
    ratio = width / height
    across = math.sqrt(area * ratio)
    return round(across / ratio / 32) * 32, round(across / 32) * 32


def _seen(context: SpecContext, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of patches of 14 pixels, in pairs, that Qwen2VLProcessor makes of a picture (`smart_resize`)."""
    rows, columns = (round(side / 28) * 28 for side in (height, width))
    most = _most_pixels(context)
    if rows * columns > most:
        beta = math.sqrt(height * width / most)
        rows, columns = (math.floor(side / beta / 28) * 28 for side in (height, width))
    return rows // 14, columns // 14


def _most_pixels(context: SpecContext) -> int:
    """What the processor makes pictures smaller than; 12845056, as published, where nothing says it."""
    folder = context.pipeline.folders.get("processor")
    path = None if folder is None else folder / "preprocessor_config.json"
    found = read_json(path).get("max_pixels") if path is not None and path.is_file() else None
    return found if isinstance(found, int) and found > 0 else 12845056


def encoded_picture(context: SpecContext) -> Sizes:
    """Height and width of what goes through the autoencoder: the one that is edited, or one as large as the result."""
    sizes = context.sizes
    return {f"encoded_{side}": sizes.get(f"picture_{side}", sizes[side]) for side in ("height", "width")}


def seen_picture(context: SpecContext) -> Mapping[str, Any]:
    """Frames, rows and columns of the patches of each picture that the text encoder sees."""
    sizes = context.sizes
    return {"image_grid_thw": [[1, sizes["seen_rows"], sizes["seen_columns"]]] * sizes["batch"]}


def qwen_constants(context: SpecContext) -> Mapping[str, Any]:
    """Frames and packed latents of every picture, and the tokens of its text, from which rotary tables are made."""
    rows, sizes = context.sizes["rows"], context.sizes
    pictures = [(1, sizes["latent_height"] // 2, sizes["latent_width"] // 2)]
    if "picture_height" in sizes:
        side = 2 * (sizes["height"] // sizes["latent_height"])
        pictures.append((1, sizes["picture_height"] // side, sizes["picture_width"] // side))
    return {
        "img_shapes": [pictures] * rows,
        "txt_seq_lens": [sizes["tokens"]] * rows,
    }


# In mindone nothing reads the mask, and texts are as long as they are: see the patch.
_TEXT_MASK = Input(
    "encoder_hidden_states_mask",
    ("rows", "tokens"),
    "int64",
    note="1 for as many tokens as the longest prompt has, in every row: the pipeline hands over no others",
)

QWEN_IMAGE_TRANSFORMER = Spec(
    class_name="QwenImageTransformer2DModel",
    library="diffusers",
    families=(QWEN_IMAGE, QWEN_IMAGE_EDIT),
    models=("transformer",),
    source="qwenimage/pipeline_qwenimage.py",
    inputs=(
        Input("hidden_states", ("rows", "image_tokens", "in_channels"), note="latents packed two by two"),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        _TEXT_MASK,
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
    patches=(QWEN_ROTARY, QWEN_TEXT),
    fixed_settings=(
        LORA_SCALE,
        FixedSetting(
            "image",
            "one, of the result's proportions",
            "the picture that is edited has as many tokens as its size says: several, or one of other proportions,"
            " would be another graph",
            when=lambda context: "picture_height" in context.sizes,
            only="in Qwen-Image-Edit",
        ),
    ),
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
        _TEXT_MASK,
        Input("timestep", ("rows",), note="the scheduler's, by a thousand"),
        CONDITIONING_SCALE,
    ),
    outputs=(Output("controlnet_block_{i}", "result[{i}]", lambda context: controlnet_blocks(context, "num_layers")),),
    sizes=_qwen_sizes,
    constants=qwen_constants,
    patches=(QWEN_ROTARY, QWEN_TEXT),
    fixed_settings=(ONE_CONTROLNET,),
)

FAMILIES = (
    QWEN_IMAGE,
    QWEN_IMAGE_EDIT,
)

SPECS = (
    QWEN_IMAGE_TRANSFORMER,
    QWEN_IMAGE_CONTROLNET,
)
