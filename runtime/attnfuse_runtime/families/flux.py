"""Flux: latents packed two by two, CLIP's pooled text, T5's states; guidance is an input, or distilled away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnfuse_runtime.errors import InputError
from attnfuse_runtime.families.base import Canvas, Conditions, Text, given, joined, longest, same_length
from attnfuse_runtime.families.packing import SIDE, PackedFamily
from attnfuse_runtime.noise import Array
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.watching import Clock


class Flux(PackedFamily):
    """One run a step, and a second one for a negative prompt where `true_cfg_scale` asks for it."""

    GUIDANCE = 3.5

    def check(self) -> None:
        """Raise PipelineError for another scheduler, and where texts are of another length than T5's."""
        super().check()
        same_length(self, "text_encoder_2")

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """One: of CLIP the transformer takes the pooled text alone, and T5 is compiled for the length that it takes."""
        return 1

    def text(self, prompts: Sequence[Prompt], chunks: int, clock: Clock) -> Text:
        """T5's states and CLIP's pooled text."""
        clip = self.setup.encoders["text_encoder"](prompts, clock)
        t5 = self.setup.encoders["text_encoder_2"](prompts, clock, length=max(self.tokens, 0))
        states, pooled = (
            given("state", t5.states, "text_encoder_2"),
            given("pooler_output", clip.pooled, "text_encoder"),
        )
        return Text(states, pooled, longest([clip.cut, t5.cut]))

    def guidance(self, scale: float | None, true_cfg: float | None, negative: bool) -> float | None:
        """`guidance_scale` is an input of the transformer: what is guided away from has a scale of its own."""
        if scale is not None and not self.takes("guidance"):
            fixed = self.denoiser.fixed.get("guidance")
            if fixed is None or scale != fixed:
                has = "no guidance" if fixed is None else f"guidance fixed to {fixed}"
                raise InputError(f"guidance_scale is {scale}, and the graph transformer has {has}; leave it out.")
        strong = true_cfg is not None and true_cfg > 1
        if strong != negative:
            raise InputError(
                "Flux is guided away from negative_prompts where true_cfg_scale is above 1; give both, or neither."
            )
        return true_cfg if strong else None

    def conditions(self, sides: Sequence[Text], canvas: Canvas, guidance_scale: float | None) -> Conditions:
        """Texts, positions of tokens, and how strongly the prompt guides."""
        states, pooled = joined(sides)
        *_, height, width = canvas.latents
        rows, columns = np.indices((height // SIDE, width // SIDE), np.float32).reshape(2, -1)
        same: dict[str, Array] = {
            "img_ids": np.stack([np.zeros_like(rows), rows, columns], axis=-1),
            "txt_ids": np.zeros((states.shape[1], 3), np.float32),
        }
        if self.takes("guidance"):
            same["guidance"] = np.asarray(self.GUIDANCE if guidance_scale is None else guidance_scale, np.float32)
        pooled = given("text", pooled, "text_encoder")
        return Conditions({"encoder_hidden_states": states, "pooled_projections": pooled}, same)
