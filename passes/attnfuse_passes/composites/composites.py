"""The pass that composes: for MindSpore Lite, nodes that CANN has one operator for are written as that operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from attnfuse.api import Context, Effects, Model, Property
from attnfuse_passes.composites.add_layer_norm import AddLayerNormRewrite
from attnfuse_passes.composites.gate import GeluGate, SiluGate
from attnfuse_passes.composites.gelu import GeluChain
from attnfuse_passes.composites.group_norm import GroupNormRewrite
from attnfuse_passes.composites.layer_norm import LayerNormRewrite
from attnfuse_passes.composites.rms_norm import RmsNormFormula, RmsNormRewrite
from attnfuse_passes.composites.rotation import RotationRewrite
from attnfuse_passes.rewrite import AnyRewrite, rewrite


@dataclass(frozen=True, slots=True)
class Composites:
    """Writes composite operators where the target launches them; what it refuses stays, and legalisation says why.

    With `swiglu` "custom" a gate by SiLU whose first half is activated becomes a `Custom` node of CANN's SwiGlu, which
    no device has taken yet; with "off" it stays. With `gelu_gate` "operator" a gate by GELU is GeGluV2; with "cost" it
    is two products of cut weights where these are expected to move fewer bytes, if the graph engine makes one kernel of
    the elementwise operations behind them.
    """

    id: ClassVar[str] = "composites"
    order: ClassVar[int] = 150
    summary: ClassVar[str] = "what CANN has one operator for becomes that operator, for MindSpore Lite"
    requires: ClassVar[frozenset[Property]] = frozenset({Property.DECIDED})

    swiglu: Literal["off", "custom"] = "off"
    gelu_gate: Literal["operator", "cost"] = "operator"

    def run(self, model: Model, context: Context) -> bool:
        """Raise, decide and lower each candidate, in file order."""
        if context.target.runtime != "lite":
            return False
        rewrites: list[AnyRewrite] = [
            *(GroupNormRewrite(), AddLayerNormRewrite(model), LayerNormRewrite(), RmsNormRewrite()),
            *(GeluGate(cuts=self.gelu_gate == "cost"), GeluChain(), RotationRewrite(), RmsNormFormula()),
        ]
        if self.swiglu == "custom":
            rewrites.append(SiluGate())
        return rewrite(model, context, Effects.of(model), rewrites)
