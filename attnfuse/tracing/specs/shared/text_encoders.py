"""The text encoders: one entry a class and use, for pipelines take different outputs from the same class."""

from __future__ import annotations

from dataclasses import replace

from attnfuse.errors import UsageError
from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.fixed_settings import LAST_BUT_ONE, LAST_LAYER, LORA_SCALE
from attnfuse.tracing.specs.patch_names import DEVICE_CALLS, PLAIN_RESULTS
from attnfuse.tracing.specs.pictures.aura_flow import AURA_FLOW
from attnfuse.tracing.specs.pictures.cogview import COGVIEW_3
from attnfuse.tracing.specs.pictures.deepfloyd_if import DEEPFLOYD_IF
from attnfuse.tracing.specs.pictures.flux import FLUX
from attnfuse.tracing.specs.pictures.flux_redux import FLUX_REDUX
from attnfuse.tracing.specs.pictures.hunyuan_dit import HUNYUAN_DIT
from attnfuse.tracing.specs.pictures.kandinsky import KANDINSKY, KANDINSKY_2_2
from attnfuse.tracing.specs.pictures.kandinsky_prior import KANDINSKY_PRIOR
from attnfuse.tracing.specs.pictures.marigold import MARIGOLD
from attnfuse.tracing.specs.pictures.pixart import PIXART_ALPHA, PIXART_SIGMA
from attnfuse.tracing.specs.pictures.stable_diffusion import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from attnfuse.tracing.specs.pictures.stable_diffusion_3 import STABLE_DIFFUSION_3
from attnfuse.tracing.specs.pictures.stable_diffusion_edits import LATENT_UPSCALE, STABLE_UNCLIP
from attnfuse.tracing.specs.pictures.unclip import UNCLIP
from attnfuse.tracing.specs.pictures.wuerstchen import STABLE_CASCADE, WUERSTCHEN
from attnfuse.tracing.specs.record import Input, Output, Refusal, Skip, Spec
from attnfuse.tracing.specs.sound.audio_ldm_2 import AUDIO_LDM_2
from attnfuse.tracing.specs.sound.stable_audio import STABLE_AUDIO
from attnfuse.tracing.specs.videos.animate_diff import ANIMATE_DIFF
from attnfuse.tracing.specs.videos.cogvideox import COGVIDEOX, CONSIS_ID
from attnfuse.tracing.specs.videos.cosmos import COSMOS
from attnfuse.tracing.specs.videos.hunyuan_video import HUNYUAN_VIDEO
from attnfuse.tracing.specs.videos.kandinsky_5 import KANDINSKY_5
from attnfuse.tracing.specs.videos.latte import LATTE
from attnfuse.tracing.specs.videos.ltx import LTX
from attnfuse.tracing.specs.videos.mochi import MOCHI
from attnfuse.tracing.specs.videos.wan import SKY_REELS_2, WAN


def text_tokens(context: SpecContext) -> Sizes:
    """A text encoder of its own length has it under its own name."""
    own = f"{context.model}_tokens"
    return {"text_tokens": context.sizes[own if own in context.sizes else "tokens"]}


def clip_tokens(context: SpecContext) -> Sizes:
    """Those of CLIP: UsageError beyond its positions, where the user asked for as many."""
    sizes, asked = text_tokens(context), context.shapes.sequence_length
    positions = context.number("max_position_embeddings", default=77)
    if asked is not None and sizes["text_tokens"] > positions:
        raise UsageError(
            f"sequence length {sizes['text_tokens']} is more than the text encoder's {positions} positions; for a"
            " longer text, encoded in pieces, give it to those that take the whole: --sequence-length unet="
            f"{sizes['text_tokens']}."
        )
    return sizes


IDS = Input("input_ids", ("batch", "text_tokens"), "int64")

_HIDDEN_STATES = {"output_hidden_states": True, "return_dict": False}

# With it the pipeline hands over an attention mask too.
_NO_MASK = (Refusal("use_attention_mask", (False, None)),)

# Of an earlier layer the state is normalised as the last one's is; XL and 3, which begin one earlier, take it as it is.
_SKIP = Skip("last_hidden_state", "self.{model}.text_model.final_layer_norm(result[2][-{back}])", 1)
_SKIP_PENULTIMATE = Skip("penultimate_hidden_state", "result[2][-{back}]", 2)

CLIP = Spec(
    class_name="CLIPTextModel",
    library="transformers",
    families=(STABLE_DIFFUSION, ANIMATE_DIFF),
    models=("text_encoder", "text_encoder_2"),
    source="stable_diffusion/pipeline_stable_diffusion.py",
    inputs=(IDS,),
    outputs=(Output("last_hidden_state"), Output("pooler_output", "result[1]")),
    sizes=clip_tokens,
    refuse=_NO_MASK,
    fixed_settings=(
        LORA_SCALE,
        LAST_LAYER,
    ),
    skip=_SKIP,
)

