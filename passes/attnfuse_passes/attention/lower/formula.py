"""The formula of a fused node, written out: what the node computes, in float32, with the layout around it.

    softmax(mask(scale · (QKᵀ + bias))) V        of FlashAttentionScore
    softmax(mask(scale · QKᵀ + bias)) V          of PromptFlashAttention

Scores, softmax and both products are float32 whatever the operands come in, and the result is rounded once: whoever
turns flash attention off does so for exactness. A discarded key gets the lowest finite float32 as its score, as in
mindone's own formula, so a fully masked row is the mean of the values and not NaN.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attnfuse.api import Builder, RewriteContext, Unsupported, dtypes
from attnfuse_passes.attention.axes import product
from attnfuse_passes.attention.candidates import AttentionCandidate
from attnfuse_passes.attention.lower.operands import dims_of, repeat_heads
from attnfuse_passes.attention.normal_form import Attention, Band, Bias, BooleanMask, Layout


class Formula:
    """Writes a fused node of the source as the formula. A formula of the source is left as it is."""

    form = "formula"

    def unsupported_reason(
        self, attention: Attention, candidate: AttentionCandidate, at: RewriteContext
    ) -> Unsupported | None:
        """Sizes that are not known before run time, or a mask or bias that the node reads a part of."""
        root = attention.origin.root
        if any(size < 0 for size in attention.sizes):
            return Unsupported.found("facts.dynamic_layout", root, "known sizes", "unknown ones")
        lengths = (product(attention.axes.query_length), product(attention.axes.key_length))
        values = [mask.value for mask in _masks(attention)] + [bias.value for bias in _biases(attention)]
        for value in values:
            tensor_type = at.model.type_of(value)
            if tensor_type is not None and tensor_type.dims[-2:] != lengths:
                expected = f"a mask or bias of the scores' {lengths}"
                return Unsupported.found("structure.fused_arguments", root, expected, str(tensor_type))
        return None

    def write(self, b: Builder, attention: Attention, candidate: AttentionCandidate) -> str:
        """The nodes; the value that stands in the anchor's place."""
        form, layout = candidate.form_of(attention), candidate.layout
        axes = form.axes
        heads, kv_heads = product(axes.heads), product(axes.kv_heads)
        q = _heads_apart(b, layout, form.query.value, heads)
        k = repeat_heads(b, _heads_apart(b, layout, form.key.value, kv_heads), heads, kv_heads)
        v = repeat_heads(b, _heads_apart(b, layout, form.value.value, kv_heads), heads, kv_heads)
        scores = _product(b, q, k, transposed=True)
        scale_last = any(bias.before_scale for bias in _biases(form))
        if not scale_last:
            scores = b.scaled(scores, form.scale)
        for bias in _biases(form):
            scores = b.op("Add", scores, b.cast(bias.value, dtypes.FLOAT32))
        if scale_last:
            scores = b.scaled(scores, form.scale)
        for discard in _discarded(b, form):
            lowest = b.tensor(np.array(np.finfo(np.float32).min), dtypes.FLOAT32)
            scores = b.op("Select", discard, lowest, scores)
        weights = b.op("Softmax", scores, b.constant((-1,)))
        result = _product(b, weights, v, transposed=False)
        if layout != "BNSD":
            result = b.transpose(result, (2, 0, 1, 3) if layout == "SBH" else (0, 2, 1, 3))
        return b.cast(b.reshape(result, dims_of(form.output)), form.output_dtype)


def _discarded(b: Builder, attention: Attention) -> Iterator[str]:
    """Where keys are discarded: conditions that broadcast to the scores."""
    for term in attention.terms:
        if isinstance(term, Band):
            lengths = (product(attention.axes.query_length), product(attention.axes.key_length))
            yield b.tensor(term.discarded(*lengths), dtypes.BOOL)
        elif isinstance(term, BooleanMask):
            discard = b.cast(term.value, dtypes.BOOL)
            dims = b.type_of(discard).dims
            yield b.reshape(discard, (dims[0], 1, *dims[1:])) if len(dims) == 3 else discard  # one for all heads


def _masks(attention: Attention) -> list[BooleanMask]:
    return [term for term in attention.terms if isinstance(term, BooleanMask)]


def _biases(attention: Attention) -> list[Bias]:
    return [term for term in attention.terms if isinstance(term, Bias)]


def _heads_apart(b: Builder, layout: Layout, value: str, heads: int) -> str:
    """To [B, N, S, D] in float32."""
    value = b.cast(value, dtypes.FLOAT32)
    if layout == "BNSD":
        return value
    if layout in ("BSH", "SBH"):
        *lead, width = b.type_of(value).dims
        value = b.reshape(value, (*lead, heads, width // heads))
    return b.transpose(value, (1, 2, 0, 3) if layout == "SBH" else (0, 2, 1, 3))


def _product(b: Builder, left: str, right: str, *, transposed: bool) -> str:
    return b.op("BatchMatMul", left, right, b.constant(False), b.constant(transposed))
