"""For attention that cannot be traced as it is called, or would be traced otherwise than it is served.

Imports mindspore, and mindone late.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import mindspore


@contextmanager
def masked_attention() -> Iterator[None]:
    """`1.0 in attn_mask`, in two `scaled_dot_product_attention`s, becomes a call of Python in the graph.

    It asks whether a mask that is not boolean holds a 1; a graph that MindIR can hold cannot ask. That of `Attention`
    then takes the formula, which it takes anyway where the flash operator is not available, as while we trace. That of
    `layers_compat` computes the formula and then overwrites the result with flash attention's, mask or no mask.
    """
    from mindone.diffusers.models import layers_compat
    from mindone.diffusers.models.attention_processor import Attention

    def scaled_dot_product_attention(  # type: ignore[no-untyped-def]
        self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None
    ):
        return self.math_attention_op(query, key, value, attn_mask)

    def flash_attention(  # type: ignore[no-untyped-def]
        query,
        key,
        value,
        attn_mask=None,
        dropout_p=0.0,
        is_causal=False,
        scale=None,
        enable_gqa=False,
        backend="flash",
    ):
        if query.dtype in (mindspore.float16, mindspore.bfloat16):
            return layers_compat.flash_attention_op(query, key, value, attn_mask, keep_prob=1 - dropout_p, scale=scale)
        return layers_compat.flash_attention_op(
            query.to(mindspore.float16),
            key.to(mindspore.float16),
            value.to(mindspore.float16),
            attn_mask,
            keep_prob=1 - dropout_p,
            scale=scale,
        ).to(query.dtype)

    original = layers_compat.scaled_dot_product_attention
    importers = [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith("mindone.") and getattr(module, "scaled_dot_product_attention", None) is original
    ]
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Attention, "scaled_dot_product_attention", scaled_dot_product_attention))
        for module in importers:
            stack.enter_context(mock.patch.object(module, "scaled_dot_product_attention", flash_attention))
        yield


@contextmanager
def attention_type() -> Iterator[None]:
    """MindSpore's `MultiheadAttention` computes in the type it was made with, whatever its weights have become since.

    The pipelines with a ControlNetUnionModel tell its attention the type of the latents before they call it. Here it is
    told that of its weights, which is the same.
    """

    def type_of_weights(self):  # type: ignore[no-untyped-def]
        return self.in_proj_weight.dtype

    # It is a member since it was built; a property of its class comes before that.
    mindspore.nn.MultiheadAttention.dtype = property(type_of_weights)
    try:
        yield
    finally:
        del mindspore.nn.MultiheadAttention.dtype
