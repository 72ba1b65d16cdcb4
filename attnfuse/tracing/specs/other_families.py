"""The families of mindone pipelines that make neither pictures nor videos: sound, and embeddings of pictures.

One entry a family. They tell "batch", "rows" and "tokens" as the others do (see `families`), and have no height.

Imports `record` of this room and `attnfuse.errors`.
"""

from __future__ import annotations

from math import prod

from attnfuse.errors import SourceError
from attnfuse.tracing.specs.record import Family, Scene, Sizes


def _stable_audio(scene: Scene) -> Sizes:
    """Length: the transformer's `sample_size`; the VAE makes one latent of as many samples as its ratios multiply to.

    Tokens: as many as the tokenizer fills a text up to (128); the transformer sees two more, the start and the end in
    seconds. Guided.
    """
    latents = scene.number("sample_size", "transformer") if scene.has("transformer") else 1024
    hop = prod(scene.numbers("downsampling_ratios", "vae")) if scene.has("vae") else 2048
    tokens = scene.text(scene.filled_up_to("tokenizer") or 128)
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=True),
        "latents": latents,
        "samples": latents * hop,
        "tokens": tokens,
        "condition_tokens": tokens + 2,
    }


def _kandinsky_prior(scene: Scene) -> Sizes:
    """No picture yet: the prior makes the embedding of one. Tokens: the prior's `num_embeddings`, 77. Guided.

    The tokenizer fills texts up to as many: SourceError where it does not, for the prior has no other number of places.
    """
    tokens = scene.number("num_embeddings", "prior", 77)
    filled = scene.filled_up_to("tokenizer")
    if filled is not None and filled != tokens and scene.shapes.sequence_length is None:
        raise SourceError(
            f"{scene.pipeline.root}: the prior has places for {tokens} tokens (num_embeddings), and the tokenizer fills"
            f" texts up to {filled} (model_max_length in tokenizer_config.json); mend that, or give --sequence-length."
        )
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=True),
        "tokens": scene.text(tokens, tokens),
    }


#: Of CLAP's tokenizer, to which texts are filled up, and what CLAP makes of them.
_CLAP_TOKENS, _CLAP_STATES = 512, 1


def _audio_ldm_2(scene: Scene) -> Sizes:
    """Length: the UNet's `sample_size` latents, each as many frames of the spectrogram as the VAE's downscaling says.

    Tokens: T5's, the most its tokenizer cuts to (512); the pipeline hands over as many as the prompt has. CLAP's: as
    many as its tokenizer fills a text up to (512). Guided. The language model writes `max_new_tokens` states, one a
    call, behind both texts, each in a beginning and an end: "language_tokens" are those of the last call. An earlier
    call is the same with what is not yet written masked, and another state read.
    """
    scale = 2 ** (len(scene.numbers("block_out_channels", "vae")) - 1) if scene.has("vae") else 4
    bands = scene.number("model_in_dim", "vocoder") if scene.has("vocoder") else 64
    latents = scene.number("sample_size", "unet") if scene.has("unet") else 256
    tokens = scene.text(scene.filled_up_to("tokenizer_2") or 512)
    new = scene.number("max_new_tokens", "language_model", 8) if scene.has("language_model") else 8
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=True),
        "latent_height": latents,
        "latent_width": bands // scale,
        "height": latents * scale,
        "width": bands // scale * scale,
        "text_encoder_tokens": scene.filled_up_to("tokenizer") or _CLAP_TOKENS,
        "clap_states": _CLAP_STATES,
        "tokens": tokens,
        "new_tokens": new,
        "language_tokens": _CLAP_STATES + 2 + tokens + 2 + new - 1,
    }


STABLE_AUDIO = Family("Stable Audio", ("StableAudioPipeline",), "stable_audio/pipeline_stable_audio.py", _stable_audio)
AUDIO_LDM_2 = Family("AudioLDM2", ("AudioLDM2Pipeline",), "audioldm2/pipeline_audioldm2.py", _audio_ldm_2)
KANDINSKY_PRIOR = Family(
    "Kandinsky prior",
    ("KandinskyPriorPipeline", "KandinskyV22PriorPipeline"),
    "kandinsky/pipeline_kandinsky_prior.py",
    _kandinsky_prior,
    aside=(),
)

OTHERS = (STABLE_AUDIO, AUDIO_LDM_2, KANDINSKY_PRIOR)
"""Every family of this module."""
