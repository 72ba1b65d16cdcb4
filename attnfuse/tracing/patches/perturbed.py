"""For Stable Diffusion 3 with perturbed attention guidance.

Imports mindspore, and mindone late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import mindspore
import numpy as np
from mindspore import mint
from mindspore.ops.primitive import constexpr


@constexpr  # type: ignore[untyped-decorator]  # as MindSpore has it
def alone(tokens: int, patches: int, dtype: Any) -> Any:
    """What is added to the scores where each of the first `patches` sees itself alone, and all that are no patches."""
    mask = np.zeros((1, 1, tokens, tokens), np.float32)
    mask[..., :patches, :patches] = np.where(np.eye(patches, dtype=bool), 0, -np.inf)
    return mindspore.Tensor(mask, dtype)


def joint(attn: Any, states: Any, context: Any, mask: Any) -> Any:
    """Attention of patches and text together, as the processors of PAG have it: queries and keys are not normed."""
    rows, patches = states.shape[0], states.shape[1]
    query = mint.cat([attn.to_q(states), attn.add_q_proj(context)], dim=1)
    key = mint.cat([attn.to_k(states), attn.add_k_proj(context)], dim=1)
    value = mint.cat([attn.to_v(states), attn.add_v_proj(context)], dim=1)
    width = query.shape[-1]
    shape = (rows, -1, attn.heads, width // attn.heads)
    found = attn.scaled_dot_product_attention(
        query.view(shape).swapaxes(1, 2),
        key.view(shape).swapaxes(1, 2),
        value.view(shape).swapaxes(1, 2),
        attn_mask=mask,
        dropout_p=0.0,
        is_causal=False,
    )
    found = found.swapaxes(1, 2).reshape(rows, -1, width)
    text = found[:, patches:]
    if not attn.context_pre_only:
        text = attn.to_add_out(text)
    return attn.to_out[1](attn.to_out[0](found[:, :patches])), text


def _processor(parts: int) -> Callable[..., Any]:
    """The last of so many parts of the rows perturbed, the others as they are."""

    def call(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):  # type: ignore[no-untyped-def]
        kept = hidden_states.shape[0] - hidden_states.shape[0] // parts
        plain = joint(attn, hidden_states[:kept], encoder_hidden_states[:kept], None)
        tokens = hidden_states.shape[1] + encoder_hidden_states.shape[1]
        mask = alone(tokens, hidden_states.shape[1], hidden_states.dtype)
        perturbed = joint(attn, hidden_states[kept:], encoder_hidden_states[kept:], mask)
        return mint.cat([plain[0], perturbed[0]]), mint.cat([plain[1], perturbed[1]])

    return call


@contextmanager
def perturbed_joint() -> Iterator[None]:
    """The processors fill a mask in, and its diagonal, at every call: MindIR would hold that, and Lite has no
    `FillDiagonal`. Here the same mask is a constant.
    """
    from mindone.diffusers.models.attention_processor import PAGCFGJointAttnProcessor2_0, PAGJointAttnProcessor2_0

    with (
        mock.patch.object(PAGCFGJointAttnProcessor2_0, "__call__", _processor(3)),
        mock.patch.object(PAGJointAttnProcessor2_0, "__call__", _processor(2)),
    ):
        yield
