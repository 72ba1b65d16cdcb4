"""The pass that fuses: every Softmax and every fused node of the source ends with a record of what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnfuse.api import Context, Effects, Model, Property
from attnfuse_passes.attention.decide import Sites
from attnfuse_passes.attention.formula import FormulaOfAttention
from attnfuse_passes.attention.fused_node import FusedNodeOfSource
from attnfuse_passes.rewrite import rewrite


@dataclass(frozen=True, slots=True)
class Fuse:
    """Rewrites what is proved to be attention to the target's fused node, as far as policy and target allow."""

    id: ClassVar[str] = "fuse"
    order: ClassVar[int] = 100
    summary: ClassVar[str] = "softmax(QKᵀ)V, however spelled, becomes one fused node"
    ensures: ClassVar[frozenset[Property]] = frozenset({Property.DECIDED})

    def run(self, model: Model, context: Context) -> bool:
        """Raise, decide and lower each site, in file order."""
        effects = Effects.of(model)
        sites = Sites.of(model, effects, context.weights)
        return rewrite(model, context, effects, (FormulaOfAttention(sites), FusedNodeOfSource(sites)))
