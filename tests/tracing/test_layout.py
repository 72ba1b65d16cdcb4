"""The names and shapes we write are those of published checkpoints: checked by their known parameter counts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from attnfuse.tracing.demo import TEXT_ENCODER, UNET, VAE
from attnfuse.tracing.layout import clip_text_tensors, flux_tensors, sd3_tensors, unet_tensors, vae_tensors
from tools.make_checkpoint import CONFIGS


def count(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> int:
    return sum(math.prod(shape) for _, shape in tensors)


def test_published_parameter_counts() -> None:
    # Stable Diffusion 1.5's three models, XL base 1.0's UNet, 3 medium's and Flux dev's transformers, as their model
    # cards and diffusers count them.
    clip: dict[str, Any] = {**TEXT_ENCODER, "hidden_size": 768, "intermediate_size": 3072, "vocab_size": 49408}
    assert count(unet_tensors(CONFIGS["sd15"])) == 859_520_964
    assert count(unet_tensors(CONFIGS["sdxl"])) == 2_567_463_684
    assert count(sd3_tensors(CONFIGS["sd3"])) == 2_084_951_104
    assert count(flux_tensors(CONFIGS["flux"])) == 11_901_408_320
    assert count(vae_tensors({**VAE, "block_out_channels": [128, 256, 512, 512]})) == 83_653_863
    assert count(clip_text_tensors(clip)) == 123_060_480


def test_projection_belongs_to_one_class_only() -> None:
    projected = {**TEXT_ENCODER, "architectures": ["CLIPTextModelWithProjection"]}
    extra = set(clip_text_tensors(projected)) - set(clip_text_tensors(TEXT_ENCODER))
    assert extra == {("text_projection.weight", (64, 64))}


def test_names_are_unique() -> None:
    transformers = (sd3_tensors(CONFIGS["sd3"]), flux_tensors(CONFIGS["flux"]))
    for tensors in (unet_tensors(UNET), vae_tensors(VAE), clip_text_tensors(TEXT_ENCODER), *transformers):
        names = [name for name, _ in tensors]
        assert len(names) == len(set(names))
