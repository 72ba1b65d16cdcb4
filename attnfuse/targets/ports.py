"""Where in a node's inputs an argument is that MindSpore's converter looks for by its position."""

from __future__ import annotations

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.operators.table import operator


def place(model: Model, node: Node, position: int | None) -> int | None:
    """Position in the node's inputs of an argument that an adapter finds at `position`, both counted from 1.

    What a primitive holds as attributes is put back as arguments before the adapter counts (Lite's AttrToArgsPass), so
    that arguments behind them stand further to the front in the node: the bias of a MatMul whose transposes are
    attributes is third there, and fifth for the adapter (run). None for an argument that is an attribute.
    """
    if position is None:
        return None
    known, key = model.remembered(_known), (node.reference, position)
    if key not in known:
        known[key] = _place(model, node, position)
    return known[key]


def _known(model: Model) -> dict[tuple[str, int], int | None]:
    """Where arguments are, by the primitive's key and the adapter's position: every node of a primitive has them so."""
    return {}


def _place(model: Model, node: Node, position: int) -> int | None:
    signature = operator(node.op).signature
    if position > len(signature.inputs):
        return position
    stored = frozenset(a.name for a in model.primitives[node.proto.op_type].attribute)
    at = signature.with_attributes(stored).positions.get(signature.inputs[position - 1].name)
    return None if at is None else at + 1
