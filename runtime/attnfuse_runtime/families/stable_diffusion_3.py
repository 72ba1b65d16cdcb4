"""Stable Diffusion 3: two encoders of CLIP side by side, T5's states behind theirs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnfuse_runtime.errors import PipelineError
from attnfuse_runtime.families.base import Canvas, Conditions, FlowFamily, Text, given, joined, longest
from attnfuse_runtime.families.texts import TextEncoder
from attnfuse_runtime.noise import Array
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.watching import Clock

_PATCH = 2
"""Latents along the side of a patch, in all of its transformers."""


class StableDiffusion3(FlowFamily):
    """Guided away from a negative prompt; where there is no T5, zeros stand for its states."""

    ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
    GUIDANCE = 7.0

    def check(self) -> None:
        """Raise PipelineError for another scheduler, and where texts are of another length than the encoders make."""
        super().check()
        lengths = [one.length for one in self._clip]
        if len({*lengths}) > 1:
            raise PipelineError(
                f"text_encoder and text_encoder_2 take texts of {lengths[0]} and {lengths[1]} tokens; compile both for "
                "one length."
            )
        self.chunks([])

    @property
    def _clip(self) -> list[TextEncoder]:
        return [self.setup.encoders[name] for name in self.NEEDED]

    def _behind(self) -> int:
        """The tokens of T5, or as many zeros as CLIP has tokens."""
        t5 = self.setup.encoders.get("text_encoder_3")
        return self._clip[0].length if t5 is None else t5.length

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """What the transformer takes before T5's tokens, or what the longest needs."""
        if self.tokens > 0:
            return self._clip[0].chunks_of(self.DENOISER, self.tokens - self._behind())
        return max(one.chunks(prompts) for one in self._clip)

    def text(self, prompts: Sequence[Prompt], chunks: int, clock: Clock) -> Text:
        """CLIP's states, side by side and filled up with zeros, then T5's; CLIP's pooled texts side by side."""
        clip = [one(prompts, clock, chunks) for one in self._clip]
        t5 = self.setup.encoders.get("text_encoder_3")
        behind = None if t5 is None else t5(prompts, clock)
        width = self.texts.shape[-1]
        states = np.concatenate([given("state", one.states, "text_encoder") for one in clip], axis=-1)
        if behind is None:
            rest: Array = np.zeros((len(prompts), self._behind(), width), states.dtype)
        else:
            rest = given("state", behind.states, "text_encoder_3")
        states = np.pad(states, ((0, 0), (0, 0), (0, width - states.shape[-1])))
        pooled = np.concatenate([given("text_embeds", one.pooled, "text_encoder") for one in clip], axis=-1)
        cuts = [one.cut for one in (*clip, behind) if one is not None]
        return Text(np.concatenate([states, rest], axis=1), pooled, longest(cuts))

    def conditions(self, sides: Sequence[Text], canvas: Canvas, guidance_scale: float | None) -> Conditions:
        """States and pooled texts."""
        states, pooled = joined(sides)
        return Conditions(
            {"encoder_hidden_states": states, "pooled_projections": given("text", pooled, "text_encoder")}
        )

    def begin(self, steps: int, canvas: Canvas) -> None:
        """With the shift of a picture of this size, where the scheduler has one."""
        *_, height, width = canvas.latents
        self.scheduler.set_timesteps(steps, mu=self.shift((height // _PATCH) * (width // _PATCH)))

    def multiple(self) -> int:
        """A patch."""
        return _PATCH
