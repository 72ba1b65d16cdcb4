"""PixArt-α and PixArt-Σ: T5's states and their mask; of a learned variance the model's first half is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from attnfuse_runtime.errors import InputError
from attnfuse_runtime.families.base import Canvas, Conditions, Family, Text, given, joined, same_length
from attnfuse_runtime.noise import Array
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.watching import Clock

_PATCH = 2
"""Latents along the side of a patch, in all of its transformers."""


class PixArtSigma(Family):
    """Guided away from a negative prompt."""

    ENCODERS = ("text_encoder",)
    NEEDED = ("text_encoder",)
    STEPS = 20
    GUIDANCE = 4.5
    LENGTH: ClassVar[int] = 300
    """The tokens of a text, where the graphs take any number."""

    def check(self) -> None:
        """Raise PipelineError where texts are of another length than T5's."""
        same_length(self, "text_encoder")

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """One."""
        return 1

    def text(self, prompts: Sequence[Prompt], chunks: int, clock: Clock) -> Text:
        """States and mask of texts in lower case, as mindone has them where captions are not cleaned."""
        lower = [_lower(one) for one in prompts]
        length = self.tokens if self.tokens > 0 else self.LENGTH
        found = self.setup.encoders["text_encoder"](lower, clock, length=length)
        return Text(given("state", found.states, "text_encoder"), None, found.cut, found.mask)

    def conditions(self, sides: Sequence[Text], canvas: Canvas, guidance_scale: float | None) -> Conditions:
        """States and masks; of larger models also the picture's size and its height by its width."""
        states, _ = joined(sides)
        masks = np.concatenate([given("mask", one.mask, "text_encoder") for one in sides])
        height, width = canvas.pixels
        rows = {"encoder_hidden_states": states, "encoder_attention_mask": masks}
        added = {"resolution": [height, width], "aspect_ratio": [height / width]}
        for name, numbers in added.items():
            if self.takes(name):
                rows[name] = np.tile(np.asarray(numbers, np.float32), (len(states), 1))
        return Conditions(rows)

    def predicted(self, output: Array, canvas: Canvas) -> Array:
        """The first half of the channels, where there are twice as many as latents have: the rest is a variance."""
        channels = canvas.latents[1]
        return output[:, :channels] if output.shape[1] // 2 == channels else output

    def multiple(self) -> int:
        """A patch."""
        return _PATCH


class PixArtAlpha(PixArtSigma):
    """Shorter texts."""

    LENGTH = 120

    def begin(self, steps: int, canvas: Canvas) -> None:
        """Raises InputError for one step, as the models that were distilled to one take another way."""
        if steps == 1:
            raise InputError("1 step was asked for, which is a way of its own in PixArt-α; give 2 or more.")
        super().begin(steps, canvas)


def _lower(prompt: Prompt) -> Prompt:
    """In lower case and without space around it, each letter with its weight."""
    text = prompt.text.lower()
    begin, end = len(text) - len(text.lstrip()), len(text.rstrip())
    if prompt.weights is None:
        return Prompt(text[begin:end])
    # Some letters are two in lower case.
    weights = np.repeat(prompt.weights, [len(letter.lower()) for letter in prompt.text])
    return Prompt(text[begin:end], weights[begin:end])
