"""Softmaxes of parts of the keys that are put together by their largest scores: attention in chunks, by hand.

Every chunk j has weights exp(sⱼ − mⱼ), and whatever follows multiplies them and their sum with exponentials of one
number a row. So numerator and denominator are Σⱼ exp(sⱼ + rⱼ)·Vⱼ and Σⱼ exp(sⱼ + rⱼ), rⱼ a sum of such numbers. If
all rⱼ are the same r, exp(r) is taken out and cancelled, and what is left is the softmax over all keys, times all
values, whatever r is. That r is meant to be the largest score changes nothing but the range of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from attnfuse.api import Builder, Model, Node, effective_uses, live_values
from attnfuse_passes.attention.identities.layout import axis_of, integers
from attnfuse_passes.attention.identities.product import Product, read_product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.steps import Convert, Same
from attnfuse_passes.attention.restated.parts import go_together, is_difference, join, join_scores, read_scores
from attnfuse_passes.attention.restated.scores import Restated
from attnfuse_passes.attention.uniform import uniform

DIVISIONS = frozenset({"Div", "RealDiv"})
_DEPTH = 64
_CHUNKS = 256

_Rows: TypeAlias = tuple[tuple[str, int], ...]
"""A sum of values of one number a row, each so many times, in order of their names."""


@dataclass(frozen=True, slots=True)
class _Term:
    """exp(scores + rows), times the product's value if there is a product, summed over its keys if there is none."""

    scores: str
    rows: _Rows
    product: Product | None = None


def read_chunks(model: Model, division: Node) -> Restated | None:
    """The attention that a division ends; None where it is none of several chunks of keys."""
    if len(division.inputs) != 2 or not _same_rows(model, *division.inputs):
        return None
    above, below = _terms(model, division.inputs[0], _weighed), _terms(model, division.inputs[1], _summed)
    if above is None or below is None or not 1 < len(above) == len(below) <= _CHUNKS:
        return None
    sums = {term.scores: term.rows for term in below}
    if {term.scores for term in above} != set(sums) or len(sums) != len(above):
        return None
    if len({term.rows for term in (*above, *below)}) != 1:
        return None
    read = [read_scores(model, term.scores) for term in above]
    parts = [part for part in read if part is not None and part.product is not None]
    products = [term.product for term in above if term.product is not None]
    if not len(parts) == len(products) == len(above) or not go_together(parts):
        return None
    if any(part.terms for part in parts):
        return None  # of a chunk without any key by −inf the source makes NaN, and one softmax does not
    if len({(product.node.op, *product.node.inputs[2:]) for product in products}) != 1:
        return None
    own = model.type_of(division.name)
    if own is None or any(not _stays_inside(model, division, term.scores) for term in above):
        return None

    def write(b: Builder) -> str:
        scores = join_scores(model, b, parts)
        weights = b.op("Softmax", scores, b.constant((-1,)))
        value = join(model, b, [product.right for product in products], -2, 0)
        weights = b.cast(weights, b.type_of(value).dtype)
        result = b.op(products[0].node.op, weights, value, *products[0].node.inputs[2:])
        return b.cast(result, own.dtype)

    return Restated(division, {division.name: write})


_Leaf: TypeAlias = Callable[[Model, str, int], "_Term | None"]


def _terms(model: Model, value: str, leaf: _Leaf, depth: int = _DEPTH) -> list[_Term] | None:
    """The terms that a value is the sum of; None where it is no such sum."""
    if uniform(model, value) == 0.0:
        return []
    node = model.producer(value)
    if node is None or depth == 0:
        return None
    found = leaf(model, value, depth)
    if found is not None:
        return [found]
    if node.op == "Add" or (node.op == "AddExt" and integers(model, node.inputs[2]) == (1,)):
        one, other = (_terms(model, name, leaf, depth - 1) for name in node.inputs[:2])
        return None if one is None or other is None or not _same_types(model, node) else one + other
    if node.op == "Mul" and len(node.inputs) == 2:
        for name, factor in (node.inputs, node.inputs[::-1]):
            rows = _exponent(model, factor) if _same_rows(model, factor, value) else None
            inner = None if rows is None else _terms(model, name, leaf, depth - 1)
            if rows is not None and inner is not None and model.type_of(name) == model.type_of(value):
                return [_Term(term.scores, _plus(term.rows, rows), term.product) for term in inner]
        return None
    step = read_back(model, value, SitePart.VALUE)
    if step is None or not isinstance(step.effect, Same | Convert):
        return None
    return _terms(model, step.input, leaf, depth - 1)


