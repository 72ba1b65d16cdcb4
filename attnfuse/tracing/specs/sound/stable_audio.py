"""Stable Audio: sizes, transformer, projections of numbers, autoencoder."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import NORMED_WEIGHTS
from attnfuse.tracing.specs.record import Input, Output, PipelineFamily, Spec


def _stable_audio(context: SpecContext) -> Sizes:
    """Length: the transformer's `sample_size`; the VAE makes one latent of as many samples as its ratios multiply to.

    Tokens: as many as the tokenizer fills a text up to (128); the transformer sees two more, the start and the end in
    seconds. Guided.
    """
    latents = context.number("sample_size", "transformer") if context.has("transformer") else 1024
    hop = prod(context.numbers("downsampling_ratios", "vae")) if context.has("vae") else 2048
    tokens = context.text(context.filled_up_to("tokenizer") or 128)
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=True),
        "latents": latents,
        "samples": latents * hop,
        "tokens": tokens,
        "condition_tokens": tokens + 2,
    }


STABLE_AUDIO = PipelineFamily(
    "Stable Audio", ("StableAudioPipeline",), "stable_audio/pipeline_stable_audio.py", _stable_audio
)

_SOURCE = "stable_audio/pipeline_stable_audio.py"


def _stable_audio_rotary(context: SpecContext) -> Sizes:
    # One position more than there are latents: the global states come before them.
    return {"positions": context.sizes["latents"] + 1, "rotary": context.number("attention_head_dim") // 2}


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


def _text_projection(context: SpecContext) -> str:
    # Where text and condition are equally wide, as published, it is the identity.
    if context.number("text_encoder_dim") == context.number("conditioning_dim"):
        return ""
    return "text_encoder_dim is not conditioning_dim, and the layer between them is not traced"


def _single(_context: SpecContext) -> str:
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
    dtype=_single,
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
    patches=(NORMED_WEIGHTS,),
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
    patches=(NORMED_WEIGHTS,),
)

FAMILIES = (STABLE_AUDIO,)

SPECS = (
    _STABLE_AUDIO_DIT,
    _STABLE_AUDIO_START,
    _STABLE_AUDIO_END,
    _OOBLECK_DECODER,
    _OOBLECK_ENCODER,
)
