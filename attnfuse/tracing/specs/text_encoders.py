"""The text encoders: one entry a class and use, for pipelines take different outputs from the same class.

Imports `families`, `other_families`, `record`, `told` and `video_families` of this room.
"""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.families import (
    AURA_FLOW,
    COGVIEW_3,
    FLUX,
    HUNYUAN_DIT,
    KANDINSKY,
    PIXART_ALPHA,
    PIXART_SIGMA,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_3,
    STABLE_DIFFUSION_XL,
)
from attnfuse.tracing.specs.other_families import AUDIO_LDM_2, KANDINSKY_PRIOR, STABLE_AUDIO
from attnfuse.tracing.specs.record import DEVICE_CALLS, PLAIN_RESULTS, Input, Output, Refusal, Scene, Sizes, Spec
from attnfuse.tracing.specs.told import LAST_BUT_ONE, LAST_LAYER, LORA_SCALE
from attnfuse.tracing.specs.video_families import (
    ANIMATE_DIFF,
    COGVIDEOX,
    CONSIS_ID,
    COSMOS,
    HUNYUAN_VIDEO,
    KANDINSKY_5,
    LATTE,
    LTX,
    MOCHI,
    SKY_REELS_2,
    WAN,
)


def _tokens(scene: Scene) -> Sizes:
    """A text encoder of its own length has it under its own name."""
    return {"text_tokens": scene.sizes.get(f"{scene.model}_tokens", scene.sizes["tokens"])}


_IDS = Input("input_ids", ("batch", "text_tokens"), "int64")
_HIDDEN_STATES = {"output_hidden_states": True, "return_dict": False}
# With it the pipeline hands over an attention mask too.
_NO_MASK = (Refusal("use_attention_mask", (False, None)),)

CLIP = Spec(
    class_name="CLIPTextModel",
    library="transformers",
    families=(STABLE_DIFFUSION, FLUX, HUNYUAN_VIDEO, ANIMATE_DIFF),
    models=("text_encoder", "text_encoder_2"),
    source="stable_diffusion/pipeline_stable_diffusion.py",
    inputs=(_IDS,),
    outputs=(Output("last_hidden_state"), Output("pooler_output", "result[1]")),
    sizes=_tokens,
    refuse=_NO_MASK,
    told=(
        LORA_SCALE,
        LAST_LAYER,
    ),
)

CLIP_PROJECTED = Spec(
    class_name="CLIPTextModelWithProjection",
    library="transformers",
    families=(STABLE_DIFFUSION, KANDINSKY_PRIOR),
    models=("text_encoder",),
    source="stable_diffusion/pipeline_stable_diffusion.py",
    inputs=(_IDS,),
    outputs=(Output("last_hidden_state", "result[1]"), Output("text_embeds")),
    sizes=_tokens,
    refuse=_NO_MASK,
    told=(
        LORA_SCALE,
        LAST_LAYER,
    ),
)

# XL and 3 condition on the last layer's input, and on what the whole encoder pools to.
CLIP_PENULTIMATE = Spec(
    class_name="CLIPTextModel",
    library="transformers",
    families=(STABLE_DIFFUSION_XL,),
    models=("text_encoder",),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    inputs=(_IDS,),
    outputs=(Output("penultimate_hidden_state", "result[2][-2]"), Output("pooler_output", "result[1]")),
    fixed=_HIDDEN_STATES,
    sizes=_tokens,
    refuse=_NO_MASK,
    told=(
        LORA_SCALE,
        LAST_BUT_ONE,
    ),
)

CLIP_PROJECTED_PENULTIMATE = Spec(
    class_name="CLIPTextModelWithProjection",
    library="transformers",
    families=(STABLE_DIFFUSION_XL, STABLE_DIFFUSION_3),
    models=("text_encoder", "text_encoder_2"),
    source="stable_diffusion_xl/pipeline_stable_diffusion_xl.py",
    inputs=(_IDS,),
    outputs=(Output("penultimate_hidden_state", "result[2][-2]"), Output("text_embeds")),
    fixed=_HIDDEN_STATES,
    sizes=_tokens,
    refuse=_NO_MASK,
    told=(
        LORA_SCALE,
        LAST_BUT_ONE,
    ),
)