def _same_types(model: Model, node: Node) -> bool:
    """Whether nothing is repeated by an addition of one type."""
    types = {model.type_of(name) for name in (node.name, *node.inputs[:2])}
    return len(types) == 1 and None not in types


def _same_rows(model: Model, one: str, other: str) -> bool:
    """Whether two tensors have the same axes but for the last: no row is repeated for several."""
    types = [model.type_of(name) for name in (one, other)]
    dims = [() if tensor_type is None else tensor_type.dims for tensor_type in types]
    return bool(dims[0]) and len(dims[0]) == len(dims[1]) and dims[0][:-1] == dims[1][:-1] and -1 not in dims[0]


def _weighed(model: Model, value: str, depth: int) -> _Term | None:
    """Weights of a chunk times its values."""
    product = read_product(model, value)
    if product is None or product.term is not None or product.swap_left or product.swap_right:
        return None
    if product.left_layout is not None:
        return None
    weights = _weights(model, product.left, depth)
    return None if weights is None else _Term(weights.scores, weights.rows, product)


def _summed(model: Model, value: str, depth: int) -> _Term | None:
    """The sum of a chunk's weights, which keeps the axis."""
    node = model.producer(value)
    if node is None or node.op not in ("SumExt", "ReduceSum") or len(node.inputs) < 3:
        return None
    before = model.type_of(node.inputs[0])
    keeps = model.literal(node.inputs[2]) if model.is_literal(node.inputs[2]) else None
    if before is None or keeps is not True or axis_of(integers(model, node.inputs[1]), before.rank) != before.rank - 1:
        return None
    return _weights(model, node.inputs[0], depth)


def _weights(model: Model, value: str, depth: int) -> _Term | None:
    """exp(scores + rows), through casts, and factors that are exponentials of rows."""
    rows: _Rows = ()
    for _ in range(depth):
        node = model.producer(value)
        if node is None:
            return None
        if node.op == "Exp":
            found = _scores_and_rows(model, node.inputs[0])
            return None if found is None else _Term(found[0], _plus(rows, found[1]))
        step = read_back(model, value, SitePart.WEIGHTS)
        if step is None or not isinstance(step.effect, Same | Convert):
            return None
        value = step.input
    return None


def _scores_and_rows(model: Model, value: str) -> tuple[str, _Rows] | None:
    """scores − rows, as scores and the sum of what is added to each row of them."""
    node = model.producer(value)
    if node is None or not is_difference(model, node):
        return None
    scores, less = node.inputs[:2]
    rows = _sum_of_rows(model, less) if _same_rows(model, less, scores) else None
    is_whole = model.type_of(scores) == model.type_of(value)
    return None if rows is None or not is_whole else (scores, _times(rows, -1))


def _exponent(model: Model, value: str) -> _Rows | None:
    """The sum whose exponential a value is, one number a row; None where it is none."""
    while True:
        node = model.producer(value)
        if node is None:
            return None
        if node.op == "Exp":
            return _sum_of_rows(model, node.inputs[0])
        step = read_back(model, value, SitePart.VALUE)
        if step is None or not isinstance(step.effect, Same | Convert):
            return None
        value = step.input


def _sum_of_rows(model: Model, value: str, depth: int = _DEPTH) -> _Rows | None:
    """A value of one number a row as a sum of such values; None where it is of more."""
    tensor_type, node = model.type_of(value), model.producer(value)
    if tensor_type is None or tensor_type.dims[-1:] != (1,):
        return None
    if node is not None and depth and is_difference(model, node) and _same_types(model, node):
        one, other = (_sum_of_rows(model, name, depth - 1) for name in node.inputs[:2])
        return None if one is None or other is None else _plus(one, _times(other, -1))
    return ((value, 1),)


def _plus(one: _Rows, other: _Rows) -> _Rows:
    total = dict(one)
    for name, count in other:
        total[name] = total.get(name, 0) + count
    return tuple(sorted((name, count) for name, count in total.items() if count))


def _times(rows: _Rows, factor: int) -> _Rows:
    return tuple((name, factor * count) for name, count in rows)


def _stays_inside(model: Model, division: Node, scores: str) -> bool:
    """Whether all that is made of a chunk's scores is read by the division alone: else they would have to be made."""
    inside = live_values(model, division.inputs)
    seen, pending = set[str](), [scores]
    while pending:
        value = pending.pop()
        if value in seen or value == division.name:
            continue
        seen.add(value)
        uses = effective_uses(model, value)
        if any(use.node is None or (use.node.name not in inside and use.node is not division) for use in uses):
            return False
        pending += [use.node.name for use in uses if use.node is not None]
    return True
