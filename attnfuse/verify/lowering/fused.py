"""FlashAttentionScore and PromptFlashAttention as the formula their documentation gives.

    FlashAttentionScore    P = softmax(mask(scale · (QKᵀ + bias)))     bias before the scale
    PromptFlashAttention   P = softmax(mask(scale · QKᵀ + bias))       bias after it
    mask: True (or non-zero) discards, a score of −∞; a row that is discarded whole gives NaN, as the formula does —
    a kernel may give 0 there, and nothing may rest on either.
    Key and value head n // (N / Nkv) serves query head n.

In NATIVE arithmetic scores, scale, bias and softmax are float32 whatever the type of the operands; the weights are
rounded to that type before they meet V. That is what CANN documents for its high-precision mode and what its
matrix unit takes; it is an assumption about a device nobody ran here. In PLAIN arithmetic a node without mask and bias
is onnxruntime's own attention, which keeps no scores either. May import `context` and the reader.
"""

from __future__ import annotations

import numpy as np

from attnfuse.mindir import dtypes
from attnfuse.verify.fused_nodes import ATTENTION_OUT, FLASH_ATTENTION_SCORE, FusedAttention, Sizes
from attnfuse.verify.lowering.context import Arithmetic, At, Tensor

_LEFT_UP, _RIGHT_DOWN = 2, 3

MICROSOFT = "com.microsoft"
"""Domain of onnxruntime's own operators."""


def lower_fused(at: At, fused: FusedAttention, of: Sizes) -> list[str | None] | str:
    """The attention of one node; the statistics of FlashAttentionScore are left out."""
    w = at.writer

    def operand(value: str) -> Tensor:
        position = at.node.inputs.index(value)
        return Tensor(at.tensor(position), at.kind(position))

    query, key, value = (operand(v) for v in (fused.query, fused.key, fused.value))
    dtype = query.kind.dtype
    q = _heads_apart(at, fused, query.name, of.heads, of.head_dim, of.query_length, of.batch)
    k = _heads_apart(at, fused, key.name, of.kv_heads, of.head_dim, of.key_length, of.batch)
    v = _heads_apart(at, fused, value.name, of.kv_heads, of.value_head_dim, of.key_length, of.batch)
    if of.kv_heads != of.heads:
        k = _repeated(at, k, of, of.head_dim)
        v = _repeated(at, v, of, of.value_head_dim)
    if w.arithmetic is Arithmetic.PLAIN and is_lean(fused, of):
        return _results(fused, _heads_together(at, fused, _lean(at, fused, of, (q, k, v)), of))
    scores = w.emit("MatMul", q, w.emit("Transpose", k, perm=[0, 1, 3, 2]))
    bias = operand(fused.bias).name if fused.bias is not None else None
    if bias is not None and fused.bias_before_scale:
        scores = w.emit("Add", scores, bias)
    scores = w.emit("Mul", scores, w.number(fused.scale, dtype))
    if bias is not None and not fused.bias_before_scale:
        scores = w.emit("Add", scores, bias)
    discard = _discarded(at, fused, of, operand(fused.mask) if fused.mask is not None else None)
    if discard is not None:
        scores = w.emit("Where", discard, w.number(-np.inf, dtype), scores)
    weights = w.emit("Softmax", scores, axis=-1)
    out = w.emit("MatMul", w.round_to(weights, dtype, w.arithmetic.carry(dtype)), v)
    return _results(fused, _heads_together(at, fused, out, of))


def is_lean(fused: FusedAttention, of: Sizes) -> bool:
    """Whether onnxruntime's own attention, which keeps no scores, can stand for the node: no bias and no mask.

    With either its CPU kernel makes the scores whole again (1.32, measured).
    """
    band = fused.sparse_mode == 0 and (fused.pre_tokens < of.query_length or fused.next_tokens < of.key_length)
    return fused.bias is None and fused.mask is None and fused.sparse_mode in (0, 1) and not band


