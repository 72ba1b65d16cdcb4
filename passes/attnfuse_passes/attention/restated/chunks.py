"""Softmaxes of parts of the keys that are put together by their largest scores: attention in chunks, by hand.

Every chunk j has weights exp(sⱼ − mⱼ), and whatever follows multiplies them and their sum with exponentials of one
number a row. So numerator and denominator are Σⱼ exp(sⱼ + rⱼ)·Vⱼ and Σⱼ exp(sⱼ + rⱼ), rⱼ a sum of such numbers. If
all rⱼ are the same r, exp(r) is taken out and cancelled, and what is left is the softmax over all keys, times all
values, whatever r is. That r is meant to be the largest score changes nothing but the range of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from attnfuse.api import Builder, Model, Node, effective_uses, live_values
from attnfuse_passes.attention.identities.layout import integers
from attnfuse_passes.attention.identities.product import Product, read_product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.rows import reduction
from attnfuse_passes.attention.identities.slices import read_slice
from attnfuse_passes.attention.identities.steps import Convert, Same
from attnfuse_passes.attention.mask_values import ConstantFolder
from attnfuse_passes.attention.restated.masked import is_one_softmax
from attnfuse_passes.attention.restated.parts import (
    go_together,
    join,
    join_scores,
    may_lose_scores,
    read_scores,
    reads,
)
from attnfuse_passes.attention.restated.rows import (
    DEPTH,
    Rows,
    exponent,
    is_difference,
    is_expanded,
    plus,
    same_types,
    sum_of_rows,
    times,
)
from attnfuse_passes.attention.restated.scores import Restated
from attnfuse_passes.attention.restated.stacked import read_stacked_sum
from attnfuse_passes.attention.uniform import uniform

DIVISIONS = frozenset({"Div", "RealDiv"})
_CHUNKS = 256


@dataclass(frozen=True, slots=True)
class _Term:
    """exp(scores + rows), times the product's value if there is a product, summed over its keys if there is none.

    `shift` is the first of what is subtracted in the rows, before the exponential is taken.
    """

    scores: str
    rows: Rows
    shift: str
    product: Product | None = None


def read_chunks(model: Model, division: Node, known: ConstantFolder) -> Restated | None:
    """The attention that a division ends; None where it is none of several chunks of keys. `known` are constants."""
    if len(division.inputs) != 2 or not _same_rows(model, *division.inputs):
        return None
    divisor = model.producer(division.inputs[1])
    sums_of = division.inputs[1] if divisor is None or not is_expanded(model, divisor) else divisor.inputs[0]
    above, below = _terms(model, division.inputs[0], _weighed), _terms(model, sums_of, _summed)
    if above is None or below is None or not 1 < len(above) == len(below) <= _CHUNKS:
        return None
    sums = {term.scores: term.rows for term in below}
    if {term.scores for term in above} != set(sums) or len(sums) != len(above):
        return None
    if len({term.rows for term in (*above, *below)}) != 1:
        return None
    above, whole = _in_order(model, above)
    read = [read_scores(model, whole or term.scores) for term in above]
    parts = [part for part in read if part is not None and part.product is not None]
    products = [term.product for term in above if term.product is not None]
    if not len(parts) == len(products) == len(above) or not go_together(parts) or may_lose_scores(known, parts):
        return None
    named = {term.scores: part for term, part in zip(above, parts, strict=True)}
    shifts = [(term.scores, term.shift) for term in (*above, *below)]
    if not is_one_softmax(model, known, named, shifts, are_cut=whole is not None):
        return None
    if len({(product.node.op, *product.node.inputs[2:]) for product in products}) != 1:
        return None
    own = model.type_of(division.name)
    if own is None or any(not _stays_inside(model, division, whole or term.scores) for term in above):
        return None

    def write(b: Builder) -> str:
        scores = join_scores(model, b, parts) if whole is None else whole
        weights = b.op("Softmax", scores, b.constant((-1,)))
        value = join(model, b, values, -2, 0)
        weights = b.cast(weights, b.type_of(value).dtype)
        result = b.op(products[0].node.op, weights, value, *products[0].node.inputs[2:])
        return b.cast(result, own.dtype)

    values = [product.right for product in products]
    return Restated(division, {division.name: write}, (*(reads(parts) if whole is None else ()), *values))


def _in_order(model: Model, terms: list[_Term]) -> tuple[list[_Term], str | None]:
    """The chunks as they are, and None; or, where they are cut of the scores of all keys, in their order, and those."""
    slices = [read_slice(model, term.scores, -1) for term in terms]
    pieces = sorted((piece.start, piece.end, i) for i, piece in enumerate(slices) if piece is not None)
    sources = {piece.source for piece in slices if piece is not None}
    if len(pieces) != len(terms) or len(sources) != 1:
        return terms, None
    (source,) = sources
    tensor_type = model.type_of(source)
    ends = [0, *(end for _, end, _ in pieces)]
    is_whole = tensor_type is not None and ends[-1] == tensor_type.dims[-1]
    if not is_whole or any(start != end for (start, _, _), end in zip(pieces, ends, strict=False)):
        return terms, None
    return [terms[i] for _, _, i in pieces], source


_Leaf: TypeAlias = Callable[[Model, str, int], "_Term | None"]


def _terms(model: Model, value: str, leaf: _Leaf, depth: int = DEPTH) -> list[_Term] | None:
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
        return None if one is None or other is None or not same_types(model, node) else one + other
    if node.op == "Mul" and len(node.inputs) == 2:
        for name, factor in (node.inputs, node.inputs[::-1]):
            power = exponent(model, factor) if _same_rows(model, factor, value) else None
            rows = None if power is None else sum_of_rows(model, power)
            inner = None if rows is None else _terms(model, name, leaf, depth - 1)
            if rows is not None and inner is not None and model.type_of(name) == model.type_of(value):
                return [replace(term, rows=plus(term.rows, rows)) for term in inner]
        return None
    stacked = read_stacked_sum(model, node)
    if stacked is not None:
        total: list[_Term] = []
        for item, rows in stacked:
            inner = _terms(model, item, leaf, depth - 1)
            if inner is None:
                return None
            total += [replace(term, rows=plus(term.rows, rows)) for term in inner]
        return total
    step = read_back(model, value, SitePart.VALUE)
    if step is None or not isinstance(step.effect, Same | Convert):
        return None
    return _terms(model, step.input, leaf, depth - 1)


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
    return None if weights is None else replace(weights, product=product)


def _summed(model: Model, value: str, depth: int) -> _Term | None:
    """The sum of a chunk's weights; whether the axis is kept shows where it meets what it divides."""
    found = reduction(model, value)
    before = None if found is None or found.kind != "sum" else model.type_of(found.of)
    if found is None or before is None or found.axes != (before.rank - 1,):
        return None
    return _weights(model, found.of, depth)


def _weights(model: Model, value: str, depth: int) -> _Term | None:
    """exp(scores + rows), through casts, and factors that are exponentials of rows."""
    rows: Rows = ()
    for _ in range(depth):
        node = model.producer(value)
        if node is None:
            return None
        if node.op == "Exp":
            found = _scores_and_rows(model, node.inputs[0])
            return None if found is None else replace(found, rows=plus(rows, found.rows))
        step = read_back(model, value, SitePart.WEIGHTS)
        if step is None or not isinstance(step.effect, Same | Convert):
            return None
        value = step.input
    return None


def _scores_and_rows(model: Model, value: str) -> _Term | None:
    """scores − rows, as scores and the sum of what is added to each row of them."""
    node = model.producer(value)
    if node is None or not is_difference(model, node):
        return None
    scores, less = node.inputs[:2]
    rows = sum_of_rows(model, less) if _same_rows(model, less, scores) else None
    is_whole = model.type_of(scores) == model.type_of(value)
    return None if rows is None or not is_whole else _Term(scores, times(rows, -1), less)


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
