"""Würstchen and Stable Cascade, which denoise a picture's embedding, then its latents: sizes, priors, decoders."""

from __future__ import annotations

import math

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LORA_SCALE
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.record import SAMPLE, Input, Output, PipelineFamily, Spec


def _in_stages(context: SpecContext) -> Sizes:
    """Height and width: 1024, of a pipeline that is both stages 512; a square of 42.67 pixels makes one of "embedding",
    which 10.67 latents a side are of (`resolution_multiple`, `latent_dim_scale`).

    Tokens: as many as the tokenizer fills a text up to, 77. The prior is guided, two rows an image; the decoder is not.
    """
    side = 512 if context.pipeline.class_name.endswith("CombinedPipeline") else 1024
    height, width = context.image(lambda: (side, side), 1, "")
    multiple = float(context.pipeline.options.get("resolution_multiple") or 42.67)
    scale = float(context.pipeline.options.get("latent_dim_scale") or 10.67)
    rows, columns = math.ceil(height / multiple), math.ceil(width / multiple)
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=False),
        "prior_rows": context.rows(guided=True),
        "embedding_height": rows,
        "embedding_width": columns,
        "latent_height": int(rows * scale),
        "latent_width": int(columns * scale),
        "tokens": context.text_filled("text_encoder"),
        "prior_text_encoder_tokens": context.text_filled("prior_text_encoder"),
    }


WUERSTCHEN = PipelineFamily(
    "Würstchen",
    ("WuerstchenPriorPipeline", "WuerstchenDecoderPipeline", "WuerstchenCombinedPipeline"),
    "wuerstchen/pipeline_wuerstchen_combined.py",
    _in_stages,
)

STABLE_CASCADE = PipelineFamily(
    "Stable Cascade",
    ("StableCascadePriorPipeline", "StableCascadeDecoderPipeline", "StableCascadeCombinedPipeline"),
    "stable_cascade/pipeline_stable_cascade_combined.py",
    _in_stages,
    aside=("image_encoder", "prior_image_encoder"),
)


def _prior_tokens(context: SpecContext) -> Sizes:
    """Of the prior's own text encoder, where the pipeline is both stages."""
    alone = context.model == "prior"
    return {"prior_tokens": context.sizes["tokens" if alone else "prior_text_encoder_tokens"]}


_RATIO = Input("timestep_ratio", ("prior_rows",), note="of 1 at the beginning to 0 at the end")

WUERSTCHEN_PRIOR = Spec(
    class_name="WuerstchenPrior",
    library="diffusers",
    families=(WUERSTCHEN,),
    models=("prior", "prior_prior"),
    source="wuerstchen/pipeline_wuerstchen_prior.py",
    inputs=(
        Input("sample", ("prior_rows", "c_in", "embedding_height", "embedding_width"), to="x"),
        Input("timestep_ratio", ("prior_rows",), to="r", note=_RATIO.note),
        Input("encoder_hidden_states", ("prior_rows", "prior_tokens", "c_cond"), to="c"),
    ),
    outputs=(Output("sample", "result"),),
    fixed={},
    sizes=lambda context: {
        **_prior_tokens(context),
        "c_in": context.number("c_in", default=16),
        "c_cond": context.number("c_cond", default=1024),
    },
    patches=(MASKED_ATTENTION,),
    fixed_settings=(LORA_SCALE,),
)

WUERSTCHEN_DECODER = Spec(
    class_name="WuerstchenDiffNeXt",
    library="diffusers",
    families=(WUERSTCHEN,),
    models=("decoder",),
    source="wuerstchen/pipeline_wuerstchen.py",
    inputs=(
        Input("sample", ("rows", 4, "latent_height", "latent_width"), to="x"),
        Input("timestep_ratio", ("rows",), to="r", note=_RATIO.note),
        Input("embedding", ("rows", "effnet_embd", "embedding_height", "embedding_width"), to="effnet"),
        Input("encoder_hidden_states", ("rows", "tokens", "clip_embd"), to="clip"),
    ),
    outputs=(Output("sample", "result"),),
    fixed={},
    sizes=lambda context: {
        "effnet_embd": context.number("effnet_embd", default=16),
        "clip_embd": context.number("clip_embd", default=1024),
    },
    patches=(MASKED_ATTENTION,),
)

STABLE_CASCADE_PRIOR = Spec(
    class_name="StableCascadeUNet",
    library="diffusers",
    families=(STABLE_CASCADE,),
    models=("prior", "prior_prior"),
    source="stable_cascade/pipeline_stable_cascade_prior.py",
    inputs=(
        Input("sample", ("prior_rows", "in_channels", "embedding_height", "embedding_width")),
        _RATIO,
        Input("clip_text_pooled", ("prior_rows", 1, "clip_text_pooled_in_channels")),
        Input("clip_text", ("prior_rows", "prior_tokens", "clip_text_in_channels")),
        Input("clip_img", ("prior_rows", 1, "clip_image_in_channels"), note="zeros where no picture is given"),
    ),
    outputs=SAMPLE,
    sizes=_prior_tokens,
    patches=(MASKED_ATTENTION,),
    fixed_settings=(LORA_SCALE,),
)

STABLE_CASCADE_DECODER = Spec(
    class_name="StableCascadeUNet",
    library="diffusers",
    families=(STABLE_CASCADE,),
    models=("decoder",),
    source="stable_cascade/pipeline_stable_cascade.py",
    inputs=(
        Input("sample", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("timestep_ratio", ("rows",), note=_RATIO.note),
        Input("clip_text_pooled", ("rows", 1, "clip_text_pooled_in_channels")),
        Input("effnet", ("rows", "effnet_in_channels", "embedding_height", "embedding_width")),
    ),
    outputs=SAMPLE,
    patches=(MASKED_ATTENTION,),
)

PAELLA_DECODER = Spec(
    class_name="PaellaVQModel",
    library="diffusers",
    families=(WUERSTCHEN, STABLE_CASCADE),
    models=("vqgan",),
    component="{model}_decoder",
    method="decode",
    source="wuerstchen/pipeline_wuerstchen.py",
    inputs=(Input("latents", ("batch", "channels", "latent_height", "latent_width"), to="h"),),
    outputs=(Output("image"),),
    sizes=lambda context: {"channels": context.number("latent_channels", default=4)},
)

FAMILIES = (
    WUERSTCHEN,
    STABLE_CASCADE,
)

SPECS = (
    WUERSTCHEN_PRIOR,
    WUERSTCHEN_DECODER,
    STABLE_CASCADE_PRIOR,
    STABLE_CASCADE_DECODER,
    PAELLA_DECODER,
)