def _lean(at: At, fused: FusedAttention, of: Sizes, operands: tuple[str, str, str]) -> str:
    """The attention of [B, N, S, D] by `com.microsoft.MultiHeadAttention`, which takes and gives [B, S, N·D]."""
    w = at.writer
    lengths = (of.query_length, of.key_length, of.key_length)
    widths = (of.head_dim, of.head_dim, of.value_head_dim)
    joined = [
        w.reshape(w.emit("Transpose", x, perm=[0, 2, 1, 3]), [of.batch, length, of.heads * width])
        for x, length, width in zip(operands, lengths, widths, strict=True)
    ]
    out = w.emit("MultiHeadAttention", *joined, domain=MICROSOFT, num_heads=of.heads, scale=fused.scale)
    apart = w.reshape(out, [of.batch, of.query_length, of.heads, of.value_head_dim])
    return w.emit("Transpose", apart, perm=[0, 2, 1, 3])


def _results(fused: FusedAttention, joined: str) -> list[str | None] | str:
    if fused.node.op != FLASH_ATTENTION_SCORE:
        return joined
    results: list[str | None] = [None] * (ATTENTION_OUT + 1)
    results[ATTENTION_OUT] = joined
    return results


def _heads_apart(at: At, fused: FusedAttention, x: str, heads: int, dim: int, length: int, batch: int) -> str:
    """To [B, N, S, D]."""
    w = at.writer
    match fused.layout:
        case "BNSD":
            return x
        case "BSND":
            return w.emit("Transpose", x, perm=[0, 2, 1, 3])
        case "BSH":
            return w.emit("Transpose", w.reshape(x, [batch, length, heads, dim]), perm=[0, 2, 1, 3])
        case _:
            return w.emit("Transpose", w.reshape(x, [length, batch, heads, dim]), perm=[1, 2, 0, 3])


def _heads_together(at: At, fused: FusedAttention, x: str, of: Sizes) -> str:
    """From [B, N, S, D]."""
    w = at.writer
    width = of.heads * of.value_head_dim
    match fused.layout:
        case "BNSD":
            return x
        case "BSND":
            return w.emit("Transpose", x, perm=[0, 2, 1, 3])
        case "BSH":
            return w.reshape(w.emit("Transpose", x, perm=[0, 2, 1, 3]), [of.batch, of.query_length, width])
        case _:
            return w.reshape(w.emit("Transpose", x, perm=[2, 0, 1, 3]), [of.query_length, of.batch, width])


def _repeated(at: At, x: str, of: Sizes, dim: int) -> str:
    w = at.writer
    group = of.heads // of.kv_heads
    apart = w.emit("Unsqueeze", x, w.integers([2]))
    wide = w.emit("Expand", apart, w.integers([of.batch, of.kv_heads, group, of.key_length, dim]))
    return w.reshape(wide, [of.batch, of.heads, of.key_length, dim])


def _discarded(at: At, fused: FusedAttention, of: Sizes, mask: Tensor | None) -> str | None:
    """A bool value that broadcasts to [B, N, S, T], True where the score is discarded."""
    w = at.writer
    rows, columns = np.arange(of.query_length)[:, None], np.arange(of.key_length)[None, :]
    if fused.sparse_mode in (_LEFT_UP, _RIGHT_DOWN):
        # The mask operand is the fixed 2048 × 2048 triangle these modes ask for; what they compute is this.
        shift = of.key_length - of.query_length if fused.sparse_mode == _RIGHT_DOWN else 0
        return w.constant(columns > rows + shift)
    result = None
    if mask is not None:
        result = w.convert(mask.name, mask.kind.dtype, dtypes.BOOL)
        if mask.kind.rank == 3:
            result = w.emit("Unsqueeze", result, w.integers([1]))
    if fused.sparse_mode == 0:
        outside = (columns > rows + fused.next_tokens) | (columns < rows - fused.pre_tokens)
        if outside.any():
            band = w.constant(outside)
            result = band if result is None else w.emit("Or", result, band)
    return result
