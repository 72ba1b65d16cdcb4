"""FlashAttentionScore and PromptFlashAttention as the formula their documentation gives.

    FlashAttentionScore    P = softmax(mask(scale · (QKᵀ + bias)))     bias before the scale
    PromptFlashAttention   P = softmax(mask(scale · QKᵀ + bias))       bias after it
    sparse_mode 0: with a mask, keys outside of [i − pre_tokens, i + next_tokens] are discarded too; without one, none
    sparse_mode 1: the mask alone; 2 and 3: keys behind the diagonal from the upper left, or to the lower right, corner
    sparse_mode 4: keys outside of [i − pre_tokens, i + next_tokens], counted along the diagonal to the lower right
    mask: True (or non-zero) discards, a score of −∞; a row that is discarded whole gives NaN, as the formula does —
    a kernel may give 0 there, and nothing may rest on either.
    Key and value head n // (N / Nkv) serves query head n.

In NATIVE arithmetic scores, scale, bias and softmax are float32 whatever the type of the operands; the weights are
rounded to that type before they meet V. That is what CANN documents for its high-precision mode and what its
matrix unit takes. In its high-performance mode the scores are held in float16, before the scale and behind it, so that
large ones are infinite. Both are assumptions about a device nobody ran here. In PLAIN arithmetic a node without mask
and bias is onnxruntime's own attention, which keeps no scores either.
"""

from __future__ import annotations

import numpy as np

from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.verify.graph.fused_nodes import COMPRESSED_MASK, FusedAttention, Sizes
from attnfuse.verify.lowering.arithmetic import Arithmetic
from attnfuse.verify.lowering.context import Constant, LoweringContext, Tensor

_DEFAULT, _ALL = 0, 1

MICROSOFT = "com.microsoft"
"""Domain of onnxruntime's own operators."""


def lower_fused(at: LoweringContext, fused: FusedAttention, of: Sizes) -> list[str | None] | str:
    """The attention of one node; the statistics of FlashAttentionScore are left out."""
    w = at.writer

    def operand(value: str) -> Tensor:
        position = at.node.inputs.index(value)
        return Tensor(at.tensor(position), at.tensor_type(position))

    query, key, value = (operand(v) for v in (fused.query, fused.key, fused.value))
    dtype = query.tensor_type.dtype
    compute = at.rounding.dtype if at.rounding is not None else dtype
    q = _heads_apart(at, fused, query.name, of.heads, of.head_dim, of.query_length, of.batch)
    k = _heads_apart(at, fused, key.name, of.kv_heads, of.head_dim, of.key_length, of.batch)
    v = _heads_apart(at, fused, value.name, of.kv_heads, of.value_head_dim, of.key_length, of.batch)
    if of.kv_heads != of.heads:
        k = _repeated(at, k, of, of.head_dim)
        v = _repeated(at, v, of, of.value_head_dim)
    if w.arithmetic is Arithmetic.PLAIN and is_lean(fused, of):
        return _results(fused, _heads_together(at, fused, _lean(at, fused, of, (q, k, v)), of))

    def held(value: str) -> str:
        return w.round_to(value, dtype, w.arithmetic.carry(dtype)) if fused.is_fast else value

    scores = held(w.emit("MatMul", q, w.emit("Transpose", k, perm=[0, 1, 3, 2])))
    scale = w.number(fused.scale, dtype)
    bias = operand(fused.bias).name if fused.bias is not None else None
    if bias is not None and fused.bias_before_scale:
        scores = w.emit("Add", scores, bias)
    scores = held(w.emit("Mul", scores, scale))
    if bias is not None and not fused.bias_before_scale:
        scores = w.emit("Add", scores, bias)
    discard = _discarded(at, fused, of, operand(fused.mask) if fused.mask is not None else None)

    def masked(value: str) -> str:
        return value if discard is None else w.emit("Where", discard, w.number(-np.inf, dtype), value)

    scores = masked(scores)
    if at.rounding is not None and bias is not None:
        tensor_type = TensorType((of.batch, of.heads, of.query_length, of.key_length), dtype)
        alone = w.emit("Mul", bias, scale) if fused.bias_before_scale else bias
        scores = w.moved(scores, masked(alone), tensor_type, at.rounding)
    weights = w.emit("Softmax", scores, axis=-1)
    out = w.emit("MatMul", w.round_to(weights, compute, w.arithmetic.carry(dtype)), v)
    return _results(fused, _heads_together(at, fused, out, of))


