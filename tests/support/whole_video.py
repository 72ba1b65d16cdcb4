"""Run in a subprocess: what patches for autoencoders, rotary tables and pictures compute, beside what mindone does.

A CPU has no kernel for most of it, so the convolutions and what is around them are numpy's, the same for both sides:
what is compared is how the pieces of a video, or the parts of a complex number, are put together. Prints one JSON
document: the largest difference of each pair.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest import mock

import mindspore
import numpy as np
from mindone.diffusers import AutoencoderKLQwenImage, AutoencoderKLWan
from mindone.diffusers.models.attention_processor import LuminaAttnProcessor2_0
from mindone.diffusers.models.autoencoders import autoencoder_kl_mochi, autoencoder_kl_qwenimage, autoencoder_kl_wan
from mindone.diffusers.models.transformers import transformer_cosmos, transformer_qwenimage
from mindspore import mint, nn

from attnfuse.tracing.patches import cpu_patches, tracing_patches
from tests.support.seen_picture import seen_picture

RNG = np.random.default_rng(0)


def tensor(array: Any) -> Any:
    return mindspore.Tensor(np.ascontiguousarray(array, dtype=np.float32))


def drawn(*shape: int) -> Any:
    return tensor(RNG.normal(size=shape))


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * axes


def _convolution(axes: int) -> Callable[[Any, Any], Any]:
    def construct(self: Any, x: Any) -> Any:
        weight, bias = self.weight.asnumpy(), self.bias.asnumpy()
        padded = np.pad(x.asnumpy(), [(0, 0), (0, 0), *((p, p) for p in _each(self.padding, axes))])
        slid: Any = tuple(range(2, 2 + axes))
        window = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=slid)
        window = window[(slice(None), slice(None), *(slice(None, None, s) for s in _each(self.stride, axes)))]
        summed = tuple(range(2 + axes, 2 + 2 * axes))
        result = np.tensordot(window, weight, axes=((1, *summed), (1, *range(2, 2 + axes))))
        return tensor(np.moveaxis(result, -1, 1) + bias.reshape(1, -1, *([1] * axes)))

    return construct


def _pad(x: Any, pairs: Sequence[int]) -> Any:
    given = [(pairs[2 * i], pairs[2 * i + 1]) for i in reversed(range(len(pairs) // 2))]
    return tensor(np.pad(x.asnumpy(), [(0, 0)] * (x.ndim - len(given)) + given))


def _normalised(self: Any, x: Any) -> Any:
    values = x.asnumpy()
    return tensor(values / np.sqrt((values**2).sum(1, keepdims=True) + 1e-12) * self.gamma.asnumpy())


_KERNELS: Sequence[tuple[Any, str, Any]] = (
    (mint, "cat", lambda parts, dim=0: tensor(np.concatenate([part.asnumpy() for part in parts], dim))),
    (mint, "clamp", lambda x, min=None, max=None: tensor(np.clip(x.asnumpy(), min, max))),  # noqa: A006
    (mint, "zeros_like", lambda x: tensor(np.zeros_like(x.asnumpy()))),
    (mint.nn.Conv2d, "construct", _convolution(2)),
    (mint.nn.Conv3d, "construct", _convolution(3)),
    (mint.nn.SiLU, "construct", lambda self, x: tensor(x.asnumpy() / (1 + np.exp(-x.asnumpy())))),
    (mint.nn.ZeroPad2d, "construct", lambda self, x: _pad(x, (0, 1, 0, 1))),
    (mint.nn.functional, "pad", _pad),
    (mindspore.Tensor, "clone", lambda self: tensor(self.asnumpy().copy())),
    *(
        (kind, "construct", construct)
        for module, name in ((autoencoder_kl_wan, "Wan"), (autoencoder_kl_qwenimage, "QwenImage"))
        for kind, construct in (
            # One frame at a time: what it computes does not matter here.
            (getattr(module, f"{name}AttentionBlock"), lambda self, x: x * 2),
            (getattr(module, f"{name}RMS_norm"), _normalised),
            (getattr(module, f"{name}Upsample"), lambda self, x: tensor(x.asnumpy().repeat(2, 2).repeat(2, 3))),
        )
    ),
)


def both(patch: str, call: Callable[[], Any]) -> float:
    """The largest difference that the patch makes."""
    original = call().asnumpy()
    with tracing_patches([patch]):
        replaced = call().asnumpy()
    assert original.shape == replaced.shape
    assert np.abs(original).max() > 0
    return float(np.abs(original - replaced).max())


def first(method: Callable[[Any], Any], x: Any) -> Any:
    return method(x)[0]


def videos() -> dict[str, float]:
    """Four latents, and the thirteen frames they stand for, through every kind of block."""
    sizes = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1}
    residual = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}
    differences = {}
    for name, kind, options, side in (
        ("wan", AutoencoderKLWan, {}, 16),
        ("wan_residual", AutoencoderKLWan, residual, 32),
        ("qwen_image", AutoencoderKLQwenImage, {}, 16),
    ):
        model = kind(**sizes, **options, temperal_downsample=[False, True, True])
        model.set_train(False)
        for parameter in model.get_parameters():
            parameter.set_data(tensor(RNG.normal(size=parameter.shape) / 5))
        latents, video = drawn(1, 4, 4, 2, 3) / 8, drawn(1, 3, 13, side, side)
        differences[f"{name}_decode"] = both("whole_video", partial(first, model.decode, latents))
        differences[f"{name}_encode"] = both("whole_video", partial(first, model.encode, video))
    return differences


def norms() -> float:
    """Twelve frames, of which mindone takes eight and four."""
    norm = autoencoder_kl_mochi.MochiChunkedGroupNorm3D(8, num_groups=4)

    class Frame(nn.Cell):  # type: ignore[misc]
        def construct(self, x: Any) -> Any:
            values = x.asnumpy()
            return tensor(values / np.sqrt((values**2).mean(axis=(1, 2, 3), keepdims=True)))

    norm.norm_layer = Frame()
    frames = drawn(2, 8, 6, 2, 3)
    return both("unchunked", lambda: norm(frames))


def rotary() -> float:
    """Against numpy's complex numbers."""
    x, angles = drawn(2, 5, 3, 8), RNG.normal(size=(1, 5, 4))
    turn = np.exp(1j * angles)
    pairs = x.asnumpy().reshape(2, 5, 3, 4, 2)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * turn[:, :, None]
    expected = np.stack([turned.real, turned.imag], -1).reshape(2, 5, 3, 8)
    processor = LuminaAttnProcessor2_0()
    member = processor.apply_rotary_emb
    with tracing_patches(["real_rotary"]):
        result = processor.apply_rotary_emb(x, tensor(np.stack([turn.real, turn.imag], -1)), use_real=False)
    assert processor.apply_rotary_emb is member
    return float(np.abs(result.asnumpy() - expected).max())


