"""For models of transformers that a user gives the inputs of, and no pipeline has.

mindone hands out records, or tuples with None in them, which a graph holds as calls of Python. Here each model gives a
tuple of tensors that begins as its own does. Imports mindspore, and mindone late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from mindspore import mint

from attnfuse.tracing.patches.decoders import additive, causal, through_layers


@contextmanager
def given_models() -> Iterator[None]:
    """A whole text or picture at once, without a cache; an argument that is not here is refused by Python.

    Mistral's asks with `bool ^ bool` which of two inputs it was given, Qwen 3's returns None for what was not asked
    for, ViT's reads the attributes of a record.
    """
    from mindone.transformers.modeling_attn_mask_utils import dtype_to_min
    from mindone.transformers.models.mistral.modeling_mistral import MistralModel
    from mindone.transformers.models.qwen3.modeling_qwen3 import Qwen3Model
    from mindone.transformers.models.vit.modeling_vit import ViTModel

    def decoder(self, input_ids, attention_mask=None, use_cache=False, return_dict=False):  # type: ignore[no-untyped-def]
        hidden = self.embed_tokens(input_ids)
        length = input_ids.shape[1]
        if attention_mask is not None and attention_mask.ndim == 4:
            mask = attention_mask  # to be added, as its maker has it
        else:
            visible = causal(length)[None, None]
            if attention_mask is not None:
                visible = mint.logical_and(visible, attention_mask[:, None, None, :] != 0)
            mask = additive(visible, dtype_to_min(hidden.dtype), hidden.dtype)
        rotary = self.rotary_emb(hidden, mint.arange(length).unsqueeze(0))
        return (through_layers(self, hidden, mask, rotary)[0],)

    def vit(self, pixel_values, interpolate_pos_encoding=False, return_dict=False):  # type: ignore[no-untyped-def]
        states = self.embeddings(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        for layer in self.encoder.layer:
            states = layer(states)
        states = self.layernorm(states)
        if self.pooler is None:
            return (states,)
        return states, self.pooler(states)

    models: tuple[tuple[Any, Any], ...] = ((MistralModel, decoder), (Qwen3Model, decoder), (ViTModel, vit))
    with ExitStack() as stack:
        for model, construct in models:
            stack.enter_context(mock.patch.object(model, "construct", construct))
        yield
