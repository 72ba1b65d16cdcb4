"""Matrix products: the two anchors of attention, Q·Kᵀ and P·V, however they are written."""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.api import Model, Node, NotALiteralError
from attnfuse_passes.attention.identities.peelers import SitePart, peel
from attnfuse_passes.attention.identities.scale import constant_factor
from attnfuse_passes.attention.identities.steps import AddTerm

# Longest chain between two products that is looked through; the longest known one has 9 nodes.
MAX_CHAIN = 32


@dataclass(frozen=True, slots=True)
class Product:
    """output = alpha · left' · right' (+ beta · term); the prime swaps the last two axes where the flag says so.

    `strict`: the batch axes must be equal; otherwise they broadcast.
    """

    node: Node
    left: str
    right: str
    swap_left: bool = False
    swap_right: bool = False
    strict: bool = False
    alpha: float = 1.0
    term: str | None = None
    beta: float = 1.0


def read_product(model: Model, value: str) -> Product | None:
    """The product that makes `value`; None if it is none, or one whose flags are not literals."""
    node = model.producer(value)
    if node is None:
        return None
    inputs = node.inputs
    if node.op in ("MatMulExt", "BatchMatMulExt") and len(inputs) == 2:
        return Product(node, inputs[0], inputs[1], strict=node.op == "BatchMatMulExt")
    if node.op in ("MatMul", "BatchMatMul") and len(inputs) == 4:
        try:
            swaps = [model.literal(flag) for flag in inputs[2:]]
        except NotALiteralError:
            return None
        if not all(isinstance(flag, bool) for flag in swaps):
            return None
        return Product(node, inputs[0], inputs[1], bool(swaps[0]), bool(swaps[1]))
    if node.op == "Baddbmm" and len(inputs) == 5:
        beta, alpha = (constant_factor(model, factor) for factor in inputs[3:])
        if alpha is None or beta is None:
            return None
        return Product(node, inputs[1], inputs[2], strict=True, alpha=alpha, term=inputs[0], beta=beta)
    return None


def is_scores(model: Model, value: str) -> bool:
    """Whether a matrix product lies behind `value`, through what the peelers of scores can read.

    Of the two operands of an addition, this tells the scores from the bias.
    """
    for _ in range(MAX_CHAIN):
        if read_product(model, value) is not None:
            return True
        step = peel(model, value, SitePart.SCORES)
        if step is None:
            return False
        if isinstance(step.effect, AddTerm):
            return True  # it was peeled because its input is scores
        value = step.input
    return False
