"""Which sites are fused, and in which type: ordered rules, the last that matches a site decides.

The semantics are mindone's (`set_flash_attention_force_cast_dtype` and `enable_flash_sdp` of its model and pipeline
classes): each call walks the sub-cells it is made on, and the last call wins.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.mindir.dtypes import FLOAT16, DType


@dataclass(frozen=True, slots=True)
class SiteQuery:
    """What a rule may ask of a site."""

    component: str
    owner: str
    module: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What holds for one site, each setting with the rule that set it.

    `force_cast_dtype` is what inputs of other types than float16 and bfloat16 are cast to; None keeps the formula.
    """

    flash: bool
    flash_rule: str
    force_cast_dtype: DType | None
    cast_rule: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one compile."""

    def decide(self, site: SiteQuery) -> Decision:
        """The decision for a site."""
        return Decision(True, "default", FLOAT16, "default")
