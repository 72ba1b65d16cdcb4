"""The identity of regrouped axes, whose sizes may be known at run time only."""

from __future__ import annotations

from attnfuse.api import Model, Node
from attnfuse_passes.attention.axes import Space
from attnfuse_passes.attention.identities.layout import shapes
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.steps import Effect, Layout, Same
from attnfuse_passes.attention.open_sizes import kept_axes


@identity(
    "layout.reshape",
    ops=("Reshape", "FlattenExt", "ExpandDims", "Squeeze", "ReshapeView", "ExpandDimsView", "SqueezeView"),
    identity="x with its axes regrouped in row-major order",
    examples=(
        "Reshape(x: float32[2, 12], (2, 3, 4))",
        "ExpandDims(x: float32[2, 3], 1)",
        "FlattenExt(x: float32[2, 3, 4], 1, 2)",
        "Squeeze(x: float32[2, 1, 3], 1)",
        "ReshapeView(x: float32[6, 4], (2, 3, 4))",
        "ExpandDimsView(x: float32[2, 3], 0)",
        "SqueezeView(x: float32[1, 2], 0)",
    ),
    counter_examples=("Reshape(x: unknown, (2, 3)) -> float32[2, 3]", "Reshape(x: int64[6], (2, 3)) -> float32[2, 3]"),
)
def reshape(model: Model, node: Node) -> tuple[str, Effect] | None:
    """All of these keep the row-major order, so the output's shape alone says what they do.

    Of several sizes that are not known, the graph may say which axes of the input they are (`open_sizes.py`).
    """
    dims = shapes(model, node)
    if dims is None:
        return None
    before, after = dims
    if before == after and before.count(-1) <= 1:
        return node.inputs[0], Same()

    kept = kept_axes(model, node) if after.count(-1) > 1 else {}

    def apply(space: Space, name: str) -> bool:
        return space.reshape(name, after, kept)

    return node.inputs[0], Layout(apply)
