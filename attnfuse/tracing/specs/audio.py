"""The models of pipelines that make sound: one entry a class and use.

Imports `other_families` and `record` of this room.
"""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.other_families import AUDIO_LDM_2, STABLE_AUDIO
from attnfuse.tracing.specs.record import (
    DEVICE_CALLS,
    MASKED_ATTENTION,
    NORMED_WEIGHTS,
    PLAIN_RESULTS,
    Input,
    Output,
    Refusal,
    Scene,
    Sizes,
    Spec,
)

_SOURCE = "stable_audio/pipeline_stable_audio.py"


def _stable_audio_rotary(scene: Scene) -> Sizes:
    # One position more than there are latents: the global states come before them.
    return {"positions": scene.sizes["latents"] + 1, "rotary": scene.number("attention_head_dim") // 2}


_STABLE_AUDIO_DIT = Spec(
    class_name="StableAudioDiTModel",
    library="diffusers",
    families=(STABLE_AUDIO,),
    models=("transformer",),
    source=_SOURCE,
    inputs=(
        Input("hidden_states", ("rows", "in_channels", "latents")),
        Input("timestep", (1,), "timestep"),
        Input("encoder_hidden_states", ("rows", "condition_tokens", "cross_attention_input_dim")),
        Input("global_hidden_states", ("rows", 1, "global_states_input_dim")),
        Input("rotary_cos", ("positions", "rotary"), "float32", to="rotary_embedding.0"),
        Input("rotary_sin", ("positions", "rotary"), "float32", to="rotary_embedding.1"),
    ),
    outputs=(Output("sample"),),
    sizes=_stable_audio_rotary,
)


def _text_projection(scene: Scene) -> str:
    # Where text and condition are equally wide, as published, it is the identity.
    if scene.number("text_encoder_dim") == scene.number("conditioning_dim"):
        return ""
    return "text_encoder_dim is not conditioning_dim, and the layer between them is not traced"


def _single(_scene: Scene) -> str:
    # It computes in the type its parameters had when they were made, whatever they are turned into later.
    return "float32"


# The model's own call returns a record, which a graph cannot: what that calls is traced.
_STABLE_AUDIO_START = Spec(
    class_name="StableAudioProjectionModel",
    library="diffusers",
    families=(STABLE_AUDIO,),
    models=("projection_model",),
    component="{model}_start",
    method="start_number_conditioner",
    source=_SOURCE,
    inputs=(Input("start_seconds", ("batch",), "float32", to="floats"),),
    outputs=(Output("seconds_start_hidden_states", "result"),),
    fixed={},
    check=_text_projection,
    held=_single,
)

_STABLE_AUDIO_END = replace(
    _STABLE_AUDIO_START,
    component="{model}_end",
    method="end_number_conditioner",
    inputs=(Input("end_seconds", ("batch",), "float32", to="floats"),),
    outputs=(Output("seconds_end_hidden_states", "result"),),
)

# Its `decode` returns a record, which a graph cannot: what that calls is traced.
_OOBLECK_DECODER = Spec(
    class_name="AutoencoderOobleck",
    library="diffusers",
    families=(STABLE_AUDIO,),
    models=("vae",),
    component="{model}_decoder",
    method="decoder",
    source=_SOURCE,
    inputs=(Input("latents", ("batch", "decoder_input_channels", "latents"), to="hidden_state"),),
    outputs=(Output("audio", "result"),),
    fixed={},
    stand_ins=(NORMED_WEIGHTS,),
)

_OOBLECK_ENCODER = Spec(
    class_name="AutoencoderOobleck",
    library="diffusers",
    families=(STABLE_AUDIO,),
    models=("vae",),
    component="{model}_encoder",
    method="encoder",
    source=_SOURCE,
    inputs=(Input("audio", ("batch", "audio_channels", "samples"), to="hidden_state"),),
    outputs=(Output("moments", "result"),),  # mean and scale, side by side
    fixed={},
    stand_ins=(NORMED_WEIGHTS,),
)

_LDM_SOURCE = "audioldm2/pipeline_audioldm2.py"


def _contexts(scene: Scene) -> Sizes:
    """Each of its layers attends to the picture (null), to the first text, and to the second, by their widths."""
    widths = scene.option("cross_attention_dim")[0]
    return {"first_context": next(filter(None, widths[:2])), "second_context": widths[2]}


def _three_contexts(scene: Scene) -> str:
    widths = scene.option("cross_attention_dim")
    if isinstance(widths, list) and all(isinstance(each, list) and len(each) == 3 and each[2] for each in widths):
        return ""
    return f"cross_attention_dim = {widths!r} is not supported: two texts are known, of three numbers a block"


_AUDIO_LDM_2_UNET = Spec(
    class_name="AudioLDM2UNet2DConditionModel",
    library="diffusers",
    families=(AUDIO_LDM_2,),
    models=("unet",),
    source=_LDM_SOURCE,
    inputs=(
        Input("sample", ("rows", "in_channels", "latent_height", "latent_width")),
        Input("timestep", (1,), "timestep"),
        Input("encoder_hidden_states", ("rows", "new_tokens", "first_context"), note="the language model's"),
        Input("encoder_hidden_states_1", ("rows", "tokens", "second_context"), note="T5's"),
        Input("encoder_attention_mask_1", ("rows", "tokens"), "int64", note="the tokenizer's"),
    ),
    outputs=(Output("sample"),),
    sizes=_contexts,
    check=_three_contexts,
    stand_ins=(MASKED_ATTENTION,),
)

_AUDIO_LDM_2_PROJECTION = Spec(
    class_name="AudioLDM2ProjectionModel",
    library="diffusers",
    families=(AUDIO_LDM_2,),
    models=("projection_model",),
    source=_LDM_SOURCE,
    inputs=(
        Input("hidden_states", ("batch", "clap_states", "text_encoder_dim")),
        Input("hidden_states_1", ("batch", "tokens", "text_encoder_1_dim")),
        Input("attention_mask", ("batch", "clap_states"), "int64"),
        Input("attention_mask_1", ("batch", "tokens"), "int64", note="the tokenizer's"),
    ),
    outputs=(Output("hidden_states"), Output("attention_mask", "result[1]")),
    fixed={},
    refuse=(Refusal("use_learned_position_embedding"),),
    stand_ins=(PLAIN_RESULTS,),
)

_GPT_2 = Spec(
    class_name="GPT2Model",
    library="transformers",
    families=(AUDIO_LDM_2,),
    models=("language_model",),
    source=_LDM_SOURCE,
    inputs=(
        Input("inputs_embeds", ("batch", "language_tokens", "n_embd"), note="both texts, then what was written"),
        Input("attention_mask", ("batch", "language_tokens"), "int64", note="1 for what is written"),
    ),
    outputs=(Output("last_hidden_state"),),
    fixed={"use_cache": False, "return_dict": False},
    stand_ins=(DEVICE_CALLS,),
)

SPECS = (
    _STABLE_AUDIO_DIT,
    _STABLE_AUDIO_START,
    _STABLE_AUDIO_END,
    _OOBLECK_DECODER,
    _OOBLECK_ENCODER,
    _AUDIO_LDM_2_UNET,
    _AUDIO_LDM_2_PROJECTION,
    _GPT_2,
)
