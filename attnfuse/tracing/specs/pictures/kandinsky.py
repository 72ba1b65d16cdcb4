"""Kandinsky 2.1, 2.2 and 3: sizes and UNets."""

from __future__ import annotations

from attnfuse.errors import SourceError
from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.record import Input, Output, PipelineFamily, Spec


def _movq_scale(context: SpecContext) -> int:
    return 2 ** (len(context.numbers("block_out_channels", "movq")) - 1) if context.has("movq") else 8


def _kandinsky_picture(context: SpecContext, side: int) -> dict[str, int]:
    """The pipelines round up to whole squares of latents; here what is no multiple is refused."""
    scale = _movq_scale(context)
    height, width = context.image(lambda: (side, side), scale * scale, "the square of the MoVQ's downscaling")
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=True),
        "height": height,
        "width": width,
        "latent_height": height // scale,
        "latent_width": width // scale,
    }


def prior_tokens(context: SpecContext, prefix: str = "") -> int:
    """The tokens that a prior sees, whose parts' names begin with `prefix` in a pipeline that is two in one."""
    tokens = context.number("num_embeddings", f"{prefix}prior", 77)
    tokenizer = f"{prefix}tokenizer"
    filled = context.filled_up_to(tokenizer)
    if filled is not None and filled != tokens and context.shapes.sequence_length is None:
        raise SourceError(
            f"{context.pipeline.root}: the prior has places for {tokens} tokens (num_embeddings), and the {tokenizer}"
            f" fills texts up to {filled} (model_max_length in tokenizer_config.json);"
            " fix that, or give --sequence-length."
        )
    return context.text(tokens, tokens)


def _of_prior(context: SpecContext) -> Sizes:
    """What a prior that is part of the pipeline sees, under its text encoder's own name."""
    return {"prior_text_encoder_tokens": prior_tokens(context, "prior_")} if context.has("prior_prior") else {}


def _kandinsky(context: SpecContext) -> Sizes:
    """Height and width: 512. Tokens: 77, and as many as it has places for of a prior. Guided: two rows an image."""
    return {**_kandinsky_picture(context, 512), "tokens": context.text(77), **_of_prior(context)}


KANDINSKY = PipelineFamily(
    "Kandinsky 2.1",
    (
        "KandinskyPipeline",
        "KandinskyImg2ImgPipeline",
        "KandinskyInpaintPipeline",
        "KandinskyCombinedPipeline",
        "KandinskyImg2ImgCombinedPipeline",
        "KandinskyInpaintCombinedPipeline",
    ),
    "kandinsky/pipeline_kandinsky.py",
    _kandinsky,
)


def _kandinsky_2_2(context: SpecContext) -> Sizes:
    """Height and width: 512. No text: it is in the picture's embedding, which the prior gives. Guided.

    Tokens of a prior that is part of the pipeline: as many as it has places for.
    """
    return {**_kandinsky_picture(context, 512), **_of_prior(context)}


KANDINSKY_2_2 = PipelineFamily(
    "Kandinsky 2.2",
    (
        "KandinskyV22Pipeline",
        "KandinskyV22Img2ImgPipeline",
        "KandinskyV22InpaintPipeline",
        "KandinskyV22ControlnetPipeline",
        "KandinskyV22ControlnetImg2ImgPipeline",
        "KandinskyV22CombinedPipeline",
        "KandinskyV22Img2ImgCombinedPipeline",
        "KandinskyV22InpaintCombinedPipeline",
    ),
    "kandinsky2_2/pipeline_kandinsky2_2.py",
    _kandinsky_2_2,
)


def _kandinsky_3(context: SpecContext) -> Sizes:
    """Height and width: 1024. Tokens: 128, the most; the pipeline cuts what the prompt does not use. Guided."""
    return {**_kandinsky_picture(context, 1024), "tokens": context.text(128)}


KANDINSKY_3 = PipelineFamily(
    "Kandinsky 3",
    ("Kandinsky3Pipeline", "Kandinsky3Img2ImgPipeline"),
    "kandinsky3/pipeline_kandinsky3.py",
    _kandinsky_3,
)

_TIMESTEP = Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis")

KANDINSKY_UNET = Spec(
    class_name="UNet2DConditionModel",
    library="diffusers",
    families=(KANDINSKY,),
    models=("unet",),
    source="kandinsky/pipeline_kandinsky.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "latent_height", "latent_width")),
        _TIMESTEP,
        Input("encoder_hidden_states", ("rows", "tokens", "encoder_hid_dim")),
        Input("text_embeds", ("rows", "cross_attention_dim"), to="added_cond_kwargs.text_embeds"),
        Input("image_embeds", ("rows", "cross_attention_dim"), to="added_cond_kwargs.image_embeds"),
    ),
    outputs=(Output("sample"),),
    check=lambda context: _of_kandinsky(context, "text_image_proj", ("text_image",)),
    fixed_settings=(LORA_SCALE,),
)

KANDINSKY_2_2_UNET = Spec(
    class_name="UNet2DConditionModel",
    library="diffusers",
    families=(KANDINSKY_2_2,),
    models=("unet",),
    source="kandinsky2_2/pipeline_kandinsky2_2.py",
    inputs=(
        Input("sample", ("rows", "sample_channels", "latent_height", "latent_width")),
        _TIMESTEP,
        Input("image_embeds", ("rows", "encoder_hid_dim"), to="added_cond_kwargs.image_embeds"),
        Input(
            "hint",
            ("rows", 3, "height", "width"),
            to="added_cond_kwargs.hint",
            when=lambda context: _hinted(context),
            only="addition_embed_type is image_hint",
            note="the picture of conditions, in pixels",
        ),
    ),
    outputs=(Output("sample"),),
    fixed={"encoder_hidden_states": None, "return_dict": False},
    sizes=lambda context: {"sample_channels": context.number("in_channels") // (2 if _hinted(context) else 1)},
    check=lambda context: _of_kandinsky(context, "image_proj", ("image", "image_hint")),
)


def _hinted(context: SpecContext) -> bool:
    """Whether half of the channels are made of a picture of conditions."""
    return bool(context.option("addition_embed_type") == "image_hint")


def _of_kandinsky(context: SpecContext, hidden: str, added: tuple[str, ...]) -> str:
    """Refuse a UNet that is not conditioned as its pipeline does."""
    for option, allowed in (("encoder_hid_dim_type", (hidden,)), ("addition_embed_type", added)):
        value = context.option(option)
        if value not in allowed:
            return f"{option} = {value!r} is not supported"
    return ""


KANDINSKY_3_UNET = Spec(
    class_name="Kandinsky3UNet",
    library="diffusers",
    families=(KANDINSKY_3,),
    models=("unet",),
    source="kandinsky3/pipeline_kandinsky3.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "latent_height", "latent_width")),
        _TIMESTEP,
        Input("encoder_hidden_states", ("rows", "tokens", "encoder_hid_dim")),
        Input("encoder_attention_mask", ("rows", "tokens"), "int64", note="the tokenizer's"),
    ),
    outputs=(Output("sample"),),
    patches=(MASKED_ATTENTION,),
    fixed_settings=(LORA_SCALE,),
)

FAMILIES = (
    KANDINSKY,
    KANDINSKY_2_2,
    KANDINSKY_3,
)

SPECS = (
    KANDINSKY_UNET,
    KANDINSKY_2_2_UNET,
    KANDINSKY_3_UNET,
)
