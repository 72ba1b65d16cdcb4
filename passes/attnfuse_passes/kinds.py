"""Whether an attention is self-attention: are query, key and value projected from the same values of the graph?

Joint attention, whose operands are each concatenated from several streams, is self-attention too: the streams are the
same for all three. May import `attnfuse.api`.
"""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.api import AttentionKind, Model

# Linear layers: input 0 are the values, input 1 the weight.
_PROJECTIONS = {"Dense", "MatMul", "MatMulExt", "BatchMatMul", "BatchMatMulExt"}
# Of these only input 0 holds numbers of the operand; the others are shapes, or the order of effects.
_LAYOUT = {
    "Reshape", "Transpose", "TransposeView", "TransposeExtView", "ExpandDims", "Squeeze", "Cast", "Depend", "Load",
}  # fmt: skip
_MAX_VISITS = 400


def self_or_cross(model: Model, query: str, key: str, value: str) -> AttentionKind | None:
    """ "self" or "cross"; None where one of the operands comes from no projection, or from too far away."""
    sources = [_sources(model, operand) for operand in (query, key, value)]
    if any(not found for found in sources):
        return None
    return "self" if sources[0] == sources[1] == sources[2] else "cross"


def _sources(model: Model, operand: str) -> set[str]:
    """What the projections nearest to an operand are fed; empty where there is none, or where it was given up."""
    found: set[str] = set()
    seen, pending = {operand}, [operand]
    while pending:
        if len(seen) > _MAX_VISITS:
            return set()
        node = model.producer(pending.pop())
        if node is None or node.op == "UpdateState":  # the order of effects, which leads back to other sites
            continue
        if node.op in _PROJECTIONS and _is_weight(model, node.inputs[1]):
            found.add(_behind_layout(model, node.inputs[0]))
            continue
        inputs: Sequence[str] = node.inputs[:1] if node.op in _LAYOUT else node.inputs
        for name in inputs:
            if name not in seen:
                seen.add(name)
                pending.append(name)
    return found


def _is_weight(model: Model, value: str) -> bool:
    """A parameter, read or handed on; weights enter functions as inputs that keep their dotted name."""
    while (node := model.producer(value)) is not None and node.op in _LAYOUT:
        value = node.inputs[0]
    return model.is_parameter(value) or (model.is_input(value) and "." in value.rsplit(":", 1)[-1])


def _behind_layout(model: Model, value: str) -> str:
    """The value that was only reshaped: projections of one value may each have a reshape of their own."""
    while (node := model.producer(value)) is not None and node.op in _LAYOUT:
        value = node.inputs[0]
    return value
