"""One part of an attention whose keys are in parts: its scores, and the slices of weights, keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from attnfuse.api import (
    Builder,
    DType,
    Model,
    Node,
    NotWritableError,
    broadcast_dims,
    dtypes,
)
from attnfuse_passes.attention.hiding import absorbing
from attnfuse_passes.attention.identities.layout import integers
from attnfuse_passes.attention.identities.product import MAX_CHAIN, Product, is_scores, read_product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.slices import read_slice
from attnfuse_passes.attention.identities.steps import AddTerm, Convert, FillWhere, Same, Scale
from attnfuse_passes.attention.mask_values import ConstantFolder

Write: TypeAlias = Callable[[Builder], str]


@dataclass(frozen=True, slots=True)
class Scores:
    """factor · product + Σ cₙ · termₙ, in `dtype`: the scores of some keys; a number where a condition of `fills` is.

    The number is the same for all fills. With `product` None they are `value` itself: logits that no query enters, of a
    sink.
    """

    value: str
    dtype: DType
    size: int
    product: Product | None = None
    factor: float = 1.0
    terms: tuple[tuple[str, float], ...] = ()
    fills: tuple[tuple[str, bool], ...] = ()
    fill: float | None = None
    nodes: tuple[Node, ...] = ()


def read_scores(model: Model, value: str) -> Scores | None:
    """The scores that `value` holds, over its last axis; None where an operator on the way is none of those known."""
    tensor_type = model.type_of(value)
    if tensor_type is None or not tensor_type.is_static or not tensor_type.dtype.is_float or not tensor_type.rank:
        return None
    found = Scores(value, tensor_type.dtype, tensor_type.dims[-1])
    at, kinds = value, {tensor_type.dtype}  # types that the scores are in behind
    for _ in range(MAX_CHAIN):
        product = read_product(model, at)
        if product is not None:
            is_plain = product.left_layout is None and product.term is None and product.node.op in _PLAIN
            return replace(found, product=product, nodes=(*found.nodes, product.node)) if is_plain else None
        step = read_back(model, at, SitePart.SCORES)
        if step is None:
            break
        effect = step.effect
        if isinstance(effect, Scale):
            found = replace(found, factor=found.factor * effect.factor)
        elif isinstance(effect, AddTerm) and len(kinds) == 1 and found.factor == 1.0:
            # A factor behind what is added, or a cast, may lose or make an infinity where one on each summand does not.
            found = replace(found, terms=(*found.terms, (effect.term, found.factor * effect.factor)))
        elif isinstance(effect, FillWhere):
            held = all(_holds(dtype, effect.fill) for dtype in kinds)
            if found.terms or found.factor != 1.0 or not held or found.fill not in (None, effect.fill):
                break
            found = replace(found, fills=(*found.fills, (effect.condition, effect.when)), fill=effect.fill)
        elif isinstance(effect, Convert):
            own = model.type_of(step.input)
            kinds |= set() if own is None else {own.dtype}
        elif not isinstance(effect, Same):
            break
        found = replace(found, nodes=(*found.nodes, step.node))
        at = step.input
    return None if is_scores(model, value) else Scores(value, tensor_type.dtype, tensor_type.dims[-1])


def _holds(dtype: DType, number: float) -> bool:
    """Whether a number is the same in that type."""
    with np.errstate(over="ignore"):
        return float(np.array(number).astype(dtype.numpy)) == number


def reads(parts: Sequence[Scores]) -> list[str]:
    """What is put together with the same of other parts, and so read anew."""
    found: list[str] = []
    for part in parts:
        found += [part.value] if part.product is None else [part.product.left, part.product.right]
        found += [value for value, _ in (*part.terms, *part.fills)]
    return found


def may_lose_scores(known: ConstantFolder, parts: Sequence[Scores]) -> bool:
    """Whether a number is added in which the scores of a key are lost: joined with others it would not be known."""
    return any(
        max(known.possible(value) or (), key=lambda x: x * factor, default=0.0) * factor >= absorbing(part.dtype)
        for part in parts
        if part.product is not None
        for value, factor in part.terms
    )


_PLAIN = ("MatMulExt", "BatchMatMulExt", "MatMul", "BatchMatMul", "Mm")
"""Products of which one is written over all keys."""


def go_together(parts: Sequence[Scores]) -> bool:
    """Whether the parts are scores of one query, made and scaled alike, and logits of sinks beside them."""
    real = [part for part in parts if part.product is not None]
    kinds = {
        (p.product.node.op, p.product.left, p.product.swap_left, p.product.swap_right, p.factor, p.dtype.name)
        for p in real
        if p.product is not None
    }
    fills = {part.fill for part in parts if part.fill is not None}
    return len(kinds) == 1 and len({part.dtype.name for part in parts}) == 1 and len(fills) < 2


def join_scores(model: Model, b: Builder, parts: Sequence[Scores]) -> str:
    """The scores of all parts as one product of the query; raises NotWritableError where keys do not go together."""
    first = next(part for part in parts if part.product is not None)
    product = first.product
    assert product is not None
    keys = [_key(model, part.product) for part in parts if part.product is not None]
    missing = sum(part.size for part in parts if part.product is None)
    whole = join(model, b, [value for value, _ in keys], -2, missing)
    if any(is_turned != keys[0][1] for _, is_turned in keys):
        raise NotWritableError(first.value, "is of keys that lie in different ways")
    if keys[0][1]:
        rank = b.type_of(whole).rank
        whole = b.transpose(whole, [*range(rank - 2), rank - 1, rank - 2])
    flags = product.node.inputs[2:]
    scores = b.cast(b.scaled(b.op(product.node.op, product.left, whole, *flags), first.factor), first.dtype)
    order = [*(p for p in parts if p.product is not None), *(p for p in parts if p.product is None)]
    bias = _joined_terms(model, b, order, first.dtype)
    scores = scores if bias is None else b.op("Add", scores, bias)
    condition = _joined_fills(model, b, order)
    if condition is None:
        return scores
    number = next(part.fill for part in parts if part.fill is not None)
    return b.op("MaskedFill", scores, condition, b.tensor(np.array(number), first.dtype))


def _key(model: Model, product: Product) -> tuple[str, bool]:
    """The key [keys, head size] of a product, and whether it stands the other way round in the product."""
    if product.swap_right:
        return product.right, False
    node = model.producer(product.right)
    order = integers(model, node.inputs[1]) if node is not None and node.op == "Transpose" else None
    if node is not None and order is not None:
        rank = len(order)
        if [axis % rank for axis in order] == [*range(rank - 2), rank - 1, rank - 2]:
            return node.inputs[0], True
    raise NotWritableError(product.right, "no key that can be joined with others")


def _joined_terms(model: Model, b: Builder, parts: Sequence[Scores], dtype: DType) -> str | None:
    """What is added to the scores of all parts, with zeros where a part has nothing; None where none has."""
    if all(part.product is not None and not part.terms for part in parts):
        return None
    factors = {part.terms[0][1] if len(part.terms) == 1 else None for part in parts}
    whole = _whole(model, [part.terms[0][0] for part in parts], -1) if None not in factors else None
    if whole is not None and len(factors) == 1:
        return b.scaled(b.cast(whole, dtype), factors.pop() or 0.0)
    return _columns(b, parts, [_term(model, b, part, dtype) for part in parts], dtype)


def _joined_fills(model: Model, b: Builder, parts: Sequence[Scores]) -> str | None:
    """Where the scores of all parts are filled, nowhere where a part has no fill; None where none has."""
    if not any(part.fills for part in parts):
        return None
    signs = {part.fills[0][1] if len(part.fills) == 1 else None for part in parts}
    whole = _whole(model, [part.fills[0][0] for part in parts], -1) if None not in signs else None
    if whole is not None and len(signs) == 1:
        return whole if signs.pop() else b.op("LogicalNot", whole)
    return _columns(b, parts, [_condition(b, part) for part in parts], dtypes.BOOL)


def _condition(b: Builder, part: Scores) -> str | None:
    whole: str | None = None
    for value, when in part.fills:
        own = value if when else b.op("LogicalNot", value)
        whole = own if whole is None else b.op("LogicalOr", whole, own)
    return whole


def _columns(b: Builder, parts: Sequence[Scores], made: Sequence[str | None], dtype: DType) -> str:
    """What belongs to the scores of each part, beside each other, and zeros for a part that has nothing."""
    lead: tuple[int, ...] = ()
    for value in made:
        dims = () if value is None else b.type_of(value).dims[:-1]
        together = broadcast_dims(lead, dims)
        if together is None:
            raise NotWritableError(parts[0].value, "has terms that do not broadcast to each other")
        lead = together
    columns = []
    for part, value in zip(parts, made, strict=True):
        if value is None:
            columns.append(b.tensor(np.zeros((*lead, part.size)), dtype))
        else:
            columns.append(b.broadcast(_of_rank(b, value, len(lead) + 1), (*lead, part.size)))
    return b.op("Concat", b.op("MakeTuple", *columns, prim_type=b.PRIMITIVE), b.constant(-1))


def _term(model: Model, b: Builder, part: Scores, dtype: DType) -> str | None:
    """What is added to one part's scores, in its own smaller shape."""
    if part.product is None:
        return b.cast(_before_broadcast(model, part.value), dtype)
    whole: str | None = None
    for value, factor in part.terms:
        scaled = b.scaled(b.cast(value, dtype), factor)
        whole = scaled if whole is None else b.op("Add", whole, scaled)
    return whole


