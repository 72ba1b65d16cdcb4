"""Scores that are concatenated before the softmax, and weights that are cut behind it.

Σⱼ Pⱼ Vⱼ over slices Pⱼ of the weights is P·V, V the values behind each other, with zeros for keys whose weights nobody
reads. Scores beside each other are those of the keys behind each other; logits that no query enters are those of keys
of zeros, with a bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from attnfuse.api import Builder, Model, Node, effective_uses, makes_tuple
from attnfuse_passes.attention.identities.layout import axis_of, integers
from attnfuse_passes.attention.identities.product import MAX_CHAIN, Product, read_product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.rows import reduction
from attnfuse_passes.attention.identities.slices import read_slice
from attnfuse_passes.attention.identities.steps import Convert, FillWhere, Same, Scale
from attnfuse_passes.attention.mask_values import ConstantFolder
from attnfuse_passes.attention.restated.parts import (
    Write,
    go_together,
    join,
    join_scores,
    may_lose_scores,
    read_scores,
    reads,
)
from attnfuse_passes.attention.restated.rows import is_difference


@dataclass(frozen=True, slots=True)
class Restated:
    """What is written in the place of some values, so that an attention is one over all keys. `root` is its softmax, or
    what it is divided by itself. `reads` are values that are read there, and not where the source reads them."""

    root: Node
    instead: dict[str, Write]
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A product of weights `start` to `end`, with its value."""

    start: int
    end: int
    product: Product
    value: str


def read_joined(model: Model, softmax: Node, known: ConstantFolder) -> Restated | None:
    """The attention around a softmax of concatenated scores; None where it is none that can be stated as one. `known`
    are constants."""
    reached = _concatenation(model, softmax)
    if reached is None:
        return None
    concat, replaced = reached
    maker = model.producer(concat.inputs[0])
    assert maker is not None
    read = [read_scores(model, name) for name in maker.inputs]
    parts = [part for part in read if part is not None]
    if len(parts) != len(read) or not go_together(parts) or may_lose_scores(known, parts):
        return None
    logits = [i for i, part in enumerate(parts) if part.product is None]
    if logits and logits[0] != len(parts) - len(logits):
        return None  # keys of zeros are appended
    total = sum(part.size for part in parts)
    found = _weighed(model, softmax, total)
    if found is None:
        return None
    end, pieces = found
    instead: dict[str, Write] = {replaced.name: lambda b: join_scores(model, b, parts)}
    if pieces[0].product.left != softmax.name or len(pieces) > 1:
        instead[end.name] = lambda b: _join_products(model, b, softmax, pieces, total)
    return Restated(softmax, instead, (*reads(parts), *(piece.value for piece in pieces)))


_BEHIND = (Same, Scale, Convert, FillWhere)
"""What may be done to concatenated scores; it is done to those of all keys as well."""


def _concatenation(model: Model, softmax: Node) -> tuple[Node, Node] | None:
    """The Concat over the softmax's axis, the last, behind factors, casts and fills, and what stands for the scores: it
    or their distance to the largest of a row, which has the same softmax."""
    tensor_type = model.type_of(softmax.name)
    axes = integers(model, softmax.inputs[1]) if len(softmax.inputs) > 1 else None
    if tensor_type is None or axis_of(axes, tensor_type.rank) != tensor_type.rank - 1:
        return None
    value, distance, is_filled = softmax.inputs[0], None, False
    for _ in range(MAX_CHAIN):
        node = model.producer(value)
        readers = {use.node.name for use in effective_uses(model, value) if use.node is not None}
        if node is None or len(readers - _largest(model, value)) != 1:
            return None
        if node.op == "Concat":
            maker = model.producer(node.inputs[0])
            along = axis_of(integers(model, node.inputs[1]), tensor_type.rank)
            is_last = maker is not None and makes_tuple(maker) and along == tensor_type.rank - 1
            return (node, distance or node) if is_last else None
        step = read_back(model, value, SitePart.SCORES)
        # Filled behind, a row of −∞ is not what it is without the largest number that is subtracted of it.
        if not is_filled and is_difference(model, node) and _is_largest_of(model, node.inputs[1], node.inputs[0]):
            value, distance = node.inputs[0], node
        elif distance is not None or step is None or not isinstance(step.effect, _BEHIND):
            return None
        else:
            is_filled = is_filled or isinstance(step.effect, FillWhere)
            value = step.input
    return None


def _largest(model: Model, value: str) -> set[str]:
    """The nodes that find a value's largest numbers: what they are is of no account to a softmax."""
    nodes = (use.node for use in effective_uses(model, value))
    return {node.name for node in nodes if node is not None and node.op in ("MaxDim", "ReduceMax")}


