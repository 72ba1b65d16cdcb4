"""An operator that attnfuse does not know: x · sigmoid(gate)."""

from __future__ import annotations

from attnfuse.api import Arguments, TensorType, TypeMismatch, row


def _gated(arguments: Arguments) -> TensorType:
    """Type of the result; `arguments` has those of the node by name, each of the kind that the row says."""
    x, gate = arguments.tensor("x"), arguments.tensor("gate")
    if x != gate:
        raise TypeMismatch(f"gates {x} by {gate}")
    return x


GATE = row(
    "ExampleGate",
    "x: tensor, gate: tensor",
    _gated,
    examples=(
        "ExampleGate(x: float16[2, 3], gate: float16[2, 3]) -> float16[2, 3]",
        "refused: ExampleGate(x: float16[2, 3], gate: float16[3])",
    ),
    source="attnfuse-example, which defines the operator",
)
