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
    NotALiteralError,
    NotWritableError,
    broadcast_dims,
    makes_tuple,
    takes_element,
)
from attnfuse_passes.attention.identities.layout import axis_of, integers
from attnfuse_passes.attention.identities.product import MAX_CHAIN, Product, is_scores, read_product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.steps import AddTerm, Convert, Same, Scale

Write: TypeAlias = Callable[[Builder], str]


@dataclass(frozen=True, slots=True)
class Scores:
    """factor · product + Σ cₙ · termₙ, in `dtype`: the scores of some keys.

    With `product` None they are `value` itself: logits that no query enters, of a sink.
    """

    value: str
    dtype: DType
    size: int
    product: Product | None = None
    factor: float = 1.0
    terms: tuple[tuple[str, float], ...] = ()
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """Elements `start` up to `end` of the axis of `source`."""

    source: str
    start: int
    end: int
    nodes: tuple[Node, ...] = ()


def read_scores(model: Model, value: str) -> Scores | None:
    """The scores that `value` holds, over its last axis; None where an operator on the way is none of those known."""
    tensor_type = model.type_of(value)
    if tensor_type is None or not tensor_type.is_static or not tensor_type.dtype.is_float or not tensor_type.rank:
        return None
    found = Scores(value, tensor_type.dtype, tensor_type.dims[-1])
    at, is_cast = value, False
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
        elif isinstance(effect, AddTerm) and not is_cast and found.factor == 1.0:
            # A factor behind what is added, or a cast, may lose or make an infinity where one on each summand does not.
            found = replace(found, terms=(*found.terms, (effect.term, found.factor * effect.factor)))
        elif isinstance(effect, Convert):
            is_cast = True
        elif not isinstance(effect, Same):
            break
        found = replace(found, nodes=(*found.nodes, step.node))
        at = step.input
    return None if is_scores(model, value) else Scores(value, tensor_type.dtype, tensor_type.dims[-1])


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
    return len(kinds) == 1 and len({part.dtype.name for part in parts}) == 1


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
    return scores if bias is None else b.op("Add", scores, bias)


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
    made = [_term(model, b, part, dtype) for part in parts]
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


def is_difference(model: Model, node: Node) -> bool:
    """Whether the node takes its second input, as it is, from the first."""
    return node.op == "Sub" or (node.op == "SubExt" and integers(model, node.inputs[2]) == (1,))


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


def read_slice(model: Model, value: str, axis: int) -> Slice | None:
    """What a value is cut from along an axis (from the end: −1, −2), if it is whole along all others."""
    node = model.producer(value)
    if node is None:
        return None
    if node.op == "StridedSlice":
        return _strided(model, node, axis)
    if takes_element(node):
        return _element(model, node, axis)
    return None


def _strided(model: Model, node: Node, axis: int) -> Slice | None:
    before, after = model.type_of(node.inputs[0]), model.type_of(node.name)
    begin, strides = integers(model, node.inputs[1]), integers(model, node.inputs[3])
    masks = [integers(model, name) for name in node.inputs[4:9]]
    if before is None or after is None or not before.is_static or begin is None or strides is None:
        return None
    if None in masks or any(mask != (0,) for mask in masks[2:]) or any(stride != 1 for stride in strides):
        return None
    position = before.rank + axis
    if before.rank != after.rank or any(
        one != other for i, (one, other) in enumerate(zip(before.dims, after.dims, strict=True)) if i != position
    ):
        return None
    length = before.dims[position]
    is_free = masks[0] is not None and masks[0][0] >> position & 1
    start = 0 if position >= len(begin) or is_free else begin[position]
    start = max(start + length, 0) if start < 0 else min(start, length)
    return Slice(node.inputs[0], start, start + after.dims[position], (node,))


def _element(model: Model, node: Node, axis: int) -> Slice | None:
    """An element of what Split, SplitWithSize or Chunk gives."""
    cut = model.producer(node.inputs[0])
    if cut is None or cut.op not in ("Split", "SplitTensor", "SplitWithSize", "Chunk") or makes_tuple(cut):
        return None
    types, before = model.types_of(cut.name), model.type_of(cut.inputs[0])
    try:
        index = model.literal(node.inputs[1])
    except NotALiteralError:
        return None
    if before is None or not isinstance(types, tuple) or not isinstance(index, int) or not 0 <= index < len(types):
        return None
    along = axis_of(integers(model, cut.inputs[1 if cut.op == "Split" else 2]), before.rank)
    sizes = [0 if kind is None else kind.dims[axis] for kind in types]
    if along != before.rank + axis or min(sizes) < 1 or sum(sizes) != before.dims[axis]:
        return None
    return Slice(cut.inputs[0], sum(sizes[:index]), sum(sizes[: index + 1]), (node, cut))
