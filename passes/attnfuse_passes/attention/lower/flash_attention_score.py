"""FlashAttentionScore: scale · (bias + QKᵀ), for the runtime mindspore; output 3 of 4 is the attention.

Source: MindSpore 2.7.1's operator definition (ops/yaml/flash_attention_score_op.yaml) and its inference, which a test
runs over what is written here.
"""

from __future__ import annotations

from attnfuse.api import dtypes
from attnfuse_passes.attention.lower.fused import FusedOperator

OPERATOR = FusedOperator(
    form="FlashAttentionScore",
    mask="attn_mask",
    bias="real_shift",
    heads="head_num",
    kv_heads=None,
    bias_before_scale=True,
    element=3,
    takes=("BSH", "BNSD", "SBH", "BSND"),
    mask_dtypes=(dtypes.BOOL, dtypes.UINT8),
    fixed={"keep_prob": 1.0, "sparse_mode": 0},
)