def is_lean(fused: FusedAttention, of: Sizes) -> bool:
    """Whether onnxruntime's own attention, which keeps no scores, can stand for the node: no bias and no mask.

    With either its CPU kernel makes the scores whole again (1.32, measured).
    """
    return fused.bias is None and fused.mask is None and fused.sparse_mode in (_DEFAULT, _ALL)


def _lean(at: LoweringContext, fused: FusedAttention, of: Sizes, operands: tuple[str, str, str]) -> str:
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
    element = fused.meaning.element
    if element is None:
        return joined
    results: list[str | None] = [None] * (element + 1)
    results[element] = joined
    return results


def _heads_apart(
    at: LoweringContext, fused: FusedAttention, x: str, heads: int, dim: int, length: int, batch: int
) -> str:
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


def _heads_together(at: LoweringContext, fused: FusedAttention, x: str, of: Sizes) -> str:
    """From [B, N, S, D]."""
    w = at.writer
    width = of.heads * of.value_head_dim
    match fused.result_layout:
        case "BNSD":
            return x
        case "BSND":
            return w.emit("Transpose", x, perm=[0, 2, 1, 3])
        case "BSH":
            return w.reshape(w.emit("Transpose", x, perm=[0, 2, 1, 3]), [of.batch, of.query_length, width])
        case _:
            return w.reshape(w.emit("Transpose", x, perm=[2, 0, 1, 3]), [of.query_length, of.batch, width])


def _repeated(at: LoweringContext, x: str, of: Sizes, dim: int) -> str:
    w = at.writer
    group = of.heads // of.kv_heads
    apart = w.emit("Unsqueeze", x, w.integers([2]))
    wide = w.emit("Expand", apart, w.integers([of.batch, of.kv_heads, group, of.key_length, dim]))
    return w.reshape(wide, [of.batch, of.heads, of.key_length, dim])


def _discarded(at: LoweringContext, fused: FusedAttention, of: Sizes, mask: Tensor | None) -> str | None:
    """A bool value that broadcasts to [B, N, S, T], True where the score is discarded."""
    w = at.writer
    rows, columns = np.arange(of.query_length)[:, None], np.arange(of.key_length)[None, :]
    if fused.sparse_mode not in (_DEFAULT, _ALL):
        # The mask operand is the fixed 2048 × 2048 triangle these modes ask for; what they compute is this.
        _check_triangle(at, mask)
        before, behind = _band(at, fused, of)
        return w.constant((columns > rows + behind) | (columns < rows - before))
    if mask is None:
        return None
    result = w.convert(mask.name, mask.tensor_type.dtype, dtypes.BOOL)
    if mask.tensor_type.rank == 3:
        result = w.emit("Unsqueeze", result, w.integers([1]))
    if fused.sparse_mode == _DEFAULT:
        outside = (columns > rows + fused.next_tokens) | (columns < rows - fused.pre_tokens)
        if outside.any():
            result = w.emit("Or", result, w.constant(outside))
    return result


def _band(at: LoweringContext, fused: FusedAttention, of: Sizes) -> tuple[int, int]:
    """How many keys before and behind its own number a query sees, in the modes with a compressed mask."""
    shift = of.key_length - of.query_length
    match fused.sparse_mode:
        case 2:
            return of.query_length, 0
        case 3:
            return of.query_length + of.key_length, shift
        case 4:
            return fused.pre_tokens - shift, fused.next_tokens + shift
        case _:
            raise at.unsupported(f"sparse_mode {fused.sparse_mode}; 0 to 4 are known")


def _check_triangle(at: LoweringContext, mask: Tensor | None) -> None:
    """A compressed mask that is not the lower triangle would mean something else, and what is not documented."""
    triangle = np.triu(np.ones((COMPRESSED_MASK, COMPRESSED_MASK), np.bool_), 1)
    for operand in at.operands if mask is not None else ():
        value = operand.value if isinstance(operand, Constant) else None
        compressed = isinstance(value, np.ndarray) and value.shape == triangle.shape
        if compressed and not np.array_equal(np.asarray(value).astype(np.bool_), triangle):
            raise at.unsupported(f"sparse_mode with another mask than the lower triangle of {COMPRESSED_MASK}")
