"""The models of pipelines that make sound: one entry a class and use.

Imports `other_families` and `record` of this room.
"""

from __future__ import annotations

from dataclasses import replace

from attnfuse.tracing.specs.other_families import STABLE_AUDIO
from attnfuse.tracing.specs.record import NORMED_WEIGHTS, Input, Output, Scene, Sizes, Spec

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

SPECS = (_STABLE_AUDIO_DIT, _STABLE_AUDIO_START, _STABLE_AUDIO_END, _OOBLECK_DECODER, _OOBLECK_ENCODER)
