"""A rewrite: what MindSpore Lite has instead of the plugin's operator."""

from __future__ import annotations

from attnfuse.api import Result, cannot
from attnfuse_passes.api import RuleContext


def gate(at: RuleContext) -> Result:
    """x · sigmoid(gate), of floating-point numbers. Where it cannot, it says why; the node then stays."""
    if not at.out.dtype.is_float:
        raise cannot(f"it gives {at.out.dtype}, and a sigmoid is taken of floating-point numbers")
    return at.build.op("Mul", at.input(0), at.build.op("Sigmoid", at.input(1)))
