"""Qwen-Image: latents packed two by two, a prompt within an instruction, guidance that keeps lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from attnfuse_runtime.errors import InputError
from attnfuse_runtime.families.base import DECODER, Canvas, Conditions, Text, by_channel, given, joined
from attnfuse_runtime.families.packing import PackedFamily
from attnfuse_runtime.noise import Array
from attnfuse_runtime.prompts import Prompt
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.watching import Clock

_BEFORE: Final = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
_BEHIND: Final = "<|im_end|>\n<|im_start|>assistant\n"
_CUT_OFF: Final = 34
"""The tokens of what is before a prompt, whose states the pipeline leaves out."""
_TOKENS: Final = 512
_MASK: Final = "encoder_hidden_states_mask"
_TRUE_CFG: Final = 4.0


class QwenImage(PackedFamily):
    """One run a step, and a second one for a negative prompt."""

    ENCODERS = ("text_encoder",)
    NEEDED = ("text_encoder",)
    STEPS = 50
    GUIDANCE = 1.0

    @property
    def scale(self) -> int:
        """As the VAE's blocks say."""
        return int(2 ** len(self.setup.vae.get("temperal_downsample", range(3))))

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """One: a text is cut off where the transformer takes no more."""
        return 1

    def text(self, prompts: Sequence[Prompt], chunks: int, clock: Clock) -> Text:
        """The states of each prompt's tokens, and of those of the instruction behind it; zeros behind shorter ones."""
        if any(one.weights is not None for one in prompts):
            raise InputError("the prompts have weights, which no encoder of Qwen-Image knows; leave weighted out.")
        wanted = max(self.tokens, 0) or _TOKENS
        whole = [Prompt(_BEFORE + one.text + _BEHIND) for one in prompts]
        found = self.setup.encoders["text_encoder"](whole, clock, length=wanted + _CUT_OFF)
        states = given("state", found.states, "text_encoder")[:, _CUT_OFF:]
        mask = found.mask[:, _CUT_OFF:]
        cut = tuple(one.removesuffix(_BEHIND) if one.endswith(_BEHIND) else "" for one in found.cut)
        return Text(np.where(mask[:, :, None] > 0, states, 0), None, cut, mask)

    def guidance(self, scale: float | None, true_cfg: float | None, negative: bool) -> float | None:
        """`guidance_scale` is an input of a transformer that has it distilled; else there is `true_cfg_scale`, 4."""
        if self.takes("guidance") and scale is None:
            raise InputError("the graph transformer takes guidance_scale, and none was given; give one.")
        if scale is not None and not self.takes("guidance"):
            raise InputError(f"guidance_scale is {scale}, and the graph transformer has no guidance; leave it out.")
        if true_cfg is not None and true_cfg > 1 and not negative:
            raise InputError(f"true_cfg_scale is {true_cfg}, and there are no negative_prompts; give some, or ' '.")
        strong = _TRUE_CFG if true_cfg is None else true_cfg
        return strong if negative and strong > 1 else None

    def guided(self, away: Array, towards: Array, scale: float) -> Array:
        """As long, for each token, as what the prompt alone made."""
        moved = super().guided(away, towards, scale)
        wanted, found = (np.linalg.norm(one, axis=-1, keepdims=True) for one in (towards, moved))
        return np.asarray(moved * (wanted / found))

    def conditions(self, sides: Sequence[Text], canvas: Canvas, guidance_scale: float | None) -> Conditions:
        """Texts, and which of their tokens count: on each side as many as the longest of it has, as in mindone."""
        states, _ = joined(sides)
        rows: dict[str, Array] = {"encoder_hidden_states": states}
        lengths = [_longest(one) for one in sides]
        if self.takes(_MASK):
            counted = [np.arange(states.shape[1]) < length for length in lengths]
            rows[_MASK] = np.repeat(np.stack(counted), len(states) // len(sides), axis=0).astype(np.int64)
        elif {*lengths} != {states.shape[1]}:
            raise InputError(
                f"the longest prompt has {min(lengths)} tokens, and the graph transformer takes {states.shape[1]} and "
                f"no {_MASK} to leave the others out by; compile it again."
            )
        same = {} if guidance_scale is None else {"guidance": np.asarray(guidance_scale, np.float32)}
        return Conditions(rows, same)

    def unpacked(self, latents: Array, canvas: Canvas) -> Array:
        """As a film of one frame."""
        return super().unpacked(latents, canvas)[:, :, None]

    def unscaled(self, latents: Array) -> Array:
        """By the deviation and the mean of each channel."""
        return by_channel(self, latents)

    def decoded(self, latents: Array) -> Array:
        """The frame of a film of one."""
        return run_rows(self.setup.pipeline[DECODER], {"latents": latents})["video"][:, :, 0]


def _longest(text: Text) -> int:
    """The tokens of the longest of the texts."""
    assert text.mask is not None
    return int(text.mask.sum(axis=1).max())
