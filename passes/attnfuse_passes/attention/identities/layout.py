"""Identities of layout: the same numbers with their axes moved or regrouped."""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.api import Model, Node, NotALiteralError
from attnfuse_passes.attention.axes import Space
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.steps import Effect, Layout, Same


def integers(model: Model, value: str) -> tuple[int, ...] | None:
    """A literal tuple of integers (one integer counts as one of length 1)."""
    try:
        literal = model.literal(value)
    except NotALiteralError:
        return None
    if isinstance(literal, int) and not isinstance(literal, bool):
        return (literal,)
    if isinstance(literal, tuple):
        numbers = tuple(x for x in literal if isinstance(x, int) and not isinstance(x, bool))
        if len(numbers) == len(literal):
            return numbers
    return None


def shapes(model: Model, node: Node) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The shapes of the node's first input and of its output; None unless both are tensors of one type.

    Of any type: moving axes is no arithmetic, and the masks read through layouts are booleans or integers.
    """
    before, after = model.type_of(node.inputs[0]), model.type_of(node.name)
    if before is None or after is None or before.dtype != after.dtype:
        return None
    return before.dims, after.dims


@identity(
    "layout.transpose",
    ops=("Transpose", "TransposeView"),
    identity="x with its axes permuted",
    examples=("Transpose(x: float32[2, 3, 4], (0, 2, 1))", "TransposeView(x: float32[2, 3, 4], (-1, 0, 1))"),
    counter_examples=(
        "Transpose(x: float32[2, 3], p: int64[2]) -> float32[3, 2]",
        "Transpose(x: float32[2, 2], (0, 0)) -> float32[2, 2]",
    ),
)
def transpose(model: Model, node: Node) -> tuple[str, Effect] | None:
    """The permutation must be a literal; a negative axis counts from the end."""
    dims, order = shapes(model, node), integers(model, node.inputs[1])
    if dims is None or order is None:
        return None
    rank = len(dims[0])
    axes = [axis % rank for axis in order] if rank else []
    if sorted(axes) != list(range(rank)):
        return None

    def apply(space: Space, name: str) -> bool:
        space.transpose(name, axes)
        return True

    return node.inputs[0], Layout(apply)


@identity(
    "layout.whole_slice",
    ops=("StridedSlice",),
    identity="x[:] = x",
    examples=("StridedSlice(x: float32[2, 3], (0, 0), (2, 3), (1, 1), 0, 0, 0, 0, 0)",),
    counter_examples=(
        "StridedSlice(x: float32[2, 3], (0, 0), (2, 2), (1, 1), 0, 0, 0, 0, 0)",
        "StridedSlice(x: float32[2, 3], (1, 2), (-3, -4), (-1, -1), 0, 0, 0, 0, 0)",
    ),
)
def whole_slice(model: Model, node: Node) -> tuple[str, Effect] | None:
    """A slice with strides of 1 that keeps every length keeps every element."""
    dims = shapes(model, node)
    strides = integers(model, node.inputs[3]) if len(node.inputs) >= 4 else None
    if dims is None or strides is None or dims[0] != dims[1] or -1 in dims[0]:
        return None
    return (node.inputs[0], Same()) if all(stride == 1 for stride in strides) else None


def axis_of(literal: Sequence[int] | None, rank: int) -> int | None:
    """A single axis, counted from the start. Takes what `integers` answers, None too."""
    if literal is None or len(literal) != 1 or not -rank <= literal[0] < rank:
        return None
    return literal[0] % rank