def _is_largest_of(model: Model, value: str, scores: str) -> bool:
    """Whether a value holds one number a row, the largest of the scores, to be subtracted from them."""
    found, tensor_type = reduction(model, value), model.type_of(scores)
    if found is None or tensor_type is None:
        return False
    return (found.kind, found.of, found.keeps, found.axes) == ("max", scores, True, (tensor_type.rank - 1,))


def _weighed(model: Model, softmax: Node, total: int) -> tuple[Node, list[_Weighed]] | None:
    """The sum of all products that the weights enter, and these, by the weights that they read; None where weights are
    read otherwise, or several products read one."""
    pieces: list[_Weighed] = []
    pending: list[tuple[str, int, int]] = [(softmax.name, 0, total)]
    while pending:
        value, start, end = pending.pop()
        for use in effective_uses(model, value):
            node = use.node
            if node is None:
                return None
            product = read_product(model, node.name)
            if product is not None:
                if not _is_plain(product, value):
                    return None
                pieces.append(_Weighed(start, end, product, product.right))
                continue
            onward = _onward(model, node, value)
            if onward is None:
                return None
            pending += [(name, start + low, end if high is None else start + high) for name, low, high in onward]
    pieces.sort(key=lambda piece: (piece.start, piece.end))
    if not pieces or any(one.end > other.start for one, other in pairwise(pieces)):
        return None
    last = _sum_of(model, [piece.product.node for piece in pieces])
    return None if last is None else (last, pieces)


def _is_plain(product: Product, weights: str) -> bool:
    swapped = product.swap_left or product.swap_right or product.left_layout is not None
    return product.left == weights and product.right != weights and product.term is None and not swapped


def _onward(model: Model, node: Node, value: str) -> list[tuple[str, int, int | None]] | None:
    """Values that hold the weights, or a slice of them, behind a node that reads them."""
    found: list[tuple[str, int, int | None]] = []
    for name in [node.name, *(use.node.name for use in effective_uses(model, node.name) if use.node is not None)]:
        piece = read_slice(model, name, -1)
        if piece is not None and piece.source == value:
            found.append((name, piece.start, piece.end))
    if found:
        return found
    step = read_back(model, node.name, SitePart.WEIGHTS)
    if step is None or step.input != value or not isinstance(step.effect, Same | Convert):
        return None
    return [(node.name, 0, None)]


def _sum_of(model: Model, nodes: list[Node]) -> Node | None:
    """The node that adds the results of all these and of nothing else; None where there is none."""
    open_nodes = {node.name: node for node in nodes}
    while len(open_nodes) > 1:
        for node in list(open_nodes.values()):
            uses = effective_uses(model, node.name)
            reader = uses[0].node if len(uses) == 1 else None
            if reader is None or reader.op not in ("Add", "AddExt") or not _is_plain_sum(model, reader):
                continue
            if all(name in open_nodes for name in reader.inputs[:2]) and reader.inputs[0] != reader.inputs[1]:
                for name in reader.inputs[:2]:
                    del open_nodes[name]
                open_nodes[reader.name] = reader
                break
        else:
            return None
    return next(iter(open_nodes.values()))


def _is_plain_sum(model: Model, node: Node) -> bool:
    types = {model.type_of(name) for name in (node.name, *node.inputs[:2])}
    return len(types) == 1 and (node.op == "Add" or integers(model, node.inputs[2]) == (1,))


def _join_products(model: Model, b: Builder, softmax: Node, pieces: list[_Weighed], total: int) -> str:
    """The weights times all values; the weights in the values' type."""
    parts: list[str] = []
    end = 0
    runs: list[str] = []
    for piece in pieces:
        if piece.start > end:
            parts.append(_joined(model, b, runs, 0)) if runs else None
            runs = []
            parts.append(_zeros(b, piece.value, piece.start - end))
        runs.append(piece.value)
        end = piece.end
    parts.append(_joined(model, b, runs, total - end))
    whole = parts[0] if len(parts) == 1 else _joined(model, b, parts, 0)
    weights = b.cast(softmax.name, b.type_of(whole).dtype)
    return b.op(pieces[0].product.node.op, weights, whole, *pieces[0].product.node.inputs[2:])


def _joined(model: Model, b: Builder, values: list[str], missing: int) -> str:
    return join(model, b, values, -2, missing)


def _zeros(b: Builder, like: str, count: int) -> str:
    tensor_type = b.type_of(like)
    dims = (*tensor_type.dims[:-2], count, tensor_type.dims[-1])
    return b.tensor(np.zeros(dims), tensor_type.dtype)
