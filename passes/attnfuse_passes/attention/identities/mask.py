"""Identities of what is added to the scores or put in their place: masks and biases."""

from __future__ import annotations

import numpy as np

from attnfuse.api import Model, Node
from attnfuse_passes.attention.identities.product import is_scores, same_shape, summands
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.steps import Effect, FillWhere
from attnfuse_passes.attention.uniform import uniform


def _fill_value(model: Model, value: str, scores: str) -> float | None:
    """The number that is filled in, as the type of the scores holds it: a number, or −inf.

    MaskedFill casts its number to the type of what it fills, so −1e9 is −inf among float16 scores.
    """
    number, tensor_type = uniform(model, value), model.type_of(scores)
    if number is None or tensor_type is None or not tensor_type.dtype.is_float:
        return None
    with np.errstate(over="ignore"):
        number = float(np.array(number).astype(tensor_type.dtype.numpy))
    return number if number < float("inf") else None


@identity(
    "bias.add",
    ops=("Add", "AddExt", "InplaceAddExt"),
    identity="scores + bias",
    examples=(
        "Add(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), b: float32[3, 4])",
        "Add(b: float32[1, 1, 4], MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]))",
        "AddExt(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), b: float32[2, 3, 4], 2)",
        "InplaceAddExt(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), b: float32[2, 3, 4], 1, u: monad)",
    ),
    counter_examples=(
        "Add(MatMulExt(q: float32[3, 5], k: float32[5, 4]), b: float32[2, 3, 4])",
        "AddExt(b: float32[2, 3, 4], MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), 2)",
        "AddExt(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), b: float32[2, 3, 4], a: float32[])",
        "Add(x: float32[2, 3, 4], b: float32[2, 3, 4])",
    ),
)
def add(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Of the summands the first that is scores."""
    return next(((scores, term) for scores, term in summands(model, node) if is_scores(model, scores)), None)


@identity(
    "bias.subtract",
    ops=("Sub", "SubExt"),
    identity="scores − bias",
    examples=(
        "Sub(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), b: float32[3, 4])",
        "SubExt(MatMulExt(q: float32[2, 5], k: float32[5, 3]), b: float32[2, 3], 3)",
    ),
    counter_examples=(
        "Sub(b: float32[2, 3, 4], MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]))",
        "Sub(MatMulExt(q: float32[3, 5], k: float32[5, 4]), b: float32[2, 3, 4])",
        "SubExt(MatMulExt(q: float32[2, 5], k: float32[5, 3]), b: float32[2, 3], a: float32[])",
    ),
)
def subtract(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Only what is subtracted from the scores; bias − scores would turn their sign."""
    return next(((scores, term) for scores, term in summands(model, node) if is_scores(model, scores)), None)


@identity(
    "mask.fill",
    ops=("MaskedFill",),
    identity="where(mask, fill, scores)",
    examples=(
        "MaskedFill(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), m: bool[3, 4], tensor float32[] -inf)",
        "MaskedFill(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), m: bool[2, 3, 4], -10000.0)",
    ),
    counter_examples=(
        "MaskedFill(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), m: bool[3, 4], f: float32[])",
        "MaskedFill(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), m: bool[3, 4], tensor float32[] inf)",
        "MaskedFill(MatMulExt(q: float32[3, 5], k: float32[5, 4]), m: bool[2, 3, 4], -1.0)",
    ),
)
def masked_fill(model: Model, node: Node) -> tuple[str, Effect] | None:
    """True in the mask is what is filled."""
    scores, condition, fill = node.inputs[:3]
    number = _fill_value(model, fill, scores)
    if number is None or not same_shape(model, node, scores):
        return None
    return scores, FillWhere(condition, when=True, fill=number)


@identity(
    "mask.select",
    ops=("Select", "Where"),
    identity="where(keep, scores, fill), or where(drop, fill, scores)",
    examples=(
        "Select(m: bool[3, 4], MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), tensor float32[] -inf)",
        "Select(m: bool[3, 4], tensor float32[] -1e9, MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]))",
        "Select(m: bool[3, 4], MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), tensor float32[2, 3, 4] -inf)",
        "Where(m: bool[3, 4], MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), tensor float32[] -inf)",
    ),
    counter_examples=(
        "Select(m: bool[3, 4], x: float32[3, 4], y: float32[3, 4])",
        "Select(m: bool[2, 3, 4], MatMulExt(q: float32[3, 5], k: float32[5, 4]), tensor float32[] -inf)",
    ),
)
def select(model: Model, node: Node) -> tuple[str, Effect] | None:
    """One branch a constant, the other the scores."""
    condition, yes, no = node.inputs[:3]
    for scores, other, when in ((yes, no, False), (no, yes, True)):
        number = _fill_value(model, other, scores)
        if number is not None and same_shape(model, node, scores):
            return scores, FillWhere(condition, when=when, fill=number)
    return None
