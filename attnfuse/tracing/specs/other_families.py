"""The families of mindone pipelines that make neither pictures nor videos: sound, and embeddings of pictures.

One entry a family. They tell "batch", "rows" and "tokens" as the others do (see `families`), and have no height.

Imports `record` of this room.
"""

from __future__ import annotations

from math import prod

from attnfuse.tracing.specs.record import Family, Scene, Sizes


def _stable_audio(scene: Scene) -> Sizes:
    """Length: the transformer's `sample_size`; the VAE makes one latent of as many samples as its ratios multiply to.

    Tokens: 128; the transformer sees two more, the start and the end in seconds. Guided.
    """
    latents = scene.number("sample_size", "transformer") if scene.has("transformer") else 1024
    hop = prod(scene.numbers("downsampling_ratios", "vae")) if scene.has("vae") else 2048
    tokens = scene.text(128)
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=True),
        "latents": latents,
        "samples": latents * hop,
        "tokens": tokens,
        "condition_tokens": tokens + 2,
    }


def _kandinsky_prior(scene: Scene) -> Sizes:
    """No picture yet: the prior makes the embedding of one. Tokens: the prior's `num_embeddings`, 77. Guided."""
    tokens = scene.number("num_embeddings", "prior", 77)
    return {
        "batch": scene.shapes.batch or 1,
        "rows": scene.rows(guided=True),
        "tokens": scene.text(tokens, tokens),
    }


STABLE_AUDIO = Family("Stable Audio", ("StableAudioPipeline",), "stable_audio/pipeline_stable_audio.py", _stable_audio)
KANDINSKY_PRIOR = Family(
    "Kandinsky prior",
    ("KandinskyPriorPipeline", "KandinskyV22PriorPipeline"),
    "kandinsky/pipeline_kandinsky_prior.py",
    _kandinsky_prior,
    aside=(),
)

OTHERS = (STABLE_AUDIO, KANDINSKY_PRIOR)
"""Every family of this module."""