def _before_broadcast(model: Model, value: str) -> str:
    """The logits before they are repeated for every row, with the same number of axes and elements in the last."""
    node, whole = model.producer(value), model.type_of(value)
    if node is None or whole is None or node.op not in ("BroadcastTo", "BroadcastToView", "ExpandAs"):
        return value
    own = model.type_of(node.inputs[0])
    is_kept = own is not None and own.rank == whole.rank and own.dims[-1] == whole.dims[-1] and own.is_static
    return node.inputs[0] if is_kept else value


def _of_rank(b: Builder, value: str, rank: int) -> str:
    dims = b.type_of(value).dims
    return b.reshape(value, (*(1,) * (rank - len(dims)), *dims))


def join(model: Model, b: Builder, values: Sequence[str], axis: int, missing: int) -> str:
    """The values behind each other along an axis, and so many zeros behind them. What was cut of one value and is all
    of it is that value."""
    whole = _whole(model, values, axis)
    parts = list(values) if whole is None else [whole]
    tensor_type = b.type_of(parts[0])
    if missing:
        dims = list(tensor_type.dims)
        dims[axis] = missing
        parts.append(b.tensor(np.zeros(dims), tensor_type.dtype))
    if len(parts) == 1:
        return parts[0]
    return b.op("Concat", b.op("MakeTuple", *parts, prim_type=b.PRIMITIVE), b.constant(axis))


def _whole(model: Model, values: Sequence[str], axis: int) -> str | None:
    slices = [read_slice(model, value, axis) for value in values]
    known = [piece for piece in slices if piece is not None]
    if len(known) != len(values):
        return None
    source, end = known[0].source, 0
    for piece in known:
        if piece.source != source or piece.start != end:
            return None
        end = piece.end
    tensor_type = model.type_of(source)
    return source if tensor_type is not None and tensor_type.dims[axis] == end else None
