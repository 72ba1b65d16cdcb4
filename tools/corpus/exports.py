"""What has to be replaced in mindone and MindSpore so that the corpus's models trace on a CPU host.

Two kinds: functions that run while a model is built and have no CPU kernel (on top of the engine's own stand-ins),
and sources that MindSpore's graph mode cannot take, on Ascend either. Each says why. Worker side.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mindspore
import numpy as np
from mindone.diffusers.models.attention_processor import Attention
from mindspore import mint


def _array(value: Any) -> Any:
    return value.asnumpy() if isinstance(value, mindspore.Tensor) else np.asarray(value)


def _tensor(array: Any) -> Any:
    return mindspore.Tensor(np.ascontiguousarray(array))


def _stack(tensors: Any, dim: int = 0) -> Any:
    """`StackExt` has no CPU kernel. Grids of positions are made with it."""
    return _tensor(np.stack([_array(t) for t in tensors], axis=dim))


def _outer(left: Any, right: Any) -> Any:
    """`Outer` has no CPU kernel. Rotary and sinusoidal tables are position ⊗ frequency."""
    return _tensor(np.outer(_array(left), _array(right)))


def _einsum(equation: str, *operands: Any) -> Any:
    """Ends in operators that have no CPU kernel; used as `_outer` is."""
    return _tensor(np.einsum(equation, *[_array(x) for x in operands]))


def _repeat_interleave(tensor: Any, repeats: int, dim: int | None = None, *, output_size: int | None = None) -> Any:
    """`RepeatInterleaveInt` has no CPU kernel. Rotary tables repeat each frequency."""
    return _tensor(np.repeat(_array(tensor), int(repeats), axis=dim))


def _ones_like(tensor: Any, *, dtype: Any = None) -> Any:
    """`OnesLikeExt` has no CPU kernel. It is the modulus of the complex rotary tables."""
    return _tensor(np.ones_like(_array(tensor)))


@contextmanager
def more_stand_ins() -> Iterator[None]:
    """Functions that constructors of the corpus's models run, on top of the engine's stand-ins.

    The values are constants of the graph, so they are computed, not made up. In force only while a model is built.
    """
    stand_ins: list[tuple[Any, str, Any]] = [
        (mint, "einsum", _einsum),
        (mint, "ones_like", _ones_like),
        (mint, "outer", _outer),
        (mint, "repeat_interleave", _repeat_interleave),
        (mint, "stack", _stack),
        (mindspore.Tensor, "repeat_interleave", _repeat_interleave),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in stand_ins]
    for owner, name, stand_in in stand_ins:
        setattr(owner, name, stand_in)
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


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
