"""Identities of repetition: key and value heads shared by groups of query heads, masks shared by heads or rows.

A repeated tensor does not depend on the index that repeats it. Whether that index is the inner or the outer part of
the head axis is what the algebra of layouts keeps apart: only the inner one is what grouped-query attention means
(query head h reads key head h // group).
"""

from __future__ import annotations

from attnfuse.api import Model, Node
from attnfuse_passes.attention.axes import Space
from attnfuse_passes.attention.identities.layout import axis_of, integers, shapes
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.steps import Effect, Layout, Same


@identity(
    "repeat.tile",
    ops=("Tile",),
    identity="tile(x)[i + n·j] = x[i]",
    examples=(
        "Tile(x: float32[2, 1, 3], (1, 4, 1))",
        "Tile(x: float32[2, 3], (2, 1))",
        "Tile(x: float32[3], (2, 1))",
        "Tile(x: float32[2, 3], (2,))",
    ),
    counter_examples=("Tile(x: float32[2, 3], r: int64[2])",),
)
def tile(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Whole-axis repetition: the repeating index is the outer part of the axis."""
    dims, times = shapes(model, node), integers(model, node.inputs[1])
    if dims is None or times is None or any(t < 1 for t in times):
        return None
    rank = len(dims[0])
    times = (1,) * (rank - len(times)) + times
    new = len(times) - rank

    def apply(space: Space, name: str) -> bool:
        for _ in range(new):
            space.expand(name, 0)
        for axis, count in enumerate(times):
            space.repeat(name, axis, count, innermost=False)
        return True

    return node.inputs[0], Layout(apply)


@identity(
    "repeat.interleave",
    ops=("RepeatInterleaveInt",),
    identity="repeat(x)[m·i + j] = x[i]",
    examples=(
        "RepeatInterleaveInt(x: float32[2, 3], 2, 1, None)",
        "RepeatInterleaveInt(x: float32[2, 3], 4, -2, None)",
    ),
    counter_examples=(
        "RepeatInterleaveInt(x: float32[2, 3], n: int64[3], 1, None)",
        "RepeatInterleaveInt(x: float32[2, 3], 2, 5, None) -> float32[2, 6]",
        "RepeatInterleaveInt(x: float32[2, 3], 0, 1, None)",
        "RepeatInterleaveInt(x: unknown, 2, 1, None) -> float32[2, 6]",
        "RepeatInterleaveInt(x: float32[2, 3], 2, (0, 1), None) -> float32[4, 6]",
        "RepeatInterleaveInt(x: float32[2, 3], 2, axis: int64[], None) -> float32[2, 6]",
    ),
)
def interleave(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Element-wise repetition: the repeating index is the inner part of the axis."""
    dims, times = shapes(model, node), integers(model, node.inputs[1])
    if dims is None or times is None or len(times) != 1 or times[0] < 1:
        return None
    axis, count = axis_of(integers(model, node.inputs[2]), len(dims[0])), times[0]
    if axis is None:
        return None

    def apply(space: Space, name: str) -> bool:
        space.repeat(name, axis, count, innermost=True)
        return True

    return node.inputs[0], Layout(apply)


@identity(
    "repeat.broadcast",
    ops=("BroadcastTo", "ExpandAs", "BroadcastToView"),
    identity="broadcast(x)[…, j, …] = x[…, 0, …]",
    examples=(
        "BroadcastTo(x: float32[2, 1, 3], (2, 4, 3))",
        "BroadcastTo(x: float32[3], (2, 3))",
        "BroadcastTo(x: float32[3], (3, 3))",
        "BroadcastToView(x: float32[1, 3], (2, 3))",
        "ExpandAs(x: float32[1, 3], y: float32[2, 3])",
    ),
    counter_examples=(
        "BroadcastTo(x: unknown, (2, 3)) -> float32[2, 3]",
        "BroadcastTo(x: float32[2, 3], (4, 3)) -> float32[4, 3]",
        "BroadcastTo(x: float32[1, 3], (3,)) -> float32[3]",
    ),
)
def broadcast(model: Model, node: Node) -> tuple[str, Effect] | None:
    """An axis of one element repeated to the output's length; the shapes say which."""
    dims = shapes(model, node)
    if dims is None or -1 in dims[0] or -1 in dims[1]:
        return None
    before, after = dims
    if before == after:
        return node.inputs[0], Same()
    new = len(after) - len(before)
    if new < 0 or any(b not in (1, a) for b, a in zip(before, after[new:], strict=True)):
        return None

    def apply(space: Space, name: str) -> bool:
        for _ in range(new):
            space.expand(name, 0)
        for axis, length in enumerate(after):
            if axis < new or before[axis - new] != length:
                space.repeat(name, axis, length, innermost=False)
        return True

    return node.inputs[0], Layout(apply)
