"""What a fused node, or the formula, would be written as: all that a lowering has to know beside the attention."""

from __future__ import annotations

from dataclasses import dataclass, field

from attnfuse.api import Candidate, DType, Precision
from attnfuse_passes.attention.free_padding import FreePadding
from attnfuse_passes.attention.mask_plan import MaskPlan
from attnfuse_passes.attention.normal_form import Attention, Layout


def given_in(layout: Layout) -> Layout:
    """The layout of query, key and value of a node in that layout."""
    return "BNSD" if layout == "BNSD_BSND" else layout


def gives_in(layout: Layout) -> Layout:
    """The layout of its result."""
    return "BSND" if layout == "BNSD_BSND" else layout


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCandidate(Candidate):
    """An attention in one form, computed in `dtype`, with query, key and value in `layout`.

    It stands for the value `result` of `Attention.results`, which is the anchor. `layout_reason` tells why it is this
    layout. `padding` zeros are appended to each head of `Attention.width`, by weights as far as `free` says.
    `precision` is that of a fused node's scores and softmax, and `precision_reason` why. `recast`: the surrounding
    casts are replaced with the node, and it is given what they were given. `ungrouped`: key and value are given with as
    many heads as query.
    """

    dtype: DType
    layout: Layout
    layout_reason: str = ""
    result: int = 0
    padding: int = 0
    free: FreePadding = field(default_factory=FreePadding)
    precision: Precision = "high"
    precision_reason: str = ""
    masks: MaskPlan = field(default_factory=MaskPlan)
    recast: bool = False
    ungrouped: bool = False

    @property
    def given_in(self) -> Layout:
        """The layout of query, key and value."""
        return given_in(self.layout)

    @property
    def gives_in(self) -> Layout:
        """The layout of the node's result."""
        return gives_in(self.layout)

    def form_of(self, attention: Attention) -> Attention:
        """The attention that is written: with the surrounding casts inside, where they are replaced."""
        written = attention.outside_casts() if self.recast else attention
        return written.without_groups() if self.ungrouped else written
