"""Run as a module: how far what mindone's processors of PAG give is from what the patch gives, as JSON."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import mindspore
import numpy as np
from mindone.diffusers.models.attention_processor import PAGCFGJointAttnProcessor2_0, PAGJointAttnProcessor2_0

from attnfuse.tracing.patches import tracing_patches
from tests.support.recorder.eager import array, eager, tensor

_WIDTH, _HEADS = 6, 2
_draw = np.random.default_rng(0)


def _linear() -> Any:
    weight = _draw.standard_normal((_WIDTH, _WIDTH)).astype(np.float32)
    return lambda x: tensor(array(x) @ weight)


def _attended(query: Any, key: Any, value: Any, attn_mask: Any = None, **_: Any) -> Any:
    q, k, v = map(array, (query, key, value))
    scores = q @ np.swapaxes(k, -1, -2) + (0 if attn_mask is None else array(attn_mask))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return tensor(weights / weights.sum(-1, keepdims=True) @ v)


def _given(*, context_pre_only: bool) -> Any:
    names = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    return SimpleNamespace(
        **{name: _linear() for name in names},
        to_out=[_linear(), lambda x: x],
        heads=_HEADS,
        context_pre_only=context_pre_only,
        scaled_dot_product_attention=_attended,
    )


def main() -> None:
    """Print, for each processor, the largest difference of what the two give."""
    mindspore.set_device("CPU")
    told = {}
    for kind, parts in ((PAGCFGJointAttnProcessor2_0, 3), (PAGJointAttnProcessor2_0, 2)):
        attn = _given(context_pre_only=parts == 2)
        states, text = (
            tensor(_draw.standard_normal((2 * parts, tokens, _WIDTH)).astype(np.float32)) for tokens in (5, 3)
        )
        with eager():
            own = kind()(attn, states, text)
            with tracing_patches(["perturbed_joint"]):
                ours = kind()(attn, states, text)
        told[kind.__name__] = [
            [list(b.shape), float(np.abs(array(a) - array(b)).max()), float(np.abs(array(a)).max())]
            for a, b in zip(own, ours, strict=True)
        ]
    sys.stdout.write("\n" + json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
