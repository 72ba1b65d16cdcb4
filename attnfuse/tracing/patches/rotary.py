"""For rotary tables of complex numbers, which MindSpore Lite has none of.

Imports mindspore, and mindone late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import mindspore
import numpy as np
from mindspore import mint
from mindspore.ops.primitive import constexpr


def _turned(x, turn):  # type: ignore[no-untyped-def]
    """Each pair of x's last axis, (…, dim), turned by (…, dim / 2, 2), which broadcasts: cos and sin.

    As the product of complex numbers, in float32.
    """
    pairs = x.float().reshape((*x.shape[:-1], -1, 2))
    real = pairs[..., 0] * turn[..., 0] - pairs[..., 1] * turn[..., 1]
    imaginary = pairs[..., 0] * turn[..., 1] + pairs[..., 1] * turn[..., 0]
    return mint.stack([real, imaginary], dim=-1).flatten(start_dim=3).to(x.dtype)


def turn_pairs(x, freqs_cis, use_real=False):  # type: ignore[no-untyped-def]
    """A query or key (batch, tokens, heads, dim) turned by (batch, tokens, dim / 2, 2)."""
    return _turned(x, freqs_cis.unsqueeze(2))  # type: ignore[no-untyped-call]


@contextmanager
def real_rotary() -> Iterator[None]:
    """Lumina's rotary table is an input of complex numbers, which MindSpore Lite has none of.

    Here it is what `view_as_real` makes of it, and each pair of a query or key is turned by the formula of the complex
    product.
    """
    from mindone.diffusers.models.attention_processor import LuminaAttnProcessor2_0

    def member(self):  # type: ignore[no-untyped-def]
        return turn_pairs

    # A processor has the function as a member since it was built; a property of its class comes before that.
    LuminaAttnProcessor2_0.apply_rotary_emb = property(member)
    try:
        yield
    finally:
        del LuminaAttnProcessor2_0.apply_rotary_emb


@contextmanager
def qwen_rotary() -> Iterator[None]:
    """Qwen-Image turns queries and keys under `with ms._no_grad()`, which a graph may not hold, by complex numbers, and
    keeps the tables it made in a cache of Python's. Here they are made and used as pairs of real numbers.
    """
    from mindone.diffusers.models.transformers import transformer_qwenimage

    def apply_rotary_emb(x, freqs_cis, use_real=True, use_real_unbind_dim=-1):  # type: ignore[no-untyped-def]
        return _turned(x, freqs_cis.unsqueeze(1))  # type: ignore[no-untyped-call]

    def turns(theta, dims, places):  # type: ignore[no-untyped-def]
        """cos and sin of a place's angles, (n, dims / 2, 2), of each axis's places for its part of the dimensions."""
        angles = [
            np.outer(np.float32(place), 1.0 / np.power(np.float32(theta), np.arange(0, dim, 2, np.float32) / dim))
            for place, dim in zip(places, dims, strict=True)
        ]
        angle = np.concatenate(angles, axis=1)
        return mindspore.Tensor(np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32))

    @constexpr
    def made(theta, dims, centred, pictures, text):  # type: ignore[no-untyped-def]
        every = []
        for frames, height, width in pictures:
            first_row, first_column = (height // 2 - height, width // 2 - width) if centred else (0, 0)
            grid = np.meshgrid(
                np.arange(frames), np.arange(height) + first_row, np.arange(width) + first_column, indexing="ij"
            )
            every.append(np.stack([axis.reshape(-1) for axis in grid]))
        largest = max(side // 2 if centred else side for picture in pictures for side in picture[1:])
        of_text = np.arange(largest, largest + text)
        return turns(theta, dims, np.concatenate(every, axis=1)), turns(theta, dims, [of_text] * 3)  # type: ignore[no-untyped-call]

    def tables(self, video_fhw, txt_seq_lens):  # type: ignore[no-untyped-def]
        return made(self.theta, tuple(self.axes_dim), self.scale_rope, tuple(video_fhw[0]), max(txt_seq_lens))

    with (
        mock.patch.object(transformer_qwenimage, "apply_rotary_emb_qwen", apply_rotary_emb),
        mock.patch.object(transformer_qwenimage.QwenEmbedRope, "construct", tables),
    ):
        yield


@contextmanager
def stacked_rotary() -> Iterator[None]:
    """SkyReels 2 turns queries and keys in place, the even elements and then the odd ones.

    MindSpore makes constants of the index of every element that is written: of a film of 97 frames they are 5 GB for
    two layers, and a MindIR holds 2. Wan, which it is made of, stacks the two and is the same else.
    """
    from mindone.diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2AttnProcessor
    from mindone.diffusers.models.transformers.transformer_wan import WanAttnProcessor

    with mock.patch.object(SkyReelsV2AttnProcessor, "__call__", WanAttnProcessor.__call__):
        yield
