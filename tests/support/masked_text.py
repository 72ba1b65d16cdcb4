"""Run in a subprocess: Mochi's attention and Qwen-Image's with their patches, beside what mindone does.

That is, with Mochi, of each text alone, and with Qwen-Image of texts that have no more tokens than the longest. A CPU
has no kernel for the fused operator that they call, so the softmax is numpy's, the same for both sides: what is
compared is which tokens attend to which, and what becomes of the others. Prints the largest difference of the picture's
and of the texts' results, of Mochi and then of Qwen-Image.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any
from unittest import mock

import mindspore
import numpy as np
from mindone.diffusers.models.attention_processor import Attention, MochiAttention, MochiAttnProcessor2_0
from mindone.diffusers.models.transformers import transformer_qwenimage
from mindspore import mint

from attnfuse.tracing.patches import cpu_patches, tracing_patches

RNG = np.random.default_rng(0)


def drawn(*shape: int) -> Any:
    return mindspore.Tensor(RNG.normal(size=shape).astype(np.float32))


def attend(self: Any, query: Any, key: Any, value: Any, attn_mask: Any = None, **_: Any) -> Any:
    query, key, value = (x.asnumpy().astype(np.float64) for x in (query, key, value))
    scores = query @ key.swapaxes(2, 3) * self.scale
    if attn_mask is not None:
        scores = np.where(attn_mask.asnumpy(), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return mindspore.Tensor((weights / weights.sum(axis=-1, keepdims=True) @ value).astype(np.float32))


def fill_up(x: Any, pairs: tuple[int, int, int, int]) -> Any:
    """`ConstantPadND` has no CPU kernel; used on the last two axes."""
    return mindspore.Tensor(np.pad(x.asnumpy(), [(0, 0), (0, 0), pairs[2:], pairs[:2]]))


def qwen() -> list[float]:
    """Three tokens alone, and before two that the mask keeps out."""

    def dispatch(query: Any, key: Any, value: Any, attn_mask: Any = None, **_: Any) -> Any:
        q, k, v = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
        return attend(SimpleNamespace(scale=0.35), q, k, v, attn_mask=attn_mask).transpose(0, 2, 1, 3)

    kind = transformer_qwenimage.QwenDoubleStreamAttnProcessor2_0
    with cpu_patches():
        attention = Attention(
            query_dim=16,
            added_kv_proj_dim=16,
            dim_head=8,
            heads=2,
            out_dim=16,
            context_pre_only=False,
            bias=True,
            processor=kind(),
        )
    attention.set_train(False)
    for parameter in attention.get_parameters():
        parameter.set_data(drawn(*parameter.shape))
    picture, text = drawn(2, 7, 16), drawn(2, 5, 16)
    mask = mindspore.Tensor([[1, 1, 1, 0, 0]] * 2, mindspore.int64)
    with cpu_patches(), mock.patch.object(transformer_qwenimage, "dispatch_attention_fn", dispatch):
        alone = attention(picture, encoder_hidden_states=text[:, :3], encoder_hidden_states_mask=mask[:, :3])
        with tracing_patches(["qwen_text"]):
            masked = attention(picture, encoder_hidden_states=text, encoder_hidden_states_mask=mask)
    pairs = zip(alone, (masked[0], masked[1][:, :3]), strict=True)
    return [float(np.abs(a.asnumpy() - b.asnumpy()).max()) for a, b in pairs]


def main() -> None:
    with cpu_patches():
        attention = MochiAttention(
            query_dim=16,
            added_kv_proj_dim=12,
            heads=2,
            dim_head=8,
            added_proj_bias=False,
            out_dim=16,
            out_context_dim=12,
            processor=MochiAttnProcessor2_0(),
        )
    attention.set_train(False)
    for parameter in attention.get_parameters():
        parameter.set_data(drawn(*parameter.shape))
    texts = mindspore.Tensor([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], mindspore.bool_)
    angles = RNG.normal(size=(7, 2, 4)).astype(np.float32)
    turns = (mindspore.Tensor(np.cos(angles)), mindspore.Tensor(np.sin(angles)))
    given = {
        "hidden_states": drawn(3, 7, 16),
        "encoder_hidden_states": drawn(3, 5, 12),
        "attention_mask": texts,
        "image_rotary_emb": turns,
    }
    with (
        cpu_patches(),
        mock.patch.object(mint.nn.functional, "pad", fill_up),
        mock.patch.object(mint, "zeros_like", lambda x: mindspore.Tensor(np.zeros_like(x.asnumpy()))),
        mock.patch.object(MochiAttention, "scaled_dot_product_attention", attend),
    ):
        alone = [x.asnumpy() for x in attention(**given)]
        with tracing_patches(["masked_text"]):
            together = [x.asnumpy() for x in attention(**given)]
    differences = [float(np.abs(a - b).max()) for a, b in zip(alone, together, strict=True)]
    sys.stdout.write("\n" + json.dumps(differences + qwen()) + "\n")


if __name__ == "__main__":
    main()
