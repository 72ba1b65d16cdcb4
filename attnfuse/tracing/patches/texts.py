"""For models whose texts are of different lengths: a graph has one shape for all.

What mindone cuts off, or picks by index, a mask keeps out here. Imports mindspore, and mindone late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import mindspore
import numpy as np
from mindspore import mint
from mindspore.ops.primitive import constexpr

from attnfuse.tracing.patches.rotary import turn_pairs


@contextmanager
def masked_text() -> Iterator[None]:
    """Mochi picks each text's tokens by the indices of its mask, attends for each text alone, and fills up with zeros.

    How many there are is known at run time only: a loop over shapes that are open, which MindSpore Lite takes no part
    of. Here all texts attend at once, with the other tokens masked as keys and their rows made zeros. It is the same
    where a text's tokens come before its padding, as the tokenizer of Mochi's pipeline puts them (`padding_side` is
    "right"), an empty text among them: mindone moves tokens that lie behind padding to the front of the result.
    """
    from mindone.diffusers.models.attention_processor import MochiAttnProcessor2_0

    def call(  # type: ignore[no-untyped-def]
        self, attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb=None
    ):
        batch, pixels, _ = hidden_states.shape
        heads = (batch, pixels, attn.heads, -1)
        query = attn.norm_q(attn.to_q(hidden_states).reshape(heads))
        key = attn.norm_k(attn.to_k(hidden_states).reshape(heads))
        value = attn.to_v(hidden_states).reshape(heads)
        heads = (batch, encoder_hidden_states.shape[1], attn.heads, -1)
        text_query = attn.norm_added_q(attn.add_q_proj(encoder_hidden_states).reshape(heads))
        text_key = attn.norm_added_k(attn.add_k_proj(encoder_hidden_states).reshape(heads))
        text_value = attn.add_v_proj(encoder_hidden_states).reshape(heads)
        if image_rotary_emb is not None:
            query = self.apply_rotary_emb(query, *image_rotary_emb)
            key = self.apply_rotary_emb(key, *image_rotary_emb)

        kept = attention_mask.bool()
        seen = mint.cat([mint.ones((batch, pixels), dtype=kept.dtype), kept], dim=1)
        attended = attn.scaled_dot_product_attention(
            mint.cat([query, text_query], dim=1).swapaxes(1, 2),
            mint.cat([key, text_key], dim=1).swapaxes(1, 2),
            mint.cat([value, text_value], dim=1).swapaxes(1, 2),
            attn_mask=seen.unsqueeze(1).unsqueeze(2),
        )
        attended = attended.swapaxes(1, 2).flatten(start_dim=2, end_dim=3)
        image, text = mint.split(attended, [pixels, encoder_hidden_states.shape[1]], dim=1)
        text = mint.where(kept.unsqueeze(2), text, mint.zeros_like(text))
        image = attn.to_out[1](attn.to_out[0](image))
        if not attn.context_pre_only:
            text = attn.to_add_out(text)
        return image, text

    with mock.patch.object(MochiAttnProcessor2_0, "__call__", call):
        yield


@contextmanager
def qwen_text() -> Iterator[None]:
    """Qwen-Image hands over as many tokens as the longest prompt has, and a mask that its attention never reads.

    A graph takes one number of tokens: those that no prompt has would be attended to. Here the mask keeps them out as
    keys. What comes of their own rows is seen by no other row, and cut off at the end. Where the mask is 1 for as many
    tokens as mindone hands over, in every row, the result is mindone's.
    """
    from mindone.diffusers.models.transformers.transformer_qwenimage import QwenDoubleStreamAttnProcessor2_0

    original = QwenDoubleStreamAttnProcessor2_0.__call__

    def call(  # type: ignore[no-untyped-def]
        self,
        attn,
        hidden_states,
        encoder_hidden_states=None,
        encoder_hidden_states_mask=None,
        attention_mask=None,
        image_rotary_emb=None,
    ):
        kept = encoder_hidden_states_mask.bool()
        seen = mint.cat([kept, mint.ones(hidden_states.shape[:2], dtype=kept.dtype)], dim=1)
        return original(
            self, attn, hidden_states, encoder_hidden_states, None, seen.unsqueeze(1).unsqueeze(2), image_rotary_emb
        )

    with mock.patch.object(QwenDoubleStreamAttnProcessor2_0, "__call__", call):
        yield


def _turns(theta: float, dim: int, places: int) -> Any:
    """cos and sin of the angles of each place along one axis, (places, dim / 2, 2), as mindone makes them."""
    frequencies = 1.0 / np.power(theta, np.arange(0, dim, 2) / dim)
    angles = np.outer(np.arange(places), frequencies).astype(np.float32)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


@contextmanager
def joint_sequence() -> Iterator[None]:
    """Lumina 2 cuts the padding off each caption before it joins the picture to it, so every size after that is one of
    run time; it asks whether all captions are of one length, and turns queries and keys by complex numbers.

    Here the padding stays and is masked, and captions and pictures keep their places: attention does not depend on the
    order of its keys, a key that is masked counts for nothing, and what comes of the padding is cut off at the end. A
    picture's rotary table depends on the length of its caption, and is looked up by it. Complex numbers are pairs.
    """
    from mindone.diffusers.models.transformers import transformer_lumina2

    @constexpr
    def places_of(theta, dims, lengths, caption, rows, columns):  # type: ignore[no-untyped-def]
        """Tables of a caption, of the first axis by the length of the caption, and of a picture's other two axes."""
        first, down, across = (_turns(theta, dim, length) for dim, length in zip(dims, lengths, strict=True))
        beside = np.concatenate([down[:1], across[:1]], axis=1)
        of_caption = np.concatenate([first[:caption], beside.repeat(caption, axis=0)], axis=1)
        of_picture = np.concatenate([down[:rows].repeat(columns, axis=0), np.tile(across[:columns], (rows, 1, 1))], 1)
        return tuple(mindspore.Tensor(table) for table in (of_caption[None], first, of_picture[None]))

    @constexpr
    def numbered(count):  # type: ignore[no-untyped-def]
        return mindspore.Tensor(np.arange(count)[None])

    def tables(self, hidden_states, attention_mask):  # type: ignore[no-untyped-def]
        batch, channels, height, width = hidden_states.shape
        p = self.patch_size
        rows, columns, caption = height // p, width // p, attention_mask.shape[1]
        of_caption, first, of_picture = places_of(
            self.theta, tuple(self.axes_dim), tuple(self.axes_lens), caption, rows, columns
        )
        lengths = attention_mask.sum(dim=1)
        pairs = first.shape[1]
        start = mint.index_select(first, 0, lengths).unsqueeze(1).broadcast_to((batch, rows * columns, pairs, 2))
        of_caption = of_caption.broadcast_to((batch, caption, of_caption.shape[2], 2))
        of_picture = of_picture.broadcast_to((batch, rows * columns, of_picture.shape[2], 2))
        of_picture = mint.cat([start, of_picture], dim=2)
        ahead = numbered(caption) < lengths.unsqueeze(1)
        mask = mint.cat([ahead, mint.ones((batch, rows * columns), dtype=mindspore.bool_)], dim=1)
        patches = hidden_states.view(batch, channels, rows, p, columns, p).permute(0, 2, 4, 3, 5, 1)
        return patches.flatten(3).flatten(1, 2), of_caption, of_picture, mask

    def construct(  # type: ignore[no-untyped-def]
        self,
        hidden_states,
        timestep,
        encoder_hidden_states,
        encoder_attention_mask,
        attention_kwargs=None,
        return_dict=False,
    ):
        batch, _, height, width = hidden_states.shape
        temb, caption = self.time_caption_embed(hidden_states, timestep, encoder_hidden_states)
        patches, of_caption, of_picture, mask = self.rope_embedder(hidden_states, encoder_attention_mask)
        picture = self.x_embedder(patches)
        for layer in self.context_refiner:
            caption = layer(caption, encoder_attention_mask, of_caption)
        for layer in self.noise_refiner:
            picture = layer(picture, None, of_picture, temb)
        both, of_both = mint.cat([caption, picture], dim=1), mint.cat([of_caption, of_picture], dim=1)
        for layer in self.layers:
            both = layer(both, mask, of_both, temb)
        picture = self.norm_out(both, temb)[:, caption.shape[1] :]
        p = self.config["patch_size"]
        picture = picture.view(batch, height // p, width // p, p, p, self.out_channels).permute(0, 5, 1, 3, 2, 4)
        return (picture.flatten(4, 5).flatten(2, 3),)

    with (
        mock.patch.object(transformer_lumina2, "apply_rotary_emb", turn_pairs),
        mock.patch.object(transformer_lumina2.Lumina2RotaryPosEmbed, "construct", tables),
        mock.patch.object(transformer_lumina2.Lumina2Transformer2DModel, "construct", construct),
    ):
        yield
