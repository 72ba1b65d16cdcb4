"""Whether a Softmax that cannot be read is attention at all, for the census: nothing here proves anything.

A spelling of several operators that nobody can read must not pass for no attention.
"""

from __future__ import annotations

from attnfuse.api import Kernel, Model, Node, Role, effective_uses, kernel, makes_tuple, role
from attnfuse_passes.attention.identities.product import MAX_CHAIN, is_scores, product_ahead, read_product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.mask_values import is_learned

# Nodes looked at on each side of a softmax to tell whether it might be attention; the longest chain has 9.
_SEARCHED = 64


def soft_cap(model: Model, value: str) -> Node | None:
    """The tanh that bounds the scores, where one lies between there and the product of two computed values."""
    seen, pending = set[str](), [value]
    while pending and len(seen) < MAX_CHAIN:
        node = model.producer(pending.pop(0))
        if node is None or node.name in seen or ends_layer(node) or read_product(model, node.name) is not None:
            continue
        seen.add(node.name)
        if node.op == "Tanh" and is_scores(model, node.inputs[0]):
            return node
        pending += node.inputs
    return None


def looks_like_attention(model: Model, softmax: Node) -> bool:
    """Whether the softmax stands between two products of computed values, whatever the operators on the way are."""
    return _between(model, softmax, ahead=False) and _between(model, softmax, ahead=True)


def enters_product(model: Model, node: Node) -> bool:
    """Whether the node is a matrix product, or hands its input on unchanged into one."""
    for _ in range(MAX_CHAIN):
        if product_ahead(model, node.inputs[0], node) is not None:
            return True
        onward = [u.node for u in effective_uses(model, node.name) if u.node is not None]
        if len(onward) != 1 or read_back(model, node.name, SitePart.WEIGHTS) is None:
            return False
        node = onward[0]
    return False


def _between(model: Model, softmax: Node, *, ahead: bool) -> bool:
    """Whether a product of two values that are no weights lies on that side, through nothing that ends a layer."""
    seen, pending = {softmax.name}, [softmax]
    while pending and len(seen) < _SEARCHED:
        node = pending.pop(0)
        if ahead:
            onward = [use.node for use in effective_uses(model, node.name)]
        else:
            onward = [model.producer(name) for name in node.inputs]
        for other in onward:
            if other is None or other.name in seen:
                continue
            seen.add(other.name)
            operands = _multiplied(model, other)
            if not operands:
                pending += [] if ends_layer(other) else [other]
            elif sum(not is_learned(model, operand) for operand in operands) > 1:
                return True
    return False


def _multiplied(model: Model, node: Node) -> list[str]:
    """The operands of a matrix product, whether it can be read or not: einsum of any equation, a product that is summed
    over an axis."""
    product = read_product(model, node.name)
    if product is not None:
        return [product.left, product.right]
    if role(node) in (Role.PRODUCT, Role.PROJECTION):
        maker = model.producer(node.inputs[0]) if len(node.inputs) == 1 else None
        if maker is not None:
            return maker.inputs if makes_tuple(maker) and len(maker.inputs) > 1 else []
        first = node.op in _WITH_TERM
        return node.inputs[first : first + 2]
    maker = model.producer(node.inputs[0]) if node.op in _SUMS else None
    if maker is None or maker.op != "Mul":
        return []
    types = [model.type_of(name) for name in maker.inputs]
    return [] if None in types or types[0] == types[1] else maker.inputs


_WITH_TERM = ("Baddbmm", "Addmm")
"""Products whose first operand is added to them."""

_SUMS = ("SumExt", "ReduceSum")


def may_be_input(model: Model, value: str) -> bool:
    """Whether a constant may have been an input before the graph was exported: no layer's matrix has batch axes."""
    tensor_type = model.type_of(value)
    return model.is_literal(value) and tensor_type is not None and tensor_type.rank > 2


def ends_layer(node: Node) -> bool:
    """Whether a layer begins or ends there: behind it lies another layer's product."""
    ends = role(node) in (Role.PROJECTION, Role.NORM) or kernel(node) in (Kernel.CONVOLUTION, Kernel.SOFTMAX)
    return ends or node.op == "TopK"
