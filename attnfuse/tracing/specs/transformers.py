"""The transformers: one entry a class.

Imports `families`, `record` and `told` of this room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attnfuse.tracing.specs.families import (
    AURA_FLOW,
    CHROMA,
    COGVIEW_3,
    COGVIEW_4,
    DIT,
    FLUX,
    FLUX_2,
    HUNYUAN_DIT,
    LUMINA,
    LUMINA_2,
    PIXART_ALPHA,
    PIXART_SIGMA,
    QWEN_IMAGE,
    SANA,
    STABLE_DIFFUSION_3,
)
from attnfuse.tracing.specs.record import (
    JOINT_SEQUENCE,
    MASKED_ATTENTION,
    QWEN_ROTARY,
    REAL_ROTARY,
    Input,
    Output,
    Refusal,
    Scene,
    Sizes,
    Spec,
    divide,
)
from attnfuse.tracing.specs.told import IP_ADAPTER_SCALE, LORA_SCALE


def with_controlnet(scene: Scene) -> bool:
    """Whether the pipeline has a ControlNet, whose outputs the transformer takes."""
    return "controlnet" in scene.pipeline.classes


def controlnet_blocks(scene: Scene, key: str) -> int:
    """How many blocks of that kind the ControlNet has, each of which gives one output; none where it says so."""
    return scene.number(key, "controlnet") if scene.option(key, model="controlnet") != 0 else 0


def _hidden(scene: Scene) -> int:
    return scene.number("num_attention_heads") * scene.number("attention_head_dim")


def _sd3_blocks(scene: Scene) -> Sequence[tuple[int, ...]]:
    patch = scene.number("patch_size", default=2)
    tokens = (scene.sizes["latent_height"] // patch) * (scene.sizes["latent_width"] // patch)
    return [(scene.sizes["rows"], tokens, _hidden(scene))] * controlnet_blocks(scene, "num_layers")


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
    told=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
    ),
)


def _guided(scene: Scene) -> bool:
    return bool(scene.option("guidance_embeds", False))


def _packed_blocks(scene: Scene) -> Sequence[tuple[int, ...]]:
    shape = (scene.sizes["rows"], scene.sizes["image_tokens"], _hidden(scene))
    return [shape] * controlnet_blocks(scene, "num_layers")


def _flux_single_blocks(scene: Scene) -> Sequence[tuple[int, ...]]:
    shape = (scene.sizes["rows"], scene.sizes["image_tokens"], _hidden(scene))
    return [shape] * controlnet_blocks(scene, "num_single_layers")


def _repeated(scene: Scene) -> Mapping[str, Any]:
    """A ControlNet that reads pixels (XLabs') gives fewer blocks, which the pipeline has the transformer repeat."""
    if not with_controlnet(scene):
        return {}
    pixels = scene.option("conditioning_embedding_channels", model="controlnet") is not None
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
        Input("guidance", ("rows",), "float32", when=_guided, only="guidance_embeds is set (Flux dev)"),
        Input(
            "controlnet_block_{i}",
            ("rows", "image_tokens", "hidden"),
            to="controlnet_block_samples.{i}",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=_packed_blocks,
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
    told=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
    ),
)

_SAMPLE = (Output("sample"),)
TEXT_MASK = Input("encoder_attention_mask", ("rows", "tokens"), "int64", note="the tokenizer's")


def _conditioned(scene: Scene) -> bool:
    """As `PixArtTransformer2DModel` decides it."""
    given = scene.option("use_additional_conditions")
    return scene.option("sample_size") == 128 if given is None else bool(given)


PIXART = Spec(
    class_name="PixArtTransformer2DModel",
    library="diffusers",
    families=(PIXART_ALPHA, PIXART_SIGMA),
    models=("transformer",),
    source="pixart_alpha/pipeline_pixart_alpha.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "caption_channels")),
        Input("timestep", ("rows",), "timestep"),
        TEXT_MASK,
        Input(
            "resolution",
            ("rows", 2),
            to="added_cond_kwargs.resolution",
            when=_conditioned,
            only="use_additional_conditions is set (by default where sample_size is 128)",
        ),
        Input(
            "aspect_ratio",
            ("rows", 1),
            to="added_cond_kwargs.aspect_ratio",
            when=_conditioned,
            only="use_additional_conditions is set (by default where sample_size is 128)",
        ),
    ),
    outputs=_SAMPLE,
    fixed={"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}, "return_dict": False},
    stand_ins=(MASKED_ATTENTION,),
)

DIT_TRANSFORMER = Spec(
    class_name="DiTTransformer2DModel",
    library="diffusers",
    families=(DIT,),
    models=("transformer",),
    source="dit/pipeline_dit.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("timestep", ("rows",), "timestep"),
        Input("class_labels", ("rows",), "int64"),
    ),
    outputs=_SAMPLE,
)


def _styled(scene: Scene) -> bool:
    return bool(scene.option("use_style_cond_and_image_meta_size", True))


def hunyuan_dit_controls(scene: Scene) -> int:
    """How many outputs its ControlNet gives: it is the transformer's first half, but for the middle block."""
    return max(0, scene.number("transformer_num_layers", "controlnet", 40) // 2 - 1)


def _hunyuan_dit_blocks(scene: Scene) -> Sequence[tuple[int, ...]]:
    shape = (scene.sizes["rows"], hunyuan_dit_sizes(scene)["rotary_tokens"], _hidden(scene))
    return [shape] * hunyuan_dit_controls(scene)


def hunyuan_dit_sizes(scene: Scene) -> Sizes:
    """The rotary table has a row for every patch."""
    patch = scene.number("patch_size")
    grid = (scene.sizes["latent_height"] // patch) * (scene.sizes["latent_width"] // patch)
    return {"rotary_tokens": grid, "t5_tokens": scene.sizes["text_encoder_2_tokens"]}


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
    outputs=_SAMPLE,
    sizes=hunyuan_dit_sizes,
)

AURA_FLOW_TRANSFORMER = Spec(
    class_name="AuraFlowTransformer2DModel",
    library="diffusers",
    families=(AURA_FLOW,),
    models=("transformer",),
    source="aura_flow/pipeline_aura_flow.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("timestep", ("rows",), note="the scheduler's, by a thousand"),
    ),
    outputs=_SAMPLE,
    told=(LORA_SCALE,),
)


