"""Which values of a graph its outputs need: what is run, paired and measured."""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.ir.graph import CALL, Model
from attnfuse.ir.questions import orders_effects, value_inputs


def needed_values(model: Model, also: Sequence[str] = ()) -> set[str]:
    """Names of values that some output, or one of `also`, needs.

    State tokens are not followed: they order, they compute nothing.
    """
    functions = {g.name: g for g in model.proto.functions}
    stack = [*(o.name for o in model.proto.graph.output), *also]
    seen: set[str] = set()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        if value in functions:
            stack += [o.name for o in functions[value].output]
        node = model.producer(value)
        if node is None or orders_effects(node):
            continue
        stack += value_inputs(node)
        if node.op == CALL:
            stack.append(node.proto.op_type.removeprefix("REF::"))
    return seen
