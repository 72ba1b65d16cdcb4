"""What chunks give, stacked along a first axis, multiplied by exponentials of rows that are stacked too, and summed."""

from __future__ import annotations

from attnfuse.api import Model, Node, makes_tuple
from attnfuse_passes.attention.identities.layout import axis_of, integers
from attnfuse_passes.attention.restated.rows import DEPTH, Rows, exponent, held_in, is_difference, plus, row, times


def read_stacked_sum(model: Model, node: Node) -> list[tuple[str, Rows]] | None:
    """The values of which the node sums each times the exponential of its rows; None where it is no such sum.

    It sums over the first axis, of what is stacked along that.
    """
    if node.op not in ("SumExt", "ReduceSum") or len(node.inputs) < 3 or integers(model, node.inputs[1]) != (0,):
        return None
    if not model.is_literal(node.inputs[2]) or model.literal(node.inputs[2]) is not False:
        return None
    value, factors = node.inputs[0], list[list[Rows]]()
    for _ in range(DEPTH):
        items = _stacked(model, value)
        if items is not None:
            if any(len(rows) != len(items) for rows in factors):
                return None
            return [(item, _total([rows[i] for rows in factors])) for i, item in enumerate(items)]
        made = model.producer(value)
        if made is None:
            return None
        if made.op == "Mul":
            multiplied = _multiplied(model, made)
            if multiplied is None:
                return None
            value, rows = multiplied
            factors.append(rows)
        else:
            behind = held_in(model, made)
            if behind is None:
                return None
            value = behind
    return None


def _total(several: list[Rows]) -> Rows:
    total: Rows = ()
    for rows in several:
        total = plus(total, rows)
    return total


def _stacked(model: Model, value: str) -> list[str] | None:
    """The values that are stacked along a first axis."""
    node = model.producer(value)
    maker = None if node is None or node.op != "StackExt" else model.producer(node.inputs[0])
    if node is None or maker is None or not makes_tuple(maker):
        return None
    before, after = model.type_of(maker.inputs[0]), model.type_of(node.name)
    if before is None or after is None or not after.is_static or len({model.type_of(i) for i in maker.inputs}) != 1:
        return None
    is_first = len(node.inputs) > 1 and axis_of(integers(model, node.inputs[1]), after.rank) == 0
    return list(maker.inputs) if is_first and after.dims == (len(maker.inputs), *before.dims) else None


def _multiplied(model: Model, node: Node) -> tuple[str, list[Rows]] | None:
    """What is multiplied, and for each along the first axis the rows of whose exponential it is by."""
    whole = model.type_of(node.name)
    for value, factor in (node.inputs, node.inputs[::-1]):
        types = model.type_of(value), model.type_of(factor)
        power = exponent(model, factor)
        if power is None or types[0] is None or types[1] is None or types[0] != whole or not whole.is_static:
            continue
        dims = types[1].dims
        is_aligned = len(dims) == whole.rank and dims[:-1] == whole.dims[:-1] and dims[-1] in (1, whole.dims[-1])
        rows = _differences(model, power) if is_aligned else None
        if rows is not None:
            return value, rows
    return None


def _differences(model: Model, value: str) -> list[Rows] | None:
    """Rows that are stacked, less one that all share: the largest, as a rule."""
    node = model.producer(value)
    if node is None or not is_difference(model, node):
        return None
    items, whole = _stacked(model, node.inputs[0]), model.type_of(node.name)
    shared = model.type_of(node.inputs[1])
    if items is None or whole is None or shared is None or model.type_of(node.inputs[0]) != whole:
        return None
    if shared.dims not in ((1, *whole.dims[1:]), whole.dims[1:]):
        return None
    return [plus(((row(model, item), 1),), times(((row(model, node.inputs[1]), 1),), -1)) for item in items]
