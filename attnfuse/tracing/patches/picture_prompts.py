"""For UNets that hold an IP-Adapter.

Imports mindone late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from mindspore import mint


@contextmanager
def picture_prompt() -> Iterator[None]:
    """The scale of the attention to the picture becomes an input, where the UNet is called with one.

    mindone keeps it as a number on each attention's processor, in whose graph it would be fixed. It reaches the
    processors beside the picture's tokens. What processors have for masks of pictures, which is asked about in words
    that a graph cannot hold (`all` of a generator, `isinstance` of a typing's List), is left out: a pipeline hands over
    none.
    """
    from mindone.diffusers.models.attention_processor import IPAdapterAttnProcessor
    from mindone.diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    def process_encoder_hidden_states(self, encoder_hidden_states, added_cond_kwargs):  # type: ignore[no-untyped-def]
        tokens = self.encoder_hid_proj(added_cond_kwargs["image_embeds"])
        if "ip_adapter_scale" in added_cond_kwargs:
            return encoder_hidden_states, (tokens[0], added_cond_kwargs["ip_adapter_scale"])
        return encoder_hidden_states, (tokens[0],)

    def construct(  # type: ignore[no-untyped-def]
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ):
        residual = hidden_states
        text, picture = encoder_hidden_states
        attention_mask = attn.prepare_attention_mask(attention_mask, text.shape[1], text.shape[0])
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        if attn.norm_cross:
            text = attn.norm_encoder_hidden_states(text)
        key = attn.head_to_batch_dim(attn.to_k(text))
        value = attn.head_to_batch_dim(attn.to_v(text))
        hidden_states = mint.bmm(attn.get_attention_scores(query, key, attention_mask), value)
        hidden_states = attn.batch_to_head_dim(hidden_states)
        scale = picture[1] if len(picture) > 1 else self.scale[0]
        if len(picture) > 1 or scale != 0:
            key = attn.head_to_batch_dim(self.to_k_ip[0](picture[0]))
            value = attn.head_to_batch_dim(self.to_v_ip[0](picture[0]))
            seen = mint.bmm(attn.get_attention_scores(query, key, None), value)
            hidden_states = hidden_states + scale * attn.batch_to_head_dim(seen)
        hidden_states = attn.to_out[1](attn.to_out[0](hidden_states))
        if attn.residual_connection:
            hidden_states = hidden_states + residual
        return hidden_states / attn.rescale_output_factor

    with (
        mock.patch.object(UNet2DConditionModel, "process_encoder_hidden_states", process_encoder_hidden_states),
        mock.patch.object(IPAdapterAttnProcessor, "construct", construct),
    ):
        yield
