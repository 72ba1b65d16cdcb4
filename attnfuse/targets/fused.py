"""What a target has against a fused node as it would be written: the one question that is asked before one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from attnfuse.targets.attention import HEAD_MULTIPLE, FusedNodeFacts, launch_refusals
from attnfuse.targets.facts import Refusal
from attnfuse.targets.flash_attention_score import score_refusals
from attnfuse.targets.limits import NodeKind, Target

ALIGNED_HEAD = 16
"""Elements that every head_dim is padded to a multiple of, where the target does not take it as it is."""

REFUSALS: Mapping[NodeKind, Callable[[Target, FusedNodeFacts], tuple[Refusal, ...]]] = MappingProxyType(
    {"PromptFlashAttention": launch_refusals, "FlashAttentionScore": score_refusals}
)
"""What is asked of each operator, on a SoC that has it."""


def refusals(target: Target, node: FusedNodeFacts, mindspore: str = "") -> tuple[Refusal, ...]:
    """Everything that keeps the runtime's own fused operator from taking the node on the SoC; () where nothing does.

    `mindspore` is the version that wrote the graph, "" where that is not known.
    """
    missing = target.missing_operator(target.node, mindspore)
    if missing is not None:
        return (missing,)
    return REFUSALS[target.node](target, node)


def head_padding(target: Target, head_dim: int, written: Callable[[int], FusedNodeFacts]) -> int:
    """How many zeros a head of `head_dim` elements is padded by for the target to take it; `written` is the node with
    that many."""
    zeros = -head_dim % ALIGNED_HEAD if head_dim > 0 else 0
    refused = zeros and any(refusal.code == HEAD_MULTIPLE for refusal in refusals(target, written(0)))
    return zeros if refused else 0
