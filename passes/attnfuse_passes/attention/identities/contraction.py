"""Contractions of two operands over one index, as matrix products: einsum, and a product that is summed.

Every axis of an operand has a label, the index that it ranges over. What both operands and the result have is batch,
what both have and the result lacks is contracted; of what one operand alone has, one label is the matrix's own axis and
the others are batch that the other operand is repeated over.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from attnfuse.api import Model, Node, NotALiteralError, makes_tuple, read_equation
from attnfuse_passes.attention.axes import Space
from attnfuse_passes.attention.identities.steps import Layout

Labels: TypeAlias = Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Contraction:
    """left and right, brought by their layouts to [batch, rows, contracted] and [batch, contracted, columns], give
    [batch, rows, columns], which `result` brings to what `node` gives. `inner` are nodes between the operands and it.
    """

    node: Node
    inner: tuple[Node, ...]
    left: str
    right: str
    left_layout: Layout
    right_layout: Layout
    result_layout: Layout


def read_contraction(model: Model, node: Node, weights: str | None) -> Contraction | None:
    """The contraction that `node` computes. `weights` is the operand that holds attention weights, where that is known:
    its last index but the contracted one is then the matrix's own."""
    if node.op == "Einsum":
        return _einsum(model, node, weights)
    return _summed(model, node, weights) if node.op in ("SumExt", "ReduceSum") else None


def _einsum(model: Model, node: Node, weights: str | None) -> Contraction | None:
    maker = model.producer(node.inputs[0]) if len(node.inputs) == 1 else None
    if maker is None or not makes_tuple(maker) or len(maker.inputs) != 2:
        return None
    types = [model.type_of(name) for name in maker.inputs]
    text = next((a.s for a in model.primitives[node.proto.op_type].attribute if a.name == "equation"), b"")
    ranks = [tensor_type.rank for tensor_type in types if tensor_type is not None]
    equation = read_equation(text.decode("utf-8", "replace"), ranks) if len(ranks) == 2 else None
    if equation is None or not _same_type(model, node, maker.inputs):
        return None
    left, right = equation.operands
    return _arranged(node, maker, (left, right), equation.result, weights)


def _summed(model: Model, node: Node, weights: str | None) -> Contraction | None:
    """Σ over one axis of a product of two tensors that broadcast."""
    maker = model.producer(node.inputs[0])
    if maker is None or maker.op != "Mul" or len(maker.inputs) != 2 or not _same_type(model, node, maker.inputs):
        return None
    types = [model.type_of(name) for name in maker.inputs]
    whole = model.type_of(maker.name)
    axis = _sum_axis(model, node, 0 if whole is None else whole.rank)
    if whole is None or axis is None or not whole.is_static:
        return None
    labels: list[list[int]] = []
    for tensor_type, other in zip(types, reversed(types), strict=True):
        if tensor_type is None or other is None or not tensor_type.is_static:
            return None
        first = whole.rank - tensor_type.rank
        own = range(first, whole.rank)
        if any(tensor_type.dims[i - first] != whole.dims[i] and tensor_type.dims[i - first] != 1 for i in own):
            return None
        labels.append([i if tensor_type.dims[i - first] == whole.dims[i] else -1 - i for i in own])
    result = [i for i in range(whole.rank) if i != axis]
    return _arranged(node, maker, (labels[0], labels[1]), result, weights)


def _sum_axis(model: Model, node: Node, rank: int) -> int | None:
    """The one axis that is summed over and dropped, counted from the start."""
    try:
        given, keeps = model.literal(node.inputs[1]), model.literal(node.inputs[2])
        last = model.literal(node.inputs[3]) if len(node.inputs) > 3 else None
    except NotALiteralError:
        return None
    axes = given if isinstance(given, tuple) else (given,)
    # The fourth argument is SumExt's element type, ReduceSum's flag that no axis means none.
    if keeps is not False or last not in (None, False) or len(axes) != 1:
        return None
    (axis,) = axes
    if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:
        return None
    return axis % rank


def _same_type(model: Model, node: Node, operands: Sequence[str]) -> bool:
    types = [model.type_of(name) for name in (node.name, *operands)]
    kinds = {tensor_type.dtype for tensor_type in types if tensor_type is not None}
    return None not in types and len(kinds) == 1 and next(iter(kinds)).is_float


def _arranged(
    node: Node, maker: Node, operands: tuple[Labels, Labels], result: Labels, weights: str | None
) -> Contraction | None:
    """The contraction of axes that are labelled; None where it sums more than one index, or takes a diagonal."""
    left, right = operands
    real = [{label for label in labels if not _is_single(label)} for labels in operands]
    contracted = [label for label in left if label in real[0] & real[1] and label not in result]
    if len(contracted) != 1 or any(len(set(labels)) != len(labels) for labels in operands):
        return None
    if (real[0] | real[1]) - set(result) != set(contracted):
        return None
    order = _order(maker, operands, result, weights)
    rows, columns = (
        next((label for label in reversed(order) if label in own - other), None)
        for own, other in (real, reversed(real))
    )
    # An axis of the result that neither has is of one element.
    lead = [label for label in result if label not in (rows, columns)]
    there = [_without_single(labels) for labels in operands]
    return Contraction(
        node,
        (maker,),
        maker.inputs[0],
        maker.inputs[1],
        _bring(left, there[0], [*lead, rows, contracted[0]]),
        _bring(right, there[1], [*lead, contracted[0], columns]),
        _give([*lead, rows, columns], result),
    )


def _order(maker: Node, operands: tuple[Labels, Labels], result: Labels, weights: str | None) -> list[Hashable]:
    """All labels, those last that are the matrix's own: as the scores have them, which the result or an operand is."""
    own = operands[maker.inputs.index(weights)] if weights in maker.inputs else ()
    return [*(label for label in result if label not in own), *own]


def _is_single(label: Hashable) -> bool:
    """Whether it stands for an axis of one element beside a longer one of the other operand."""
    return isinstance(label, int) and label < 0


def _without_single(labels: Labels) -> list[Hashable]:
    return [label for label in labels if not _is_single(label)]


def _bring(labels: Labels, there: Labels, wanted: Labels) -> Layout:
    """From axes of those labels to `wanted`: None and what the operand lacks are axes of one element."""

    def apply(space: Space, name: str) -> bool:
        if len(space[name].axes) != len(labels):
            return False
        if not space.squeeze(name, [i for i, label in enumerate(labels) if _is_single(label)]):
            return False
        kept = list(there)
        space.transpose(name, [kept.index(label) for label in wanted if label in kept])
        for i, label in enumerate(wanted):
            if label not in kept:
                space.expand(name, i)
        return True

    return Layout(apply)


def _give(labels: Labels, result: Labels) -> Layout:
    """From the product's axes to those of the result; a row or column that is None is dropped."""

    def apply(space: Space, name: str) -> bool:
        if not space.squeeze(name, [i for i, label in enumerate(labels) if label is None]):
            return False
        kept = [label for label in labels if label is not None]
        space.transpose(name, [kept.index(label) for label in result])
        return True

    return Layout(apply)
