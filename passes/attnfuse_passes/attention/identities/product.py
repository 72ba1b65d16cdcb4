"""Matrix products: the two anchors of attention, Q·Kᵀ and P·V, however they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attnfuse.api import ELEMENTS, Model, Node, NotALiteralError, effective_uses, makes_tuple, source
from attnfuse_passes.attention.axes import Space, View, keys
from attnfuse_passes.attention.identities.contraction import read_contraction
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.scale import constant_factor
from attnfuse_passes.attention.identities.steps import AddTerm, Layout

# Longest chain between two products that is looked through; the longest known one has 9 nodes.
MAX_CHAIN = 32


@dataclass(frozen=True, slots=True)
class Product:
    """output = alpha · left' · right' (+ beta · term); the prime swaps the last two axes where the flag says so.

    `strict`: the batch axes must be equal; otherwise they broadcast. Where there are layouts, the operands are brought
    to matrices by them first, and `result_layout` brings the product to the output. `inner` are nodes between the
    operands and `node`.
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
    left_layout: Layout | None = None
    right_layout: Layout | None = None
    result_layout: Layout | None = None
    inner: tuple[Node, ...] = ()


def read_product(model: Model, value: str, weights: str | None = None) -> Product | None:
    """The product that makes `value`; None if it is none, or one whose flags are not literals.

    `weights` is the operand that holds attention weights, where that is known.
    """
    node = model.producer(value)
    if node is None:
        return None
    reader = _READERS.get(node.op)
    if reader is not None:
        return reader(model, node)
    found = read_contraction(model, node, weights)
    if found is None:
        return None
    return Product(
        node,
        found.left,
        found.right,
        left_layout=found.left_layout,
        right_layout=found.right_layout,
        result_layout=found.result_layout,
        inner=found.inner,
    )


def _plain(model: Model, node: Node) -> Product | None:
    """left · right, as they are."""
    if len(node.inputs) != 2:
        return None
    return Product(node, node.inputs[0], node.inputs[1], strict=node.op == "BatchMatMulExt")


def _flagged(model: Model, node: Node) -> Product | None:
    """left · right, with a flag for each that says whether it is turned."""
    if len(node.inputs) != 4:
        return None
    try:
        swaps = [model.literal(flag) for flag in node.inputs[2:]]
    except NotALiteralError:
        return None
    if not all(isinstance(flag, bool) for flag in swaps):
        return None
    return Product(node, node.inputs[0], node.inputs[1], bool(swaps[0]), bool(swaps[1]))


def rows_stay(model: Model, product: Product) -> bool:
    """Whether each row of the left operand is a row of the result in the same place: a number for each goes with both.

    An einsum may give its result other axes, which are of the same sizes now and then.
    """
    layouts = product.left_layout, product.right_layout, product.result_layout
    if layouts == (None, None, None):
        return True
    space, views = Space(), (product.left, product.right)
    for name, value, layout in zip(("left", "right"), views, layouts, strict=False):
        tensor_type = model.type_of(value)
        if tensor_type is None or layout is None:
            return False
        space.identity(name, tensor_type.dims)
        space.put(f"own {name}", space[name])
        if not layout.apply(space, name):
            return False
    rank = len(space["left"].axes)
    if not all(space.pair("left", axis, "right", axis, broadcast=True) for axis in range(rank - 2)):
        return False
    left, right = space["left"].axes, space["right"].axes
    axes = (*(a or b for a, b in zip(left[:-2], right[:-2], strict=True)), left[-2], right[-1])
    space.put("result", View((), axes))
    if layouts[2] is None or not layouts[2].apply(space, "result"):
        return False
    rows, result = space["own left"].axes[:-1], space["result"].axes[:-1]
    return all(not own or keys(own) == keys(given) for own, given in zip(rows, result, strict=True))


def product_ahead(model: Model, value: str, node: Node) -> Product | None:
    """The product that `value` enters at `node`, which may be a step of it: a tuple of operands, what is summed."""
    found = read_product(model, node.name, value)
    if found is None and (makes_tuple(node) or node.op == "Mul"):
        uses = effective_uses(model, node.name)
        onward = uses[0].node if len(uses) == 1 else None
        found = None if onward is None else read_product(model, onward.name, value)
        found = found if found is not None and node in found.inner else None
    return found


