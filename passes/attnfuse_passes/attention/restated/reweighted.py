"""Weights that are weighed once more and made to sum to 1 again, as prompts are emphasised: p·w / Σ p·w, w ≥ 0.

With p = softmax(s) that is softmax(s + log w): a bias, and a mask where w is 0. It holds for no w below 0, so w must be
proved to be none: its numbers are constant, or what makes it gives no number below 0. The logarithm is taken in
float32, where it costs less than rounding w to 16 bits does.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from attnfuse.api import Builder, Hands, Model, Node, Role, behind, dtypes, effective_uses, role
from attnfuse_passes.attention.identities.layout import axis_of, integers
from attnfuse_passes.attention.identities.product import MAX_CHAIN
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.steps import AddTerm, FillWhere
from attnfuse_passes.attention.restated.scores import Restated

_NOT_NEGATIVE = frozenset({"Sigmoid", "ReLU", "Exp", "Abs", "Square"})
"""Operators that give no number below 0, whatever they are given."""


def read_reweighted(model: Model, division: Node) -> Restated | None:
    """The softmax whose weights are weighed again and divided by their sum there; None where there is none."""
    if len(division.inputs) != 2:
        return None
    weighed = model.producer(division.inputs[0])
    if weighed is None or weighed.op != "Mul" or not _is_sum(model, division.inputs[1], weighed):
        return None
    for value, factor in (weighed.inputs, weighed.inputs[::-1]):
        softmax = model.producer(value)
        if softmax is None or role(softmax) is not Role.SOFTMAX or not _is_last(model, softmax):
            continue
        if _absorbs(model, softmax):
            continue
        is_private = len(effective_uses(model, value)) == 1 and len(effective_uses(model, weighed.name)) == 2
        keeps = model.type_of(value) == model.type_of(weighed.name) == model.type_of(division.name)
        if is_private and keeps and is_not_negative(model, factor):
            return Restated(division, {division.name: partial(_written, model, softmax, factor)}, (factor,))
    return None


def is_weighed_again(model: Model, weighed: Node) -> bool:
    """Whether a product of weights with something else is divided by its own sum."""
    readers = (use.node for use in effective_uses(model, weighed.name))
    divisions = (n for n in readers if n is not None and len(n.inputs) == 2 and n.inputs[0] == weighed.name)
    return weighed.op == "Mul" and any(_is_sum(model, division.inputs[1], weighed) for division in divisions)


def _is_last(model: Model, softmax: Node) -> bool:
    tensor_type = model.type_of(softmax.name)
    axes = integers(model, softmax.inputs[1]) if len(softmax.inputs) > 1 else None
    return tensor_type is not None and axis_of(axes, tensor_type.rank) == tensor_type.rank - 1


def _absorbs(model: Model, softmax: Node) -> bool:
    """Whether something finite may hide keys that log w would be lost beside, in float32: a row of these is low as a
    whole, and its keys weigh as w says. What float16 holds loses nothing that matters."""
    value = softmax.inputs[0]
    for _ in range(MAX_CHAIN):
        step = read_back(model, value, SitePart.SCORES)
        if step is None:
            return False
        made, effect = model.type_of(step.node.name), step.effect
        is_wide = made is None or made.dtype is not dtypes.FLOAT16
        if is_wide and (isinstance(effect, AddTerm) or (isinstance(effect, FillWhere) and math.isfinite(effect.fill))):
            return True
        value = step.input
    return True


def _is_sum(model: Model, value: str, of: Node) -> bool:
    """Whether a value is the sum of each row, which keeps the axis."""
    node, tensor_type = model.producer(value), model.type_of(of.name)
    if node is None or tensor_type is None or node.op not in ("SumExt", "ReduceSum") or node.inputs[0] != of.name:
        return False
    keeps = model.literal(node.inputs[2]) if model.is_literal(node.inputs[2]) else None
    return keeps is True and axis_of(integers(model, node.inputs[1]), tensor_type.rank) == tensor_type.rank - 1


def is_not_negative(model: Model, value: str) -> bool:
    """Whether no element of a tensor can be below 0, nor be no number because it is a constant that is none."""
    at = behind(model, value, {Hands.SAME, Hands.REGROUPED, Hands.MOVED, Hands.REPEATED, Hands.CONVERTED})
    tensor_type = model.type_of(at)
    if tensor_type is None or model.type_of(value) is None:
        return False
    if model.is_literal(at):
        literal = model.literal(at)
        numbers = literal.astype(np.float64) if isinstance(literal, np.ndarray) else np.array(np.nan)
        return bool((numbers >= 0).all() and np.isfinite(numbers).all())
    node = model.producer(at)
    return tensor_type.dtype is dtypes.BOOL or (node is not None and node.op in _NOT_NEGATIVE)


def _written(model: Model, softmax: Node, factor: str, b: Builder) -> str:
    """softmax(s + log w), in the weights' type."""
    if model.is_literal(factor):
        numbers = np.asarray(model.literal(factor)).astype(np.float64)
        with np.errstate(divide="ignore"):
            bias = b.tensor(np.log(numbers), dtypes.FLOAT32)
    else:
        bias = b.op("Log", b.cast(factor, dtypes.FLOAT32), prim_type=b.PRIMITIVE)
    scores = b.op("Add", b.cast(softmax.inputs[0], dtypes.FLOAT32), bias)
    return b.cast(b.op("Softmax", scores, *softmax.inputs[1:]), b.type_of(softmax.name).dtype)
