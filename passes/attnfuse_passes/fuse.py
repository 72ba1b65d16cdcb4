"""The pass that fuses: every softmax and every fused node of the source ends with a record of what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from attnfuse.api import CALL, IDENTITIES, Context, Effects, Legalised, Model, Property, TakeExtensions, inline_calls
from attnfuse_passes.attention.decide import Sites
from attnfuse_passes.attention.formulas import FormulaOfAnotherValue, FormulaOfAttention
from attnfuse_passes.attention.fused_node import FusedNodeOfSource
from attnfuse_passes.attention.identities import registry
from attnfuse_passes.attention.mask_values import MAX_ELEMENTS
from attnfuse_passes.attention.restated.restate import restate
from attnfuse_passes.rewrite import rewrite
from attnfuse_passes.shared import masks_once, share_equal


@dataclass(frozen=True, slots=True)
class Fuse:
    """Rewrites what is proved to be attention to the target's fused node, as far as policy and target allow.

    `largest_constant` is how many elements a mask has at most that is computed here and kept in the graph. Of a larger
    one no number is known: its site keeps the formula where the fused node would need to know them.
    """

    id: ClassVar[str] = "fuse"
    order: ClassVar[int] = 100
    summary: ClassVar[str] = "softmax(QKᵀ)V, however spelled, becomes one fused node"
    ensures: ClassVar[frozenset[Property]] = frozenset({Property.DECIDED, Property.INLINED})
    takes: ClassVar[Mapping[str, TakeExtensions]] = {IDENTITIES: registry.extend}

    largest_constant: Annotated[int, Field(ge=0)] = MAX_ELEMENTS

    def run(self, model: Model, context: Context) -> bool:
        """Raise, decide and lower each site, in file order; what they write alike is written once.

        Before, functions that are called by name become nodes of their callers: each call of a block has sites of its
        own then, with weights of its own, and MindSpore Lite, which takes no calls, has none left.
        """
        calls = inline_calls(model)
        if context.target.runtime == "lite":
            context.legalised += [Legalised(CALL, call.operators) for call in calls]
        restated = restate(model, context, self._fuse)
        return self._fuse(model, context) or restated or bool(calls)

    def _fuse(self, model: Model, context: Context) -> bool:
        effects = Effects.of(model)
        sites = Sites.of(model, effects, context.weights, self.largest_constant)
        rewrites = (FormulaOfAttention(sites), FormulaOfAnotherValue(sites), FusedNodeOfSource(sites))
        changed = rewrite(model, context, effects, rewrites)
        if changed:
            share_equal(model, effects)
            context.sites[:] = masks_once(model, context.sites)
        return changed