def _with_term(model: Model, node: Node) -> Product | None:
    """beta · term + alpha · (left · right); a matrix times a weight is a layer, and no product of two operands."""
    if len(node.inputs) != 5:
        return None
    term, left, right, *factors = node.inputs
    beta, alpha = (constant_factor(model, factor) for factor in factors)
    if alpha is None or beta is None or (node.op == "Addmm" and (is_weight(model, left) or is_weight(model, right))):
        return None
    return Product(node, left, right, strict=node.op == "Baddbmm", alpha=alpha, term=term, beta=beta)


def _linear(model: Model, node: Node) -> Product | None:
    """A linear layer whose matrix is computed is x · matrixᵀ + bias, a product like any other."""
    x, matrix, *rest = node.inputs
    tensor_type = model.type_of(matrix)
    if tensor_type is None or tensor_type.rank != 2 or is_weight(model, matrix):
        return None
    bias = next((name for name in rest if not (model.is_literal(name) and model.literal(name) is None)), None)
    return Product(node, x, matrix, swap_right=True, term=bias)


_READERS: dict[str, Callable[[Model, Node], Product | None]] = {
    **dict.fromkeys(("MatMulExt", "BatchMatMulExt", "Mm"), _plain),
    **dict.fromkeys(("MatMul", "BatchMatMul"), _flagged),
    **dict.fromkeys(("Baddbmm", "Addmm"), _with_term),
    "Dense": _linear,
}
"""What reads a product of two operands, by the operator; contractions over an index are `contraction.py`'s."""


def is_weight(model: Model, value: str) -> bool:
    """Whether a value holds elements of one weight and no others: a layer's matrix, which is no operand of attention.

    Weights enter functions as inputs, which keep their dotted names.
    """
    while (node := model.producer(value)) is not None:
        before = source(node, ELEMENTS)
        if before is None:
            return model.is_literal(value)
        value = before
    return model.is_parameter(value) or "." in value.rsplit(":", 1)[-1]


def is_scores(model: Model, value: str) -> bool:
    """Whether a matrix product lies behind `value`, through what the identities of scores can read.

    Of the two operands of an addition, this tells the scores from the bias.
    """
    pending, seen = [(value, 0)], {value}
    while pending:
        at, depth = pending.pop()
        if read_product(model, at) is not None:
            return True
        further = [] if depth == MAX_CHAIN - 1 else [name for name in _before(model, at) if name not in seen]
        seen.update(further)
        pending += [(name, depth + 1) for name in further]
    return False


def _before(model: Model, value: str) -> list[str]:
    """What the value may be read back to. A sum is not read back here: that would ask of its summands what is asked."""
    node = model.producer(value)
    if node is not None and node.op in _SUMS:
        return [name for name, _ in summands(model, node)]
    step = read_back(model, value, SitePart.SCORES)
    return [] if step is None else [step.input]


_SUMS = ("Add", "AddExt", "InplaceAddExt", "Sub", "SubExt")


def summands(model: Model, node: Node) -> list[tuple[str, AddTerm]]:
    """The operands of a sum or difference that may be scores, each with the term that is then added to it.

    α (AddExt, InplaceAddExt, SubExt) multiplies the second operand, so there the scores must be the first.
    """
    alpha = 1.0 if node.op in ("Add", "Sub") else _alpha(model, node)
    if alpha is None:
        return []
    first, second = node.inputs[:2]
    is_difference = node.op in ("Sub", "SubExt")
    sides = [(first, second, -alpha if is_difference else alpha)]
    if alpha == 1.0 and node.op in ("Add", "AddExt"):
        sides.append((second, first, 1.0))
    found = []
    for scores, term, factor in sides:
        tensor_type = model.type_of(term)
        if tensor_type is not None and tensor_type.dtype.is_float and same_shape(model, node, scores):
            found.append((scores, AddTerm(term, factor)))
    return found


def _alpha(model: Model, node: Node) -> float | None:
    """The factor of the second operand; None where it is computed, or left out, which MindSpore never does."""
    return constant_factor(model, node.inputs[2]) if len(node.inputs) > 2 else None


def same_shape(model: Model, node: Node, value: str) -> bool:
    """Whether the node's output has the type of `value`, which is a tensor of floating-point numbers."""
    tensor_type = model.type_of(value)
    return tensor_type is not None and tensor_type == model.type_of(node.name) and tensor_type.dtype.is_float