def tables() -> float:
    """Qwen-Image's rotary tables, of a picture and of its text, beside parts of mindone's cut and laid out by numpy."""
    largest = 0.0
    for centred in (False, True):
        rope = transformer_qwenimage.QwenEmbedRope(10000, [4, 6, 6], scale_rope=centred)
        ahead, behind = rope.pos_freqs.asnumpy(), rope.neg_freqs.asnumpy()
        rows = np.concatenate([behind[-2:, 2:5], ahead[:2, 2:5]]) if centred else ahead[:4, 2:5]
        columns = np.concatenate([behind[-4:, 5:], ahead[:3, 5:]]) if centred else ahead[:7, 5:]
        parts = (ahead[None, :1, :2], rows[:, None], columns[None])
        expected = np.concatenate([np.broadcast_to(part, (4, 7, part.shape[-1])) for part in parts], axis=-1)
        with tracing_patches(["qwen_rotary"]):
            picture, text = (table.asnumpy() for table in rope([[(1, 4, 7)]], [5, 3]))
        start = 3 if centred else 7
        for pairs, complex_ in ((picture, expected.reshape(28, 8)), (text, ahead[start : start + 5])):
            assert complex_.shape == pairs.shape[:-1]
            largest = max(largest, float(np.abs(complex_ - (pairs[..., 0] + 1j * pairs[..., 1])).max()))
    return largest


def timesteps() -> float:
    """What Cosmos makes of two rows' three frames, given to 2 × 2 patches of each as mindone does, by numpy."""

    class Wide(nn.Cell):  # type: ignore[misc]
        def construct(self, x: Any) -> Any:
            return tensor(np.multiply.outer(x.asnumpy(), np.arange(1, 9)) if x.ndim == 1 else x.asnumpy()[:, ::-1])

    embed = transformer_cosmos.CosmosEmbedding(8, 8)
    embed.time_proj, embed.t_embedder, embed.norm = Wide(), Wide(), nn.Identity()
    given, patches = drawn(6), drawn(2, 12, 8)
    of_frames = [part.asnumpy().reshape(2, 3, 1, 1, 8) for part in embed(patches, given)]
    expected = [np.broadcast_to(part, (2, 3, 2, 2, 8)).reshape(2, 12, 8) for part in of_frames]
    with tracing_patches(["frame_timesteps"]):
        found = [part.asnumpy() for part in embed(patches, given)]
        alone = [part.shape for part in embed(patches, drawn(2))]
    assert alone == [(2, 8), (2, 8)]
    return float(max(np.abs(one - other).max() for one, other in zip(found, expected, strict=True)))


def main() -> None:
    mindspore.set_device("CPU")
    with cpu_patches(), ExitStack() as stack:
        differences = {"tables": tables()}
        for owner, name, kernel in _KERNELS:
            stack.enter_context(mock.patch.object(owner, name, kernel))
        differences |= {**videos(), "norm": norms(), "rotary": rotary(), "timesteps": timesteps()}
    differences["seen_picture"] = seen_picture()
    sys.stdout.write("\n" + json.dumps(differences) + "\n")


if __name__ == "__main__":
    main()
