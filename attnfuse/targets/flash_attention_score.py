"""Which FlashAttentionScore nodes MindSpore takes, by its docstring: the same on every SoC that has the operator.

Source: MindSpore 2.7.1's docstring of ops.flash_attention_score (shapes, dtypes, head size, sizes). None was run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from attnfuse.targets.attention import HEAD_MULTIPLE, FusedNodeFacts, Sizes, sizes_of
from attnfuse.targets.facts import Refusal
from attnfuse.targets.limits import Target

SOURCE = "MindSpore 2.7.1's docstring of flash_attention_score"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLimits:
    """What FlashAttentionScore takes. Sizes are inclusive upper bounds.

    `aligned_head` is what head_dim must be a multiple of. Masks may be one for each head, biases too.
    """

    dtypes: tuple[str, ...] = ("float16", "bfloat16")
    aligned_head: int = 16
    max_head_dim: int = 512
    max_batch: int = 2048
    max_heads: int = 256
    max_sequence: int = 524288


LIMITS = ScoreLimits()


def score_refusals(_: Target, node: FusedNodeFacts) -> tuple[Refusal, ...]:
    """Everything that the operator's documentation has against the node; () where that is nothing."""
    sizes = sizes_of(node)
    return (sizes,) if isinstance(sizes, Refusal) else tuple(_refusals(node, sizes))


def _refusals(node: FusedNodeFacts, sizes: Sizes) -> Iterator[Refusal]:
    dtypes = {tensor.dtype for tensor in (node.query, node.key, node.value)}
    if len(dtypes) > 1 or not dtypes <= set(LIMITS.dtypes):
        wanted = f"query, key and value all in {' or '.join(LIMITS.dtypes)}"
        yield Refusal("target.dtype", wanted, " and ".join(sorted(dtypes)), SOURCE)
    longest = max(sizes.query_length, sizes.key_length)
    for code, what, bound, value in (
        ("target.head_dim", "a head_dim", LIMITS.max_head_dim, sizes.head_dim),
        ("target.batch", "a batch", LIMITS.max_batch, sizes.batch),
        ("target.heads", "a number of heads", LIMITS.max_heads, sizes.heads),
        ("target.sequence", "a sequence", LIMITS.max_sequence, longest),
    ):
        if value > bound:
            yield Refusal(code, f"{what} of at most {bound}", str(value), SOURCE)
    if sizes.head_dim % LIMITS.aligned_head:
        wanted = f"a head_dim that is a multiple of {LIMITS.aligned_head}"
        yield Refusal(HEAD_MULTIPLE, wanted, str(sizes.head_dim), SOURCE)
    if sizes.heads % sizes.kv_heads:
        wanted = "a number of heads that is a multiple of that of key and value"
        yield Refusal("target.grouped_heads", wanted, f"{sizes.heads} and {sizes.kv_heads}", SOURCE)
