"""Tracing patches: what takes the place of parts of MindSpore and mindone while a model is built and traced.

`building` computes with numpy what a CPU has no operator for. Some methods of mindone hold what MindSpore's graph mode
cannot take, on Ascend either: `TRACING` has what is put in their place during a trace, each the same computation in
words that can be traced, and each says why. They lie by what they are for, and a test compares each with mindone's own
code where a CPU can run it. Worker side: all modules here import mindspore, and mindone late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from attnfuse.tracing.patches.attention import attention_type, masked_attention
from attnfuse.tracing.patches.building import cpu_patches
from attnfuse.tracing.patches.decoders import device_calls, text_decoder, two_axes
from attnfuse.tracing.patches.given import given_models
from attnfuse.tracing.patches.perturbed import perturbed_joint
from attnfuse.tracing.patches.pictures import kept_levels, seen_picture, unpooled
from attnfuse.tracing.patches.results import normed_weights, plain_results
from attnfuse.tracing.patches.rotary import qwen_rotary, real_rotary, stacked_rotary
from attnfuse.tracing.patches.texts import joint_sequence, masked_text, qwen_text
from attnfuse.tracing.patches.videos import frame_timesteps, one_tile, unchunked, whole_video

__all__ = ["TRACING", "cpu_patches", "tracing_patches"]

TRACING: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "device_calls": device_calls,
    "frame_timesteps": frame_timesteps,
    "given_models": given_models,
    "joint_sequence": joint_sequence,
    "kept_levels": kept_levels,
    "masked_attention": masked_attention,
    "masked_text": masked_text,
    "normed_weights": normed_weights,
    "one_tile": one_tile,
    "perturbed_joint": perturbed_joint,
    "plain_results": plain_results,
    "qwen_rotary": qwen_rotary,
    "qwen_text": qwen_text,
    "real_rotary": real_rotary,
    "seen_picture": seen_picture,
    "stacked_rotary": stacked_rotary,
    "text_decoder": text_decoder,
    "attention_type": attention_type,
    "two_axes": two_axes,
    "unchunked": unchunked,
    "unpooled": unpooled,
    "whole_video": whole_video,
}
"""By the name an entry of the table of specifications asks for it under."""


@contextmanager
def tracing_patches(names: Sequence[str]) -> Iterator[None]:
    """Put the named patches in place; put the originals back on leaving."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(TRACING[name]())
        yield
