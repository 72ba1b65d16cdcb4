"""unCLIP (Karlo): sizes, the UNets that decode an embedding and enlarge what came of it, and what is between."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.pictures.stable_diffusion import UNET_2D_CONDITION
from attnfuse.tracing.specs.record import SAMPLE, Input, Output, PipelineFamily, Refusal, Spec


def _unclip(context: SpecContext) -> Sizes:
    """Each UNet makes pictures of its own `sample_size`. Tokens: as many as the tokenizer fills a text up to.

    Guided: two rows an image in prior and decoder; what enlarges has one.
    """
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=True),
        "tokens": context.text_filled("text_encoder"),
    }


UNCLIP = PipelineFamily(
    "unCLIP",
    ("UnCLIPPipeline", "UnCLIPImageVariationPipeline"),
    "unclip/pipeline_unclip.py",
    _unclip,
    aside=(),
)


def _side(context: SpecContext) -> Sizes:
    return {"side": context.number("sample_size")}


def _decoder_sizes(context: SpecContext) -> Sizes:
    """Some tokens of the picture's embedding stand before those of the text."""
    extra = context.number("clip_extra_context_tokens", "text_proj", 4)
    return {
        **_side(context),
        "context": context.number("cross_attention_dim"),
        "all_tokens": context.sizes["tokens"] + extra,
        "time_width": 4 * context.numbers("block_out_channels")[0],
    }


DECODER = replace(
    UNET_2D_CONDITION,
    families=(UNCLIP,),
    models=("decoder",),
    source=UNCLIP.source,
    inputs=(
        Input("sample", ("rows", "in_channels", "side", "side")),
        Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis"),
        Input("encoder_hidden_states", ("rows", "all_tokens", "context"), note="what `text_proj` gives"),
        Input("class_labels", ("rows", "time_width"), note="the other that it gives"),
        Input("attention_mask", ("rows", "all_tokens"), "int64", note="the tokenizer's, behind ones"),
    ),
    sizes=_decoder_sizes,
    refuse=(
        *(one for one in UNET_2D_CONDITION.refuse if one.option not in ("class_embed_type", "addition_embed_type")),
        Refusal("class_embed_type", ("identity",)),
        Refusal("addition_embed_type"),
    ),
    patches=(*UNET_2D_CONDITION.patches, MASKED_ATTENTION),
    fixed_settings=(),
)

TEXT_PROJECTION = Spec(
    class_name="UnCLIPTextProjModel",
    library="diffusers",
    families=(UNCLIP,),
    models=("text_proj",),
    source=UNCLIP.source,
    inputs=(
        Input("image_embeddings", ("batch", "width")),
        Input("prompt_embeds", ("rows", "width")),
        Input("text_encoder_hidden_states", ("rows", "tokens", "width")),
    ),
    outputs=(Output("encoder_hidden_states", "result[0]"), Output("class_labels", "result[1]")),
    fixed={},
    constants=lambda context: {"do_classifier_free_guidance": context.sizes["rows"] > context.sizes["batch"]},
    sizes=lambda context: {"width": context.number("clip_embeddings_dim", default=768)},
)

ENLARGING = Spec(
    class_name="UNet2DModel",
    library="diffusers",
    families=(UNCLIP,),
    models=("super_res_first", "super_res_last"),
    source=UNCLIP.source,
    inputs=(
        Input(
            "sample", ("batch", "in_channels", "side", "side"), note="latents, and the picture enlarged, side by side"
        ),
        Input("timestep", (1,), "timestep", note="one scalar of the scheduler, given an axis"),
    ),
    outputs=SAMPLE,
    sizes=_side,
    refuse=(Refusal("class_embed_type"), Refusal("num_class_embeds")),
)

FAMILIES = (UNCLIP,)

SPECS = (
    DECODER,
    TEXT_PROJECTION,
    ENLARGING,
)
