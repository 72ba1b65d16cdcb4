"""Prompts that are pictures: what a UNet with an IP-Adapter takes of one, as mindone's pipelines make it.

Pixels are those of transformers' CLIPImageProcessor, whose defaults mindone takes where a pipeline has none of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from attnfuse_runtime.errors import InputError, PipelineError
from attnfuse_runtime.manifest import Component
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.watching import Clock

EMBEDS: Final = "image_embeds"
SCALE: Final = "ip_adapter_scale"
"""The UNet's inputs for it."""

_ENCODER: Final = "image_encoder"
_STATES: Final = "hidden_states"
_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION: Final = (0.26862954, 0.26130258, 0.27577711)
_BICUBIC: Final = 3


@dataclass(frozen=True)
class PicturePrompt:
    """What one row takes of a picture, [1, 1, ...]: with the prompt, and without; and the scale, where it is one."""

    towards: Array
    away: Array
    scale: Array | None

    def rows(self, count: int, *, guided: bool) -> dict[str, Array]:
        """The UNet's rows for so many pictures; with guidance, first those without the prompt."""
        towards = np.repeat(self.towards, count, axis=0)
        return {EMBEDS: np.concatenate([np.repeat(self.away, count, axis=0), towards]) if guided else towards}

    def same(self) -> dict[str, Array]:
        """What all rows share."""
        return {} if self.scale is None else {SCALE: self.scale}


def picture_prompt(
    pipeline: Pipeline,
    unet: Component,
    settings: Mapping[str, Any],
    picture: Image.Image | None,
    scale: float | None,
    clock: Clock,
) -> PicturePrompt | None:
    """What the UNet takes of a picture; None where it takes none and none is given.

    `settings` are the image processor's, as far as the pipeline says them. Raises InputError where a picture or a scale
    is missing or too much, PipelineError where there is no image encoder that could look at it.
    """
    inputs = {one.name for one in unet.inputs}
    if EMBEDS not in inputs:
        for name, value in (("ip_adapter_image", picture), (SCALE, scale)):
            if value is not None:
                raise InputError(f"{name} was given, and {unet.name} has no IP-Adapter; compile with --ip-adapter.")
        return None
    if picture is None:
        raise InputError(f"{unet.name} has an IP-Adapter, which looks at a picture; give ip_adapter_image.")
    if scale is not None and not math.isfinite(scale):
        raise InputError(f"{SCALE} is {scale}; give a number.")
    if scale is not None and SCALE not in inputs:
        raise InputError(f"{SCALE} was given, and {unet.name} has the scale of each attention fixed; leave it out.")
    if _ENCODER not in pipeline.names:
        raise PipelineError(
            f"{pipeline.manifest.folder} has no {_ENCODER} for the IP-Adapter; compile with one that has its image "
            "encoder beside it."
        )
    encoder = pipeline[_ENCODER]
    seen = pixels(picture, encoder.component.inputs[0].shape[-1], settings)
    with clock(_ENCODER):
        found = encoder(pixel_values=seen)
        if _STATES in found:
            towards, away = found[_STATES], encoder(pixel_values=np.zeros_like(seen))[_STATES]
        else:
            towards = found[EMBEDS]
            away = np.zeros_like(towards)
    number = None if SCALE not in inputs else np.asarray(_told(unet) if scale is None else scale, np.float32)
    return PicturePrompt(towards[None], away[None], number)


def _told(unet: Component) -> float:
    """The scale that the graph was compiled with, for runs that say nothing else."""
    entries = unet.fixed.get("ip_adapter")
    return float(entries[0]["scale"]) if entries else 1.0


def pixels(picture: Image.Image, side: int, settings: Mapping[str, Any]) -> Array:
    """A picture as an image encoder takes it, float32 [1, 3, side, side]: its middle, with its shorter side `side`.

    `settings` may say another shorter side, as the filter, mean and deviation.
    """
    size = settings.get("size", side)
    shorter = size.get("shortest_edge", side) if isinstance(size, Mapping) else size
    width, height = picture.size
    longer = int(shorter * max(width, height) / min(width, height))
    sides = (shorter, longer) if width <= height else (longer, shorter)
    if shorter < side:
        raise PipelineError(f"the image processor makes pictures of {shorter}, and {_ENCODER} takes {side}.")
    resized = picture.convert("RGB").resize(sides, Image.Resampling(settings.get("resample", _BICUBIC)))
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    levels = np.asarray(resized.crop((left, top, left + side, top + side)))
    scaled = (levels.astype(np.float64) * (1 / 255)).astype(np.float32)
    mean, deviation = (
        np.asarray(settings.get(name, default), np.float32)
        for name, default in (("image_mean", _MEAN), ("image_std", _DEVIATION))
    )
    return np.ascontiguousarray(((scaled - mean) / deviation).transpose(2, 0, 1)[None])