T5 = Spec(
    class_name="T5EncoderModel",
    library="transformers",
    families=(STABLE_DIFFUSION_3, FLUX, COGVIEW_3, COGVIDEOX, CONSIS_ID, LTX),
    models=("text_encoder_3", "text_encoder_2", "text_encoder"),
    source="stable_diffusion_3/pipeline_stable_diffusion_3.py",
    inputs=(_IDS,),
    outputs=(Output("last_hidden_state"),),
    sizes=_tokens,
)

_MASK = Input("attention_mask", ("batch", "text_tokens"), "int64", note="the tokenizer's")

T5_MASKED = replace(
    T5,
    families=(PIXART_ALPHA, PIXART_SIGMA, HUNYUAN_DIT, LATTE, STABLE_AUDIO, AUDIO_LDM_2),
    models=("text_encoder", "text_encoder_2"),
    source="pixart_alpha/pipeline_pixart_alpha.py",
    inputs=(_IDS, _MASK),
)

T5_MOCHI = replace(
    T5_MASKED,
    families=(MOCHI,),
    models=("text_encoder",),
    source="mochi/pipeline_mochi.py",
    inputs=(_IDS, replace(_MASK, dtype="bool")),
)

T5_COSMOS = replace(
    T5_MASKED,
    families=(COSMOS,),
    models=("text_encoder",),
    source="cosmos/pipeline_cosmos_text2world.py",
    # That pipeline runs it in float32 whatever the others are held in.
    held=lambda scene: "float32" if scene.pipeline.class_name == "CosmosTextToWorldPipeline" else scene.dtype,
)

UMT5 = replace(
    T5_MASKED,
    class_name="UMT5EncoderModel",
    families=(AURA_FLOW, SKY_REELS_2, WAN),
    models=("text_encoder",),
    source="aura_flow/pipeline_aura_flow.py",
)

CLIP_KANDINSKY_5 = replace(
    CLIP,
    families=(KANDINSKY_5,),
    models=("text_encoder_2",),
    source="kandinsky5/pipeline_kandinsky.py",
    inputs=(_IDS, _MASK),
    outputs=(Output("pooler_output", "result[1]"),),
)

BERT = Spec(
    class_name="BertModel",
    library="transformers",
    families=(HUNYUAN_DIT,),
    models=("text_encoder",),
    source="hunyuandit/pipeline_hunyuandit.py",
    inputs=(_IDS, _MASK),
    outputs=(Output("last_hidden_state"),),
    sizes=_tokens,
)

# XLM-RoBERTa with a projection of the text's mean: mindone has it in the folder of the pipeline.
MULTILINGUAL_CLIP = Spec(
    class_name="MultilingualCLIP",
    library="transformers",
    families=(KANDINSKY,),
    models=("text_encoder",),
    source="kandinsky/pipeline_kandinsky.py",
    inputs=(_IDS, _MASK),
    outputs=(Output("text_embeds"), Output("last_hidden_state", "result[1]")),
    fixed={},
    sizes=_tokens,
    stand_ins=(DEVICE_CALLS, PLAIN_RESULTS),
)

# What AudioLDM2 takes of it is the one vector that a text and a sound would share.
CLAP_TEXT = Spec(
    class_name="ClapModel",
    library="transformers",
    families=(AUDIO_LDM_2,),
    models=("text_encoder",),
    method="get_text_features",
    source="audioldm2/pipeline_audioldm2.py",
    inputs=(_IDS, _MASK),
    outputs=(Output("text_features", "result"),),
    fixed={"return_dict": False},
    sizes=_tokens,
    stand_ins=(DEVICE_CALLS,),
)

SPECS = (
    CLIP,
    CLIP_PROJECTED,
    CLIP_PENULTIMATE,
    CLIP_PROJECTED_PENULTIMATE,
    T5,
    T5_MASKED,
    T5_MOCHI,
    T5_COSMOS,
    CLIP_KANDINSKY_5,
    UMT5,
    BERT,
    MULTILINGUAL_CLIP,
    CLAP_TEXT,
)
