"""How much work a verification is, by the graphs alone: for the estimate of the time left, and for nothing else."""

from __future__ import annotations

import math

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.operators.columns import Kernel, Role
from attnfuse.ir.questions import factor_positions, kernel, role
from attnfuse.verify.graph.needed import needed_values
from attnfuse.verify.lowering import Arithmetic

_FLOAT64 = 3.0
"""How many times as long a run in float64 takes (measured: products two times, exponentials five times)."""
_PRODUCTS = 50.0
"""Products of a sum that take as long as an element that is written (measured)."""


def cost(arithmetic: Arithmetic) -> float:
    """How long a run takes, in runs at a graph's own types."""
    return _FLOAT64 if arithmetic is Arithmetic.EXACT else 1.0


def work(model: Model) -> float:
    """What a run at its own types takes: elements that are written, and the products that make them."""
    needed = needed_values(model)
    return sum(_of_node(model, node) for node in model.nodes if node.name in needed)


def _of_node(model: Model, node: Node) -> float:
    types = model.types_of(node.name)
    tensors = types if isinstance(types, tuple) else (types,)
    elements = sum(math.prod(t.dims) for t in tensors if t is not None and t.is_static)
    return elements * (1 + _depth(model, node) / _PRODUCTS)


def _depth(model: Model, node: Node) -> float:
    """Products that are summed for one element."""
    known = [t.dims for value in node.inputs[:3] if (t := model.type_of(value)) is not None and t.is_static]
    if role(node) is Role.FUSED_ATTENTION and len(known) == 3:
        # Of every query: scores, as many as keys, and as much again for the sums of values.
        length = max(known[1][-2:-1] or (1,))
        return 2.0 * length + _PRODUCTS * 3 * length / max(known[0][-1], 1)
    if kernel(node) is Kernel.CONVOLUTION and len(known) > 1:
        return float(math.prod(known[1][1:]))
    is_product = role(node) in (Role.PRODUCT, Role.PROJECTION) or factor_positions(node)
    return float(known[0][-1]) if is_product and known and known[0] else 0.0
