"""Which nodes of the original make up the attention that was fused, and the type the fused node computes it in.

Needed for the yardstick of the numbers: the original formula computed at that type. Found from the two graphs alone,
by code that shares nothing with the matcher: a Softmax that is gone marks an attention; the nodes between the
product that made its scores and the product that uses its weights are the formula.

May import `attnfuse.graph` and the reader of fused nodes.
"""

from __future__ import annotations

from attnfuse.graph import Model, Node
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.verify.fused_nodes import FUSED_OPS, fused_nodes

PRODUCTS = ("MatMulExt", "BatchMatMulExt", "MatMul", "BatchMatMul", "Baddbmm")


def formula_nodes(original: Model, fused: Model) -> dict[str, DType]:
    """Names of the original's nodes that belong to fused attention → the type the fused node computes in."""
    types = [kind.dtype for node in fused_nodes(fused) if (kind := fused.type_of(node.inputs[0])) is not None]
    low = [t for t in types if t.is_low_precision]
    if not low:
        return {}
    # Where a site's own node is not found: the coarsest type in use, which makes the yardstick longer, not shorter.
    coarsest = dtypes.BFLOAT16 if dtypes.BFLOAT16 in low else dtypes.FLOAT16
    kept = {node.name for node in fused.nodes if node.op == "Softmax"}
    found: dict[str, DType] = {}
    for node in original.nodes:
        if node.op == "Softmax" and node.name not in kept:
            region, product = _formula(original, node)
            dtype = _compute_type(original, fused, product) or coarsest
            found.update(dict.fromkeys(region, dtype))
        elif node.op in FUSED_OPS:
            # A fused node of the source may be told to compute in another type: its own is no yardstick then.
            own, now = original.type_of(node.inputs[0]), _compute_type(original, fused, node)
            if own is not None and now is not None and own.dtype != now:
                found[node.name] = now
    return found


def products_alone(original: Model, region: dict[str, DType]) -> dict[str, DType]:
    """Of the formula's nodes the matrix products: what is multiplied is rounded, scores and masks are not.

    The yardstick where the whole formula is not finite at the compute type: a mask of the smallest float32 is −inf in
    float16, and a row of it no number, while the fused operators keep scores in float32.
    """
    return {node.name: region[node.name] for node in original.nodes if node.name in region and node.op in PRODUCTS}


def _formula(model: Model, softmax: Node) -> tuple[list[str], Node]:
    """Names of the formula's nodes, and the last one found (the product with the values, if there is one)."""
    scores = model.type_of(softmax.inputs[0])
    size = scores.size if scores is not None and scores.is_static else -1
    region = [softmax.name]
    _before(model, softmax.inputs[0], size, region, set())
    last = softmax
    while True:
        users = [u.node for u in model.uses(last.name) if u.node is not None and u.node.op != "UpdateState"]
        if len(users) != 1:
            return region, last
        last = users[0]
        region.append(last.name)
        if last.op in PRODUCTS:
            return region, last


def _before(model: Model, value: str, size: int, region: list[str], seen: set[str]) -> bool:
    """Whether a product leads to this value through values of the scores' size; its path joins the region."""
    node = model.producer(value)
    if node is None or value in seen:
        return False
    seen.add(value)
    kind = model.type_of(value)
    if kind is None or not kind.is_static or kind.size != size:
        return False
    leads = [_before(model, v, size, region, seen) for v in node.inputs] if node.op not in PRODUCTS else [True]
    if any(leads):
        region.append(node.name)
        return True
    return False


def _compute_type(original: Model, fused: Model, product: Node) -> DType | None:
    """Type of the fused node that stands for this product: forward to a value both graphs have, and back from it."""
    value: str | None = product.name
    while value is not None and fused.producer(value) is None:
        users = [u.node for u in original.uses(value) if u.node is not None and u.node.op != "UpdateState"]
        value = users[0].name if users else None
    while value is not None:
        node = fused.producer(value)
        if node is None or not node.inputs:
            return None
        if node.op in FUSED_OPS:
            kind = fused.type_of(node.inputs[0])
            return kind.dtype if kind is not None and kind.dtype.is_low_precision else None
        if node.op in PRODUCTS:
            return None
        value = node.inputs[0]
    return None