def _sana_blocks(scene: Scene) -> Sequence[tuple[int, ...]]:
    patch = scene.number("patch_size", default=1)
    tokens = (scene.sizes["latent_height"] // patch) * (scene.sizes["latent_width"] // patch)
    return [(scene.sizes["rows"], tokens, _hidden(scene))] * controlnet_blocks(scene, "num_layers")


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
    outputs=_SAMPLE,
    refuse=(Refusal("guidance_embeds", (False,)),),  # Sana Sprint: another pipeline
    stand_ins=(MASKED_ATTENTION,),
    told=(LORA_SCALE,),
)

_COGVIEW_SIZES = (
    Input("original_size", ("rows", 2)),
    Input("target_size", ("rows", 2)),
    Input("crop_coords", ("rows", 2)),
)

COGVIEW_3_TRANSFORMER = Spec(
    class_name="CogView3PlusTransformer2DModel",
    library="diffusers",
    families=(COGVIEW_3,),
    models=("transformer",),
    source="cogview3/pipeline_cogview3plus.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
        Input("timestep", ("rows",), "timestep"),
        *_COGVIEW_SIZES,
    ),
    outputs=_SAMPLE,
)

COGVIEW_4_TRANSFORMER = Spec(
    class_name="CogView4Transformer2DModel",
    library="diffusers",
    families=(COGVIEW_4,),
    models=("transformer",),
    source="cogview4/pipeline_cogview4.py",
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("encoder_hidden_states", ("rows", "tokens", "text_embed_dim")),
        Input("timestep", ("rows",), "float32"),
        *_COGVIEW_SIZES,
    ),
    outputs=_SAMPLE,
    told=(LORA_SCALE,),
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
    outputs=_SAMPLE,
    told=(LORA_SCALE,),
)

CHROMA_TRANSFORMER = Spec(
    class_name="ChromaTransformer2DModel",
    library="diffusers",
    families=(CHROMA,),
    models=("transformer",),
    source="chroma/pipeline_chroma.py",
    inputs=(
        Input("hidden_states", ("rows", "image_tokens", "in_channels"), note="latents packed two by two"),
        Input("encoder_hidden_states", ("rows", "tokens", "joint_attention_dim")),
        Input("timestep", ("rows",), note="the scheduler's, by a thousand"),
        Input("img_ids", ("image_tokens", 3)),
        Input("txt_ids", ("tokens", 3)),
        Input("attention_mask", ("rows", "all_tokens"), note="of the text, and ones for the image"),
    ),
    outputs=_SAMPLE,
    stand_ins=(MASKED_ATTENTION,),
    told=(
        LORA_SCALE,
        IP_ADAPTER_SCALE,
    ),
)


def qwen_constants(scene: Scene) -> Mapping[str, Any]:
    """Frames and packed latents of every picture, and the tokens of its text, from which rotary tables are made."""
    rows, sizes = scene.sizes["rows"], scene.sizes
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
        Input("guidance", ("rows",), "float32", when=_guided, only="guidance_embeds is set"),
        Input(
            "controlnet_block_{i}",
            ("rows", "image_tokens", "hidden"),
            to="controlnet_block_samples.{i}",
            when=with_controlnet,
            only="the pipeline has a ControlNet: its outputs",
            each=_packed_blocks,
        ),
    ),
    outputs=_SAMPLE,
    constants=qwen_constants,
    stand_ins=(QWEN_ROTARY,),
    told=(LORA_SCALE,),
)

#: Rows and columns of the rotary table that the pipeline makes, whatever the picture's size.
_LUMINA_GRID = 384


def _lumina_sizes(scene: Scene) -> Sizes:
    """The rotary table has a complex number for every pair of a head's numbers."""
    width = divide(scene.number("hidden_size"), scene.number("num_attention_heads"), "hidden_size", scene.path())
    return {"head_pairs": width // 2}


def _proportional(scene: Scene) -> Mapping[str, Any]:
    """The tokens of a picture of the default size, for attention in proportion to them, which the pipeline asks for."""
    return {"cross_attention_kwargs": {"base_sequence_length": (scene.number("sample_size", default=128) // 2) ** 2}}


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
    outputs=_SAMPLE,
    constants=_proportional,
    sizes=_lumina_sizes,
    stand_ins=(MASKED_ATTENTION, REAL_ROTARY),
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
    outputs=_SAMPLE,
    stand_ins=(MASKED_ATTENTION, JOINT_SEQUENCE),
    told=(LORA_SCALE,),
)

SPECS = (
    SD3,
    FLUX_TRANSFORMER,
    PIXART,
    DIT_TRANSFORMER,
    HUNYUAN_DIT_TRANSFORMER,
    AURA_FLOW_TRANSFORMER,
    SANA_TRANSFORMER,
    COGVIEW_3_TRANSFORMER,
    COGVIEW_4_TRANSFORMER,
    FLUX_2_TRANSFORMER,
    CHROMA_TRANSFORMER,
    QWEN_IMAGE_TRANSFORMER,
    LUMINA_TRANSFORMER,
    LUMINA_2_TRANSFORMER,
)
