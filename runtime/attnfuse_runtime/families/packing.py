"""Flows over latents that are packed two by two into tokens: Flux and Qwen-Image."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnfuse_runtime.families.base import Canvas, FlowFamily
from attnfuse_runtime.noise import Array

SIDE = 2
"""Latents along the side of what is packed into one token."""


class PackedFamily(FlowFamily):
    """The denoiser takes tokens, and timesteps from 1 for noise."""

    def begin(self, steps: int, canvas: Canvas) -> None:
        """Evenly spaced noise levels, with the shift of a picture of this size where the scheduler has one."""
        _, tokens, _ = self.packed_shape(canvas)
        self.evenly(steps, tokens)

    def time(self, timestep: Any) -> Array:
        """Of 1 for noise, where the scheduler has a thousand."""
        return np.asarray(timestep, np.float32) / np.float32(1000)

    def packed_shape(self, canvas: Canvas) -> tuple[int, ...]:
        """[pictures, tokens, 4 × channels]."""
        count, channels, height, width = canvas.latents
        return count, (height // SIDE) * (width // SIDE), channels * SIDE * SIDE

    def packed(self, latents: Array) -> Array:
        """Two by two."""
        count, channels, height, width = latents.shape
        parts = latents.reshape(count, channels, height // SIDE, SIDE, width // SIDE, SIDE)
        return parts.transpose(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * SIDE * SIDE)

    def unpacked(self, latents: Array, canvas: Canvas) -> Array:
        """The reverse."""
        count, channels, height, width = canvas.latents
        parts = latents.reshape(count, height // SIDE, width // SIDE, channels, SIDE, SIDE)
        return parts.transpose(0, 3, 1, 4, 2, 5).reshape(canvas.latents)

    def multiple(self) -> int:
        """What is packed."""
        return SIDE
