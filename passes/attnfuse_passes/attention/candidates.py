"""What a fused node, or the formula, would be written as: all that a lowering has to know beside the attention."""

from __future__ import annotations

from dataclasses import dataclass, field

from attnfuse.api import Candidate, DType, Precision
from attnfuse_passes.attention.masks import MaskPlan
from attnfuse_passes.attention.normal_form import Attention, Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCandidate(Candidate):
    """An attention in one form, computed in `dtype`, with query, key and value in `layout`.

    `padding` zeros are appended to each head of `Attention.width`. `precision` is that of a fused node's scores and
    softmax, and `precision_reason` why. `recast`: the surrounding casts are replaced with the node, and it is given
    what they were given.
    """

    dtype: DType
    layout: Layout
    padding: int = 0
    precision: Precision = "high"
    precision_reason: str = ""
    masks: MaskPlan = field(default_factory=MaskPlan)
    recast: bool = False

    def form_of(self, attention: Attention) -> Attention:
        """The attention that is written: with the surrounding casts inside, where they are replaced."""
        return attention.outside_casts() if self.recast else attention
