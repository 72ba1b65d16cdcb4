"""The formula of a fused node, written out: what the node computes, in float32, with the layout around it.

    softmax(mask(scale · (QKᵀ + shift))) V        of FlashAttentionScore
    softmax(mask(scale · QKᵀ + shift)) V          of PromptFlashAttention

Scores, softmax and both products are float32 whatever the operands come in, and the result is rounded once: whoever
turns flash attention off does so for exactness. A discarded key gets the lowest finite float32 as its score, as in
mindone's own formula, so a row without any key is the mean of the values and not NaN. May import `attnfuse.api`.
"""

from __future__ import annotations

import numpy as np

from attnfuse.api import Builder, Edit, FusedRequest, MatchFailure, Model, Node, dtypes
from attnfuse_passes.attention.fused_node import FusedSource, Lift, check_plain, only_output, request_of
from attnfuse_passes.emit.fused import BNSD, BSH


def restore_formula(model: Model, edit: Edit, found: FusedSource, lift: Lift | None, slug: str) -> list[Node]:
    """Put the formula in the place of the node and of the casts around it; the nodes that are no longer needed.

    Raises MatchFailure where the node is not that formula, or where sizes are not known before run time.
    """
    check_plain(found)
    request = request_of(model, found)
    result = only_output(model, found.node)
    sizes = (request.batch, request.heads, request.kv_heads, request.query_length, request.key_length, request.head_dim)
    if any(size < 0 for size in sizes):
        raise MatchFailure("facts.dynamic_layout", found.node.name, "known sizes", "unknown ones")
    for term in (found.mask, found.shift):
        _check_lengths(model, found.node, term, request)
    anchor = result if lift is None else lift.back
    kind = model.type_of(anchor.name)
    if kind is None:
        raise MatchFailure("facts.type", found.node.name, "a result of known type", "none")
    b = Builder(edit, anchor, slug)
    query, key, value = found.node.inputs[:3] if lift is None else lift.operands
    q = _heads_apart(b, found.layout, query, request.heads)
    k = _repeated(b, _heads_apart(b, found.layout, key, request.kv_heads), request)
    v = _repeated(b, _heads_apart(b, found.layout, value, request.kv_heads), request)
    scores = _product(b, q, k, transposed=True)
    if not found.shift_scaled:
        scores = b.scaled(scores, found.scale)
    if found.shift is not None:
        scores = b.op("Add", scores, b.cast(found.shift, dtypes.FLOAT32))
    if found.shift_scaled:
        scores = b.scaled(scores, found.scale)
    if found.mask is not None:
        discard = b.cast(found.mask, dtypes.BOOL)
        dims = b.type_of(discard).dims
        if len(dims) == 3:  # one for all heads
            discard = b.reshape(discard, (dims[0], 1, *dims[1:]))
        lowest = b.tensor(np.array(np.finfo(np.float32).min), dtypes.FLOAT32)
        scores = b.op("Select", discard, lowest, scores)
    weights = b.op("Softmax", scores, b.constant((-1,)))
    attention = _product(b, weights, v, transposed=False)
    if found.layout != BNSD:
        attention = b.transpose(attention, (0, 2, 1, 3))
    b.finish(b.cast(b.reshape(attention, kind.dims), kind.dtype))
    return [node for node in (found.node, result) if node is not anchor]


def _check_lengths(model: Model, node: Node, term: str | None, request: FusedRequest) -> None:
    """A mask or shift has one number a score; PromptFlashAttention also takes a longer one, and reads a part of it."""
    kind = None if term is None else model.type_of(term)
    wanted = (request.query_length, request.key_length)
    if kind is not None and kind.dims[-2:] != wanted:
        raise MatchFailure("structure.fused_arguments", node.name, f"a mask or bias of the scores' {wanted}", str(kind))


def _heads_apart(b: Builder, layout: int, value: str, heads: int) -> str:
    """To [B, N, S, D] in float32."""
    value = b.cast(value, dtypes.FLOAT32)
    if layout == BNSD:
        return value
    if layout == BSH:
        batch, length, width = b.type_of(value).dims
        value = b.reshape(value, (batch, length, heads, width // heads))
    return b.transpose(value, (0, 2, 1, 3))


def _repeated(b: Builder, value: str, request: FusedRequest) -> str:
    """Key or value head n / (N / Nkv) for each query head n."""
    if request.heads == request.kv_heads:
        return value
    batch, kv, length, width = b.type_of(value).dims
    group = request.heads // kv
    value = b.broadcast(b.reshape(value, (batch, kv, 1, length * width)), (batch, kv, group, length * width))
    return b.reshape(value, (batch, request.heads, length, width))


def _product(b: Builder, left: str, right: str, *, transposed: bool) -> str:
    return b.op("BatchMatMul", left, right, b.constant(False), b.constant(transposed))
