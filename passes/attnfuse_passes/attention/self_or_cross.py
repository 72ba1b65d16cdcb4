"""Whether an attention is self-attention: are query, key and value projected from the same values of the graph?

Joint attention, whose operands are each concatenated from several streams, is self-attention too: the streams are the
same for all three.
"""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.api import LAYOUTS, AttentionKind, Model, behind, factors, orders_effects, source

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
        if node is None or orders_effects(node):  # which leads back to other sites
            continue
        product = factors(node)
        if product is not None and _is_weight(model, product[1]):
            # Projections of one value may each have a reshape of their own.
            found.add(behind(model, product[0], LAYOUTS))
            continue
        # Where numbers are only laid out again the other inputs are shapes, or the order of effects.
        laid_out = source(node, LAYOUTS)
        inputs: Sequence[str] = node.inputs if laid_out is None else [laid_out]
        for name in inputs:
            if name not in seen:
                seen.add(name)
                pending.append(name)
    return found


def _is_weight(model: Model, value: str) -> bool:
    """A parameter, read or handed on; weights enter functions as inputs that keep their dotted name."""
    value = behind(model, value, LAYOUTS)
    return model.is_parameter(value) or (model.is_input(value) and "." in value.rsplit(":", 1)[-1])
