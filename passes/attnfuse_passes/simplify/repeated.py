"""Equal nodes made once: views and moves of one value with the same arguments.

Casts and arithmetic are not looked at: within a kernel of several operations a second copy costs nothing, and a shared
one would have to be written.
"""

from __future__ import annotations

from itertools import islice

from attnfuse.api import CONSTANT, Model, Node, RewriteContext
from attnfuse_passes.simplify.rules import Simpler, simplifies

_MOST = 64
"""How many readers of a value are looked through for an equal node."""


@simplifies("Reshape", "ExpandDims", "Squeeze", "Flatten", "Transpose", "StridedSlice", "Tile", "BroadcastTo", "Split")
def made_before(at: RewriteContext) -> Simpler | None:
    """The first node that reads the same value and does the same with it."""
    model, node = at.model, at.node
    for use in islice(model.uses(at.input(0)), _MOST):
        other = use.node
        if other is None or other.graph is not node.graph or other.index >= node.index:
            continue
        if other.proto.op_type == node.proto.op_type and _same_arguments(model, other, node):
            return Simpler("a node that is there already", other.name)
    return None


def _same_arguments(model: Model, one: Node, other: Node) -> bool:
    if len(one.inputs) != len(other.inputs):
        return False
    return all(
        left == right or _equal(model, left, right) for left, right in zip(one.inputs, other.inputs, strict=True)
    )


def _equal(model: Model, left: str, right: str) -> bool:
    """Whether both are constants of one value."""
    nodes = model.producer(left), model.producer(right)
    return all(node is not None and node.op == CONSTANT for node in nodes) and _bytes(nodes[0]) == _bytes(nodes[1])


def _bytes(node: Node | None) -> list[bytes]:
    return [] if node is None else [a.SerializeToString(deterministic=True) for a in node.proto.attribute]
