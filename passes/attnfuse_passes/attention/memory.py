"""Operands that are not computed: caches of keys and values, which the graph writes, and inputs made constants.

A fused node reads all its operands at once, where the product with value stood. What the graph writes to the memory
must have been written before the operand is read, and nothing may be written after: then it is of no account when the
operand is read.
"""

from __future__ import annotations

from attnfuse.api import LAYOUTS, MatchFailure, Model, Node, behind, changed, live_values, may_change, reads_memory


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
    """Raise MatchFailure where `value` is read of a weight that is written, and not after all that writes to it."""
    weight = behind(model, value, LAYOUTS)
    if not is_cache(model, weight):
        return
    reader = _first_reader(model, value, weight)
    before = set() if reader is None else live_values(model, reader.inputs)
    writers = _writers(model, weight)
    renamed = any(may_change(model, writer.name) for writer in writers)
    if reader is None or renamed or any(writer.name not in before for writer in writers):
        expected = "a weight that is read after all that writes to it"
        raise MatchFailure("safety.mutated", value, expected, f"{writers[0].op} of it, which may come later")


def _writers(model: Model, weight: str) -> list[Node]:
    """The nodes that change a weight."""
    nodes = [use.node for use in model.uses(weight)]
    return [node for node in nodes if node is not None and weight in changed(model, node)]


def _first_reader(model: Model, value: str, weight: str) -> Node | None:
    """The Load through which `value` is read; None where it is the memory itself, whenever that is looked at."""
    while (node := model.producer(value)) is not None:
        if reads_memory(node) and node.inputs[0] == weight:
            return node
        value = node.inputs[0]
    return None
