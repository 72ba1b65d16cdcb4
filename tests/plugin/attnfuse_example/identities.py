"""An identity: the scores of attention are read through a negation."""

from __future__ import annotations

from attnfuse.api import Model, Node
from attnfuse_passes.api import Effect, Identity, Scale, keeps_shape


def negation(model: Model, node: Node) -> tuple[str, Effect] | None:
    """The value to go on at, and what the node does to it; None where that is not so."""
    value = node.inputs[0]
    return (value, Scale(-1.0)) if keeps_shape(model, node, value) else None


NEGATION = Identity(
    name="example.negation",
    ops=("Neg",),
    identity="−x = (−1)·x",
    examples=("Neg(x: float32[2, 3])", "Neg(x: float16[])"),
    counter_examples=("Neg(x: int64[2, 3])",),
    rule=negation,
)
