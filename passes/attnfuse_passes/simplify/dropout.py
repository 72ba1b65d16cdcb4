"""Dropout that keeps every element: what a model says that is exported as if it trained, with a probability of 0."""

from __future__ import annotations

from attnfuse.api import RewriteContext
from attnfuse_passes.simplify.rules import Simpler, simplifies

_KEEPS_ALL = {"Dropout": 1.0, "DropoutExt": 0.0}


@simplifies("TupleGetItem")
def keeps_all(at: RewriteContext) -> Simpler | None:
    """The first result is the input, with keep_prob 1 or p 0; the second stays where it is read."""
    made = at.model.producer(at.input(0))
    if made is None or made.op not in _KEEPS_ALL or at.literal(1) != 0 or len(made.inputs) < 2:
        return None
    if not at.model.is_literal(made.inputs[1]) or at.model.literal(made.inputs[1]) != _KEEPS_ALL[made.op]:
        return None
    return Simpler("dropout that keeps every element", made.inputs[0])