# These have no clip_skip.
CLIP_WHOLE = replace(
    CLIP,
    families=(FLUX, FLUX_REDUX, HUNYUAN_VIDEO),
    source="flux/pipeline_flux.py",
    fixed_settings=(LORA_SCALE,),
    skip=None,
)

CLIP_PROJECTED = Spec(
    class_name="CLIPTextModelWithProjection",
    library="transformers",
    families=(STABLE_DIFFUSION,),
    models=("text_encoder",),
    source="stable_diffusion/pipeline_stable_diffusion.py",
    inputs=(IDS,),
    outputs=(Output("last_hidden_state", "result[1]"), Output("text_embeds")),
    sizes=clip_tokens,
    refuse=_NO_MASK,
    fixed_settings=(
        LORA_SCALE,
        LAST_LAYER,
    ),
    skip=_SKIP,
)

CLIP_PROJECTED_WHOLE = replace(
    CLIP_PROJECTED,
    families=(KANDINSKY_PRIOR, KANDINSKY, KANDINSKY_2_2, UNCLIP),
    models=("text_encoder", "prior_text_encoder"),
    source="kandinsky2_2/pipeline_kandinsky2_2_prior.py",
    fixed_settings=(LORA_SCALE,),
    skip=None,
)

# Of the last layer, before what norms it.
_CLIP_LAST = replace(
    CLIP,
    families=(LATENT_UPSCALE,),
    models=("text_encoder",),
    source=LATENT_UPSCALE.source,
    outputs=(Output("last_layer_state", "result[2][-1]"), Output("pooler_output", "result[1]")),
    fixed=_HIDDEN_STATES,
    fixed_settings=(),
    skip=None,
)

_CLIP_OF_PRIOR = replace(
    CLIP_PROJECTED_WHOLE, families=(STABLE_UNCLIP,), models=("prior_text_encoder",), source=STABLE_UNCLIP.source
)

# XL and 3 condition on the last layer's input, and on what the whole encoder pools to.
CLIP_PENULTIMATE = Spec(
    class_name="CLIPTextModel",
    library="transformers",
    families=(STABLE_DIFFUSION_XL,),
    models=("text_encoder",),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    inputs=(IDS,),
    outputs=(Output("penultimate_hidden_state", "result[2][-2]"), Output("pooler_output", "result[1]")),
    fixed=_HIDDEN_STATES,
    sizes=clip_tokens,
    refuse=_NO_MASK,
    fixed_settings=(
        LORA_SCALE,
        LAST_BUT_ONE,
    ),
    skip=_SKIP_PENULTIMATE,
)

CLIP_PROJECTED_PENULTIMATE = Spec(
    class_name="CLIPTextModelWithProjection",
    library="transformers",
    families=(STABLE_DIFFUSION_XL, STABLE_DIFFUSION_3),
    models=("text_encoder", "text_encoder_2"),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    inputs=(IDS,),
    outputs=(Output("penultimate_hidden_state", "result[2][-2]"), Output("text_embeds")),
    fixed=_HIDDEN_STATES,
    sizes=clip_tokens,
    refuse=_NO_MASK,
    fixed_settings=(
        LORA_SCALE,
        LAST_BUT_ONE,
    ),
    skip=_SKIP_PENULTIMATE,
)

T5 = Spec(
    class_name="T5EncoderModel",
    library="transformers",
    families=(STABLE_DIFFUSION_3, FLUX, FLUX_REDUX, COGVIEW_3, COGVIDEOX, CONSIS_ID),
    models=("text_encoder_3", "text_encoder_2", "text_encoder"),
    source="stable_diffusion_3/pipeline_stable_diffusion_3.py",
    inputs=(IDS,),
    outputs=(Output("last_hidden_state"),),
    sizes=text_tokens,
)

MASK = Input("attention_mask", ("batch", "text_tokens"), "int64", note="the tokenizer's")

T5_MASKED = replace(
    T5,
    families=(PIXART_ALPHA, PIXART_SIGMA, HUNYUAN_DIT, DEEPFLOYD_IF, LATTE, STABLE_AUDIO, AUDIO_LDM_2),
    models=("text_encoder", "text_encoder_2"),
    source="pixart_alpha/pipeline_pixart_alpha.py",
    inputs=(IDS, MASK),
)

T5_MOCHI = replace(
    T5_MASKED,
    families=(MOCHI,),
    models=("text_encoder",),
    source="mochi/pipeline_mochi.py",
    inputs=(IDS, replace(MASK, dtype="bool")),
)

