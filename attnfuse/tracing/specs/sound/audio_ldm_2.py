"""AudioLDM2: sizes, UNet, projection of its two texts, language model."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import DEVICE_CALLS, MASKED_ATTENTION, PLAIN_RESULTS
from attnfuse.tracing.specs.record import Input, Output, PipelineFamily, Refusal, Spec

#: Of CLAP's tokenizer, to which texts are filled up, and what CLAP makes of them.
_CLAP_TOKENS, _CLAP_STATES = 512, 1


def _audio_ldm_2(context: SpecContext) -> Sizes:
    """Length: the UNet's `sample_size` latents, each as many frames of the spectrogram as the VAE's downscaling says.

    Tokens: T5's, the most its tokenizer cuts to (512); the pipeline hands over as many as the prompt has. CLAP's: as
    many as its tokenizer fills a text up to (512). Guided. The language model writes `max_new_tokens` states, one a
    call, behind both texts, each in a beginning and an end: "language_tokens" are those of the last call. An earlier
    call is the same with what is not yet written masked, and another state read.
    """
    scale = 2 ** (len(context.numbers("block_out_channels", "vae")) - 1) if context.has("vae") else 4
    bands = context.number("model_in_dim", "vocoder") if context.has("vocoder") else 64
    latents = context.number("sample_size", "unet") if context.has("unet") else 256
    tokens = context.text(context.filled_up_to("tokenizer_2") or 512)
    new = context.number("max_new_tokens", "language_model", 8) if context.has("language_model") else 8
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=True),
        "latent_height": latents,
        "latent_width": bands // scale,
        "height": latents * scale,
        "width": bands // scale * scale,
        "text_encoder_tokens": context.filled_up_to("tokenizer") or _CLAP_TOKENS,
        "clap_states": _CLAP_STATES,
        "tokens": tokens,
        "new_tokens": new,
        "language_tokens": _CLAP_STATES + 2 + tokens + 2 + new - 1,
    }


AUDIO_LDM_2 = PipelineFamily("AudioLDM2", ("AudioLDM2Pipeline",), "audioldm2/pipeline_audioldm2.py", _audio_ldm_2)

_LDM_SOURCE = "audioldm2/pipeline_audioldm2.py"


def _contexts(context: SpecContext) -> Sizes:
    """Each of its layers attends to the picture (null), to the first text, and to the second, by their widths."""
    widths = context.option("cross_attention_dim")[0]
    return {"first_context": next(filter(None, widths[:2])), "second_context": widths[2]}


def _three_contexts(context: SpecContext) -> str:
    widths = context.option("cross_attention_dim")
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
    patches=(MASKED_ATTENTION,),
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
    patches=(PLAIN_RESULTS,),
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
    patches=(DEVICE_CALLS,),
)

FAMILIES = (AUDIO_LDM_2,)

SPECS = (
    _AUDIO_LDM_2_UNET,
    _AUDIO_LDM_2_PROJECTION,
    _GPT_2,
)
