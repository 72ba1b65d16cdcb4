"""The argument lists of the two fused operators.

Source: MindSpore 2.7.1's operator definitions (ops/yaml, nn_ops.py) and its inference, which a test runs over what is
written here. All scalar arguments are Constant nodes: MindSpore Lite turns them into attributes and back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnfuse.api import Builder

ALL_TOKENS = 2147483647
BSH, BNSD = 0, 1
LAYOUTS = {BSH: "BSH", BNSD: "BNSD"}
HIGH_PRECISION = 0
_FLOAT32 = np.finfo(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedNode:
    """One fused attention: query [B, N, Sq, D] (BNSD) or [B, S, N·D] (BSH), all tensors in one low-precision type.

    `discard` is a boolean mask, True where a key must not be attended to; `bias` is added to the scores, by
    FlashAttentionScore before scaling and by PromptFlashAttention after.
    """

    query: str
    key: str
    value: str
    layout: int
    heads: int
    kv_heads: int
    scale: float
    discard: str | None
    bias: str | None


def holds_scale(scale: float) -> bool:
    """Whether `scale_value`, which is a float32, holds the scale: not NaN, 0 or infinity, and to full precision.

    What is smaller than every normal number would be rounded by up to half of itself, or be 0 to a kernel that flushes
    such numbers: every score would be scaled alike wrongly.
    """
    return bool(_FLOAT32.tiny <= abs(scale) <= _FLOAT32.max)


def flash_attention_score(b: Builder, f: FusedNode) -> str:
    """`scale · (bias + QKᵀ)`; output 3 of 4 is the attention."""
    none = b.constant(None)
    bias = none if f.bias is None else f.bias
    discard = none if f.discard is None else f.discard
    tensors = [f.query, f.key, f.value, bias, none, none, discard, none, none, none]
    tokens = b.constant(ALL_TOKENS)
    scalars = [
        b.constant(f.heads),
        b.constant(1.0),
        b.constant(f.scale),
        tokens,
        tokens,
        b.constant(HIGH_PRECISION),
        b.constant(f.layout),
        b.constant(0),
    ]
    whole = b.op("FlashAttentionScore", *tensors, *scalars)
    return b.op("TupleGetItem", whole, b.constant(3), prim_type=b.PRIMITIVE)


def prompt_flash_attention(b: Builder, f: FusedNode) -> str:
    """`scale · QKᵀ + bias`."""
    none = b.constant(None)
    bias = none if f.bias is None else f.bias
    discard = none if f.discard is None else f.discard
    tensors = [f.query, f.key, f.value, discard, none, none, bias, none, none, none, none, none]
    tokens = b.constant(ALL_TOKENS)
    scalars = [
        b.constant(f.heads),
        b.constant(f.scale),
        tokens,
        tokens,  # with the default of 0 for next_tokens, keys behind the query would be cut off
        b.constant(f.layout),
        b.constant(f.kv_heads),
        b.constant(0),
        b.constant(HIGH_PRECISION),
    ]
    return b.op("PromptFlashAttention", *tensors, *scalars)
