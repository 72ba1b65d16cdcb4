"""Stand-ins for attention over texts of which each keeps only its own tokens, in force while a model is traced.

A graph has one shape for every text: what mindone picks by index, a mask keeps out here. `standins` lists them. Worker
side: imports mindspore, and mindone late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from mindspore import mint


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
            attn_mask=seen[:, None, None, :],
        )
        attended = attended.swapaxes(1, 2).flatten(start_dim=2, end_dim=3)
        image, text = attended[:, :pixels, :], attended[:, pixels:, :]
        text = mint.where(kept[:, :, None], text, mint.zeros_like(text))
        image = attn.to_out[1](attn.to_out[0](image))
        if not attn.context_pre_only:
            text = attn.to_add_out(text)
        return image, text

    with mock.patch.object(MochiAttnProcessor2_0, "__call__", call):
        yield
