"""Identities of factors that are known at run time only: (t·s) = (t·q)·kᵀ, where t is one number for a whole head.

A learned temperature, or 1/√d of a shape: what does not vary along the queries and keys may multiply query.
"""

from __future__ import annotations

from attnfuse.api import Model, Node
from attnfuse_passes.attention.identities.product import same_shape
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.steps import Effect, ScaleBy


def _is_of_heads(model: Model, value: str) -> bool:
    """Whether it is a tensor of floating-point numbers that is one number for all the scores of a head."""
    tensor_type = model.type_of(value)
    if tensor_type is None or not tensor_type.dtype.is_float:
        return False
    return all(dim == 1 for dim in tensor_type.dims[-2:])


def _is_larger(model: Model, node: Node, value: str) -> bool:
    """Whether the value is what is scaled: it keeps its type, and is no such factor itself."""
    return same_shape(model, node, value) and not _is_of_heads(model, value)


@identity(
    "temperature.multiply",
    ops=("Mul",),
    identity="t·(x·yᵀ) = (t·x)·yᵀ, t one number for a head",
    examples=(
        "Mul(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), t: float32[])",
        "Mul(t: float32[2, 1, 1], MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]))",
        "Mul(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), Rsqrt(d: float32[1]))",
    ),
    counter_examples=(
        "Mul(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), t: float32[4])",
        "Mul(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), t: float32[3, 1])",
        "Mul(MatMulExt(q: float32[3, 5], k: float32[5, 4]), t: float32[2, 1, 1])",
        "Mul(x: float32[], t: float32[])",
        "Mul(x: float32[2, 3], y: float32[2, 3])",
    ),
)
def multiply(model: Model, node: Node) -> tuple[str, Effect] | None:
    """The factor on either side of the scores."""
    if len(node.inputs) != 2:
        return None
    for scores, factor in (node.inputs, node.inputs[::-1]):
        if _is_of_heads(model, factor) and _is_larger(model, node, scores):
            return scores, ScaleBy(factor)
    return None


@identity(
    "temperature.divide",
    ops=("Div", "RealDiv"),
    identity="(x·yᵀ)/t = (x/t)·yᵀ, t one number for a head",
    examples=(
        "Div(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), t: float32[])",
        "RealDiv(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), t: float32[2, 1, 1])",
    ),
    counter_examples=(
        "Div(t: float32[], MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]))",
        "RealDiv(MatMulExt(q: float32[2, 3, 5], k: float32[2, 5, 4]), t: float32[3, 1])",
    ),
)
def divide(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Only what the scores are divided by."""
    if len(node.inputs) != 2:
        return None
    scores, factor = node.inputs
    if _is_of_heads(model, factor) and _is_larger(model, node, scores):
        return scores, ScaleBy(factor, divides=True)
    return None
