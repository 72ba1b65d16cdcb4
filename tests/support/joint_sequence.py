"""Run in a subprocess: the patch for Lumina 2's transformer, beside what mindone does.

A CPU has no kernel for most of it, so what is computed of tokens is numpy's, the same for both sides: what is compared
is which tokens see which, turned how, and where they end up. Prints one JSON document: the largest difference of each
batch of captions.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest import mock

import mindspore
import numpy as np
from mindone.diffusers.models.transformers import transformer_lumina2
from mindspore import mint

from attnfuse.tracing.patches import cpu_patches, tracing_patches

DIMS, LENGTHS, CHANNELS = (4, 2, 2), (32, 16, 16), 8
RNG = np.random.default_rng(0)


def tensor(array: Any, dtype: Any = np.float32) -> Any:
    return mindspore.Tensor(np.ascontiguousarray(array, dtype=dtype))


_KERNELS: Any = (
    (mint, "unique", lambda x: tensor(np.unique(x.asnumpy()), np.int64)),
    (mint, "index_select", lambda x, axis, places: tensor(np.take(x.asnumpy(), places.asnumpy(), axis))),
    (mint, "max", lambda x: tensor(x.asnumpy().max(), np.int64)),
)


def layer(tokens: Any, mask: Any, turns: Any, temb: Any = None) -> Any:
    """Attention of one head over turned tokens, by numpy; `turns` are complex numbers or pairs."""
    x, turn = tokens.asnumpy(), turns.asnumpy()
    turn = turn if np.iscomplexobj(turn) else turn[..., 0] + 1j * turn[..., 1]
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * turn
    scores = np.einsum("bqd,bkd->bqk", turned, turned.conj()).real / 8
    if mask is not None:
        scores = np.where(mask.asnumpy().astype(bool)[:, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return tensor(x + weights @ x + (0 if temb is None else temb.asnumpy()[:, None]))


def transformer() -> Any:
    """The parts of a transformer that its `construct` uses."""
    rope = SimpleNamespace(theta=10000, axes_dim=DIMS, axes_lens=LENGTHS, patch_size=2)
    kind = transformer_lumina2.Lumina2RotaryPosEmbed
    rope.freqs_cis = kind._precompute_freqs_cis(rope, DIMS, LENGTHS, rope.theta)
    rope._get_freqs_cis = lambda ids: kind._get_freqs_cis(rope, ids)
    return SimpleNamespace(
        config={"patch_size": 2, "hidden_size": CHANNELS},
        out_channels=2,
        time_caption_embed=lambda _, timestep, caption: (timestep, caption),
        rope_embedder=lambda *given: kind.construct(rope, *given),
        x_embedder=lambda patches: patches,
        context_refiner=[layer],
        noise_refiner=[layer],
        layers=[layer, layer],
        norm_out=lambda tokens, temb: tokens,
    )


def difference(lengths: list[int]) -> float:
    """Captions of those lengths among seven tokens, each beside a picture of 2 x 3 patches."""
    rows = len(lengths)
    picture, caption = tensor(RNG.normal(size=(rows, 2, 4, 6))), tensor(RNG.normal(size=(rows, 7, CHANNELS)))
    mask = tensor(np.arange(7) < np.array(lengths)[:, None], np.int64)
    given = (picture, tensor(RNG.normal(size=(rows, CHANNELS))), caption, mask)
    model = transformer()
    construct = transformer_lumina2.Lumina2Transformer2DModel.construct
    expected = construct(model, *given)[0].asnumpy()
    with tracing_patches(["joint_sequence"]):
        got = transformer_lumina2.Lumina2Transformer2DModel.construct(model, *given)[0].asnumpy()
    assert transformer_lumina2.Lumina2Transformer2DModel.construct is construct
    assert expected.shape == got.shape == (rows, 2, 4, 6)
    return float(np.abs(expected - got).max())


def main() -> None:
    mindspore.set_device("CPU")
    with cpu_patches(), ExitStack() as stack:
        for owner, name, kernel in _KERNELS:
            stack.enter_context(mock.patch.object(owner, name, kernel))
        differences = {"-".join(map(str, lengths)): difference(lengths) for lengths in ([7], [4], [3, 7], [5, 5])}
    sys.stdout.write("\n" + json.dumps(differences) + "\n")


if __name__ == "__main__":
    main()