T5_LTX = replace(
    T5_MASKED,
    families=(LTX,),
    models=("text_encoder",),
    source="ltx/pipeline_ltx_condition.py",
    inputs=(
        IDS,
        replace(
            MASK,
            dtype="bool",
            when=lambda context: context.runs("LTXConditionPipeline"),
            only="the pipeline is LTXCondition",
        ),
    ),
)

T5_COSMOS = replace(
    T5_MASKED,
    families=(COSMOS,),
    models=("text_encoder",),
    source="cosmos/pipeline_cosmos_text2world.py",
    inputs=(IDS, replace(MASK, dtype="bool")),
    # That pipeline runs it in float32 whatever the others are held in.
    dtype=lambda context: "float32" if context.pipeline.class_name == "CosmosTextToWorldPipeline" else context.dtype,
)

UMT5 = replace(
    T5_MASKED,
    class_name="UMT5EncoderModel",
    families=(AURA_FLOW, SKY_REELS_2, WAN),
    models=("text_encoder",),
    source="aura_flow/pipeline_aura_flow.py",
)

CLIP_WUERSTCHEN = replace(
    CLIP,
    families=(WUERSTCHEN,),
    models=("text_encoder", "prior_text_encoder"),
    source="wuerstchen/pipeline_wuerstchen_prior.py",
    inputs=(IDS, MASK),
    outputs=(Output("last_hidden_state"),),
)

CLIP_CASCADE = replace(
    CLIP_PROJECTED,
    families=(STABLE_CASCADE,),
    models=("text_encoder", "prior_text_encoder"),
    source="stable_cascade/pipeline_stable_cascade_prior.py",
    inputs=(IDS, MASK),
    outputs=(Output("last_layer_state", "result[2][-1]"), Output("text_embeds")),
    fixed=_HIDDEN_STATES,
)

CLIP_MARIGOLD = replace(
    CLIP,
    families=(MARIGOLD,),
    models=("text_encoder",),
    source="marigold/pipeline_marigold_depth.py",
    inputs=(replace(IDS, shape=(1, "text_tokens"), note="an empty text, once for all"),),
)

CLIP_KANDINSKY_5 = replace(
    CLIP,
    families=(KANDINSKY_5,),
    models=("text_encoder_2",),
    source="kandinsky5/pipeline_kandinsky.py",
    inputs=(IDS, MASK),
    outputs=(Output("pooler_output", "result[1]"),),
)

BERT = Spec(
    class_name="BertModel",
    library="transformers",
    families=(HUNYUAN_DIT,),
    models=("text_encoder",),
    source="hunyuandit/pipeline_hunyuandit.py",
    inputs=(IDS, MASK),
    outputs=(Output("last_hidden_state"),),
    sizes=text_tokens,
)

# XLM-RoBERTa with a projection of the text's mean: mindone has it in the folder of the pipeline.
MULTILINGUAL_CLIP = Spec(
    class_name="MultilingualCLIP",
    library="transformers",
    families=(KANDINSKY,),
    models=("text_encoder",),
    source="kandinsky/pipeline_kandinsky.py",
    inputs=(IDS, MASK),
    outputs=(Output("text_embeds"), Output("last_hidden_state", "result[1]")),
    fixed={},
    sizes=text_tokens,
    patches=(DEVICE_CALLS, PLAIN_RESULTS),
)

# What AudioLDM2 takes of it is the one vector that a text and a sound would share.
CLAP_TEXT = Spec(
    class_name="ClapModel",
    library="transformers",
    families=(AUDIO_LDM_2,),
    models=("text_encoder",),
    method="get_text_features",
    source="audioldm2/pipeline_audioldm2.py",
    inputs=(IDS, MASK),
    outputs=(Output("text_features", "result"),),
    fixed={"return_dict": False},
    sizes=text_tokens,
    patches=(DEVICE_CALLS,),
)

SPECS = (
    CLIP,
    CLIP_WHOLE,
    CLIP_PROJECTED,
    CLIP_PROJECTED_WHOLE,
    _CLIP_LAST,
    _CLIP_OF_PRIOR,
    CLIP_PENULTIMATE,
    CLIP_PROJECTED_PENULTIMATE,
    T5,
    T5_MASKED,
    T5_MOCHI,
    T5_LTX,
    T5_COSMOS,
    CLIP_KANDINSKY_5,
    CLIP_WUERSTCHEN,
    CLIP_CASCADE,
    CLIP_MARIGOLD,
    UMT5,
    BERT,
    MULTILINGUAL_CLIP,
    CLAP_TEXT,
)
