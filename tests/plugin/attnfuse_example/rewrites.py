"""A rewrite: what MindSpore Lite has instead of the plugin's operator."""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.api import (
    Builder,
    Candidate,
    DType,
    OperatorRewrite,
    Result,
    RewriteContext,
    Unsupported,
    short_name,
    unsupported_reason,
)


@dataclass(frozen=True, slots=True)
class Gate:
    """x · sigmoid(gate), by the names of the values, and the type of the result's elements."""

    x: str
    gate: str
    dtype: DType


class AsProduct:
    """The one way in which it is written: a product with a sigmoid."""

    form = "product with a sigmoid"

    def unsupported_reason(self, form: Gate, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        """Why it cannot be written so; the node then stays, and the report tells where the target does not take it."""
        if form.dtype.is_float:
            return None
        return Unsupported("operator.unsupported", f"it gives {form.dtype}, of which there is no sigmoid")

    def write(self, build: Builder, form: Gate, candidate: Candidate) -> Result:
        """Make the nodes; the last one takes the place of the node that is rewritten."""
        return build.op("Mul", form.x, build.op("Sigmoid", form.gate))


class WriteGate(OperatorRewrite[Gate]):
    """Asked for every node of its roots."""

    roots = frozenset({"ExampleGate"})
    lowerings = (AsProduct(),)

    def raise_(self, at: RewriteContext) -> Gate | None:
        """What is there, as a form; None where there is nothing to do. What reads an argument fails by itself."""
        if unsupported_reason(at.target, at.model, at.node) is None:
            return None
        return Gate(at.input(0), at.input(1), at.out.dtype)

    def name(self, form: Gate, at: RewriteContext) -> str:
        """What the new nodes are named after."""
        return short_name(at.node.name)
