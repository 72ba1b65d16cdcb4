"""PromptFlashAttention: scale · QKᵀ + bias, for MindSpore Lite.

Source: MindSpore 2.7.1's operator definition (nn_ops.py) and its inference, which a test runs over what is written
here. With the operator's default of 0 for next_tokens, keys behind the query would be cut off.
"""

from __future__ import annotations

from attnfuse.api import dtypes
from attnfuse_passes.attention.lower.fused import FusedOperator

OPERATOR = FusedOperator(
    form="PromptFlashAttention",
    mask="attn_mask",
    bias="pse_shift",
    heads="num_heads",
    kv_heads="num_key_value_heads",
    bias_before_scale=False,
    element=None,
    mask_dtypes=(dtypes.BOOL, dtypes.INT8, dtypes.UINT8),
    layouts=("BNSD", "BSH", "BNSD_BSND"),
    precisions=("high", "fast"),
    fixed={"sparse_mode": 0},
)
