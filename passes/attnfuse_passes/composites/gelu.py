"""GELU by tanh written out, x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))), as GeLU, whose kernel computes it in float32.

GELU by erf has no operator that arrives: legalisation writes it out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from attnfuse.api import Builder, Candidate, Model, Node, Result, RewriteContext, Unsupported
from attnfuse_passes.composites.composite import Composite, CompositeRewrite
from attnfuse_passes.composites.matching import beside, is_number, only_reader

_CUBIC, _SCALE = 0.044715, math.sqrt(2 / math.pi)
_PRODUCTS, _SUMS = ("Mul", "Muls"), ("Add", "Adds")
"""The second of each takes a plain number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TanhGelu(Composite):
    """GELU of `x`."""

    x: str


class GeLU:
    """(x): the form with tanh."""

    form = "GeLU"

    def unsupported_reason(self, form: TanhGelu, candidate: Candidate, at: RewriteContext) -> Unsupported | None:
        """Nothing: it has kernels for every type that its parts have kernels for."""

    def write(self, build: Builder, form: TanhGelu, candidate: Candidate) -> Result:
        return build.op("GeLU", form.x)


class GeluChain(CompositeRewrite[TanhGelu]):
    """The Tanh within."""

    roots = frozenset(("Tanh",))
    lowerings = (GeLU(),)

    def raise_(self, at: RewriteContext) -> TanhGelu | None:
        model = at.model
        x = _bent(model, at.input(0))
        grown = only_reader(model, at.node.name)
        one = beside(grown, _SUMS, at.node.name)
        if x is None or grown is None or one is None or not is_number(model, one, 1.0):
            return None
        anchor = _halved(model, grown, x)
        if anchor is None or anchor.graph is not at.node.graph:
            return None
        if len({model.type_of(value) for value in (x, at.node.name, anchor.name)}) != 1:
            return None
        return None if {x, anchor.name} & at.effects.mutated else TanhGelu(anchor=anchor.name, x=x)


def _halved(model: Model, grown: Node, x: str) -> Node | None:
    """The product of a half, x and what Tanh was added to, in any order; None where that is not what reads it."""
    product = only_reader(model, grown.name)
    other = beside(product, _PRODUCTS, grown.name)
    if product is None or other is None:
        return None
    if _is_scaled(model, other, x, 0.5):
        return product
    last = only_reader(model, product.name)
    left = beside(last, _PRODUCTS, product.name)
    if left is None:
        return None
    in_order = (other == x and is_number(model, left, 0.5)) or (left == x and is_number(model, other, 0.5))
    return last if in_order else None


def _bent(model: Model, value: str) -> str | None:
    """x of √(2/π) (x + 0.044715 x³); None of anything else."""
    scaled = model.producer(value)
    for sum_, factor in _either(scaled, _PRODUCTS):
        added = model.producer(sum_)
        if not is_number(model, factor, _SCALE):
            continue
        for x, cubic in _either(added, _SUMS):
            product = model.producer(cubic)
            if any(is_number(model, b, _CUBIC) and _is_cube(model, a, x) for a, b in _either(product, _PRODUCTS)):
                return x
    return None


def _is_scaled(model: Model, value: str, x: str, number: float) -> bool:
    """Whether the value is that number times x."""
    return any(a == x and is_number(model, b, number) for a, b in _either(model.producer(value), _PRODUCTS))


def _is_cube(model: Model, value: str, x: str) -> bool:
    node = model.producer(value)
    if node is not None and node.op in ("Pow", "PowTensorScalar"):
        return node.inputs[0] == x and is_number(model, node.inputs[1], 3.0)
    return any(a == x and _is_square(model, b, x) for a, b in _either(node, _PRODUCTS))


def _is_square(model: Model, value: str, x: str) -> bool:
    node = model.producer(value)
    return any(a == b == x for a, b in _either(node, _PRODUCTS)) or (
        node is not None and node.op == "Square" and node.inputs[0] == x
    )


def _either(node: Node | None, ops: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The two operands of a node of those operators in both orders; nothing of any other."""
    if node is None or node.op not in ops:
        return ()
    a, b = node.inputs[:2]
    return ((a, b), (b, a))
