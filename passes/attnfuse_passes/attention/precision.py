"""In which precision a fused node computes its scores and their softmax, and the zeros its heads need for it.

High precision is float32 inside; fast is float16, which a large score leaves. So it is high wherever the target has it,
with heads padded where it wants them so, and fast only

* by a rule of the policy,
* on a SoC that has no other (310P),
* where high cannot be written: zeros are put behind heads of known sizes only,
* where the zeros move more bytes than the fused node saves, and the formula's own scores are in float16 too.

bfloat16, and float16 with a bias, the kernel computes in high precision whatever it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from attnfuse.api import PolicyDecision, Precision, RewriteContext, dtypes, head_padding
from attnfuse_passes.attention.axes import product
from attnfuse_passes.attention.candidates import AttentionCandidate
from attnfuse_passes.attention.layouts import in_best_layout
from attnfuse_passes.attention.lower.fused import FusedOperator
from attnfuse_passes.attention.normal_form import Attention


def settled(
    operator: FusedOperator,
    candidate: AttentionCandidate,
    attention: Attention,
    policy: PolicyDecision,
    at: RewriteContext,
) -> AttentionCandidate:
    """The candidate in its precision, with the zeros its heads need and what speaks against it. Its masks are known."""
    high = _written(operator, candidate, attention, at, "high")
    if "fast" not in operator.precisions:
        return replace(high, precision_reason=f"{operator.form} is written in no other")
    chosen, reason = _chosen(high, partial(_written, operator, candidate, attention, at, "fast"), attention, policy, at)
    return replace(chosen, precision_reason=reason)


def _chosen(
    high: AttentionCandidate,
    make_fast: Callable[[], AttentionCandidate],
    attention: Attention,
    policy: PolicyDecision,
    at: RewriteContext,
) -> tuple[AttentionCandidate, str]:
    """One of the two, and why. The fast one is only worked out where it may be chosen."""
    if policy.precision == "high":
        return high, policy.precision_rule
    if _lacks_precision(high):
        return make_fast(), f"{at.target.soc} has no other"
    if high.dtype == dtypes.BFLOAT16:
        return high, "bfloat16 is computed in no other"
    if high.masks.biased:
        return high, "a bias in float16 is computed in no other"
    if policy.precision == "fast":
        return make_fast(), policy.precision_rule
    if high.unsupported is None and not high.padding:
        return high, "the default"
    fast = make_fast()
    if fast.unsupported is not None:
        return high, "the default"
    if high.unsupported is not None:
        return fast, f"in high precision it cannot be written: {high.unsupported.reason}"
    if min(attention.sizes) < 0:
        return high, "the default"  # what zeros move is known at run time only
    moved = padded_bytes(attention, high) - padded_bytes(attention, fast)
    if moved == 0:
        return high, "the default"
    saved = _score_bytes(attention)
    zeros = f"{high.padding} zeros a head move {moved} bytes, scores in memory would move {saved}"
    is_narrow = attention.layout is None and attention.scores_dtype == dtypes.FLOAT16
    return (fast, zeros) if moved > saved and is_narrow else (high, f"the default; {zeros}")


def padded_bytes(attention: Attention, candidate: AttentionCandidate) -> int:
    """What is read and written to put zeros behind heads and to take them off the result; sizes are known.

    One kernel for each of query, key and value, and one for the result, where weights do not have the zeros.
    """
    axes = attention.axes
    batch = product(axes.batch)
    width = attention.width + candidate.padding
    rows = (
        ("query", axes.heads, axes.query_length, axes.head_dim),
        ("key", axes.kv_heads, axes.key_length, axes.head_dim),
        ("value", axes.kv_heads, axes.key_length, axes.value_head_dim),
        ("result", axes.heads, axes.query_length, axes.value_head_dim),
    )
    elements = sum(
        batch * product(heads) * product(length) * (product(last) + width)
        for name, heads, length, last in rows
        if product(last) != width and name not in candidate.free.told
    )
    return elements * candidate.dtype.itemsize


def _score_bytes(attention: Attention) -> int:
    """What the formula moves for its scores and weights alone: each is written once and read once."""
    axes = attention.axes
    elements = product((*axes.batch, *axes.heads, *axes.query_length, *axes.key_length))
    return 4 * elements * attention.scores_dtype.itemsize


def _written(
    operator: FusedOperator,
    candidate: AttentionCandidate,
    attention: Attention,
    at: RewriteContext,
    precision: Precision,
) -> AttentionCandidate:
    """The candidate in a precision and its best layout, with the zeros the target wants, and what speaks against it."""
    candidate = replace(candidate, precision=precision)
    zeros = head_padding(
        at.target,
        attention.width,
        lambda count: operator.facts(at.model, attention, replace(candidate, padding=count)),
    )
    candidate = replace(candidate, padding=zeros)
    return in_best_layout(operator, candidate, attention, at)


def _lacks_precision(candidate: AttentionCandidate) -> bool:
    """Whether it is the precision itself that the target does not take."""
    return candidate.unsupported is not None and candidate.unsupported.code == "target.inner_precise"
