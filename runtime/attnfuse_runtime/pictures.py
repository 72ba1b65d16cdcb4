"""Pictures, and what comes with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from attnfuse_runtime.noise import Array


@dataclass(frozen=True)
class Pictures:
    """What came of prompts: pictures, and the latents they were decoded from.

    `cut` is what was left out of each prompt: by the text encoder that left out most. `milliseconds` is what each stage
    took, all its runs together.
    """

    images: list[Image.Image]
    latents: Array
    cut: tuple[str, ...]
    milliseconds: Mapping[str, float]


def pictures(images: Array) -> list[Image.Image]:
    """Pictures of arrays [pictures, 3, height, width] from −1 to 1."""
    levels = np.clip(images.astype(np.float32) * 0.5 + 0.5, 0, 1).transpose(0, 2, 3, 1)
    return [Image.fromarray(one) for one in (levels * 255).round().astype(np.uint8)]
