"""The text encoders: one entry a class and use, for pipelines take different outputs from the same class.

Imports `families` and `record` of this room.
"""

from __future__ import annotations

from attnfuse.tracing.specs.families import FLUX, STABLE_DIFFUSION, STABLE_DIFFUSION_3, STABLE_DIFFUSION_XL
from attnfuse.tracing.specs.record import Input, Output, Refusal, Scene, Sizes, Spec


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
    families=(STABLE_DIFFUSION, FLUX),
    models=("text_encoder",),
    source="stable_diffusion/pipeline_stable_diffusion.py",
    inputs=(_IDS,),
    outputs=(Output("last_hidden_state"), Output("pooler_output", "result[1]")),
    sizes=_tokens,
    refuse=_NO_MASK,
)

CLIP_PROJECTED = Spec(
    class_name="CLIPTextModelWithProjection",
    library="transformers",
    families=(STABLE_DIFFUSION,),
    models=("text_encoder",),
    source="stable_diffusion/pipeline_stable_diffusion.py",
    inputs=(_IDS,),
    outputs=(Output("last_hidden_state", "result[1]"), Output("text_embeds")),
    sizes=_tokens,
    refuse=_NO_MASK,
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
)

T5 = Spec(
    class_name="T5EncoderModel",
    library="transformers",
    families=(STABLE_DIFFUSION_3, FLUX),
    models=("text_encoder_3", "text_encoder_2"),
    source="stable_diffusion_3/pipeline_stable_diffusion_3.py",
    inputs=(_IDS,),
    outputs=(Output("last_hidden_state"),),
    sizes=_tokens,
)

SPECS = (CLIP, CLIP_PROJECTED, CLIP_PENULTIMATE, CLIP_PROJECTED_PENULTIMATE, T5)
