"""What has to be replaced in mindone and MindSpore so that the corpus's models trace on a CPU host.

Sources that MindSpore's graph mode cannot take, on Ascend either, each with the reason; what runs while a model is
built has the engine's own patches. Worker side.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mindspore
from mindone.diffusers.models.attention_processor import Attention


def _scaled_dot_product_attention(  # type: ignore[no-untyped-def]
    self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None
):
    # MindSpore parses this function: no annotations, nothing clever.
    if not (self.fa_op_available and self._enable_flash_sdp) or query.shape[-1] > 512:
        return self.math_attention_op(query, key, value, attn_mask)
    if query.dtype in (mindspore.float16, mindspore.bfloat16):
        return self.flash_attention_op(query, key, value, attn_mask, keep_prob=1 - dropout_p, scale=scale)
    return self.flash_attention_op(
        query.to(self.fa_force_dtype),
        key.to(self.fa_force_dtype),
        value.to(self.fa_force_dtype),
        attn_mask,
        keep_prob=1 - dropout_p,
        scale=scale,
    ).to(query.dtype)


@contextmanager
def exportable() -> Iterator[None]:
    """Take out what stops an export, put it back on leaving."""
    original = Attention.scaled_dot_product_attention
    # Its `1.0 in attn_mask` becomes a call of Python in the graph, which MindIR cannot hold: with it no masked
    # attention exports anywhere. The rest of its decisions are as they were.
    Attention.scaled_dot_product_attention = _scaled_dot_product_attention
    try:
        yield
    finally:
        Attention.scaled_dot_product_attention = original


def pretend_ascend(model: Any) -> None:
    """Have every attention of `model` place FlashAttentionScore itself, as on a host with the operator."""
    for _, cell in model.cells_and_names():
        if isinstance(cell, Attention):
            cell.fa_op_available = True
