"""Operands that are not computed: caches of keys and values, which the graph writes, and inputs made constants.

A fused node reads all its operands at once, where the product with value stood, and masks too. What the graph writes to
the memory must have been written before the operand is read, and nothing may be written after: then it is of no account
when the operand is read.
"""

from __future__ import annotations

from attnfuse.api import (
    LAYOUTS,
    MatchFailure,
    Model,
    Node,
    aliased,
    behind,
    changed,
    live_values,
    makes_tuple,
    reads_memory,
)


def is_cache(model: Model, weight: str) -> bool:
    """Whether the graph writes to a weight."""
    return model.is_parameter(weight) and bool(_writers(model, weight))


def is_frozen_input(model: Model, query: str, key: str, value: str) -> bool:
    """Whether a constant key was an input: MindSpore's export makes constants of tuples that are not mutable.

    A constant of a layer is a matrix, whatever batch it is multiplied with. So a key with batch axes of its own is
    none, nor one beside a query without batch whose values are another constant.
    """
    own, types = behind(model, value, LAYOUTS), [model.type_of(name) for name in (query, key)]
    ranks = [0 if tensor_type is None else tensor_type.rank for tensor_type in types]
    return ranks[1] > 2 or (ranks == [2, 2] and model.is_literal(own) and own != key)


def check_reads(model: Model, value: str) -> None:
    """Raise MatchFailure where `value` is read of memory that the graph changes, and not after all that changes it.

    What is read is what a Load finds, or what a node gives that changed it: that is the memory itself.
    """
    memory = behind(model, value, LAYOUTS)
    names = _names(model, memory)
    writers = [node for name in sorted(names) for node in _writers(model, name)]
    if not writers:
        return
    made_by = model.producer(memory)
    last = _first_reader(model, value, memory) or (made_by if made_by in writers else None)
    before = set() if last is None else live_values(model, (last.name, *last.inputs))
    later = next((writer for writer in writers if writer.name not in before), None)
    if later is not None:
        expected = "memory that is read after all that writes to it"
        raise MatchFailure("safety.mutated", value, expected, f"{later.op} of it, which may come later")


def _names(model: Model, memory: str) -> set[str]:
    """The values that are the same memory: views of it, and what nodes give that change it."""
    names, pending = set[str](), [memory]
    while pending:
        name = pending.pop()
        if name in names:
            continue
        names.add(name)
        made_by = model.producer(name)
        pending += [] if made_by is None else [*aliased(made_by), *changed(model, made_by)]
        users = (use.node for use in model.uses(name))
        pending += [
            node.name
            for node in users
            if node is not None and not makes_tuple(node) and name in (*aliased(node), *changed(model, node))
        ]
    return names


def _writers(model: Model, memory: str) -> list[Node]:
    """The nodes that change a value in place."""
    nodes = [use.node for use in model.uses(memory)]
    return [node for node in nodes if node is not None and memory in changed(model, node)]


def _first_reader(model: Model, value: str, memory: str) -> Node | None:
    """The Load through which `value` is read; None where it is the memory itself, whenever that is looked at."""
    while (node := model.producer(value)) is not None and value != memory:
        if reads_memory(node) and node.inputs[0] == memory:
            return node
        value = node.inputs[0]
    return None
