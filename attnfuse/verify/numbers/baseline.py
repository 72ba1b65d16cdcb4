"""What an honest fused node would round of the attention that was fused, laid upon the original's formula.

The yardstick of the numbers is the original with these roundings: derived from the source and the type that was asked
for, never from what the rewrite made. Query, key and value are rounded to the node's type before they are multiplied,
the weights and the result too; sums, scores, masks and the softmax are float32; a bias costs what storing it as a
distance from its row's largest costs (`lowering.OnnxWriter.moved`; docs/verification.md derives all of it). Where the
node was asked to hold its scores in float16, which is high performance, they are rounded, before the scale and behind.

The formula is found from the two graphs alone, by code that shares nothing with the matcher: a Softmax that is gone
marks an attention; the nodes between the product that made its scores and the product that uses its weights are the
formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.questions import COPIES, behind, factor_positions, factors, orders_effects, reads_memory, role
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.verify.graph.fused_nodes import FUSED_OPS, MalformedError, fused_nodes, read
from attnfuse.verify.graph.known import made_number
from attnfuse.verify.lowering import Rounding

SCALING = ("Muls", "Mul", "Div", "Divs", "RealDiv")
"""Operators that make one score of one score."""


def honest_rounding(original: Model, fused: Model) -> dict[str, Rounding]:
    """Names of the original's nodes that belong to fused attention → what a node in their place rounds there.

    Nodes that the original computes so itself are left out.
    """
    types = [
        tensor_type.dtype for node in fused_nodes(fused) if (tensor_type := fused.type_of(node.inputs[0])) is not None
    ]
    low = [t for t in types if t.is_low_precision]
    if not low:
        return {}
    # Where a site's own node is not found: the coarsest type in use, which makes the yardstick longer, not shorter.
    coarsest = dtypes.BFLOAT16 if dtypes.BFLOAT16 in low else dtypes.FLOAT16
    kept = {node.name for node in fused.nodes if role(node) is Role.SOFTMAX}
    found: dict[str, Rounding] = {}
    for node in original.nodes:
        if role(node) is Role.SOFTMAX and node.name not in kept:
            before, last = _formula(original, node)
            dtype = _compute_type(original, fused, last) or coarsest
            found |= _of_formula(original, node, before, last, dtype)
            if _is_fast(fused, _stands_for(original, fused, last)):
                found |= _scores_held(original, before, found, dtype)
        elif node.op in FUSED_OPS:
            made = _stands_for(original, fused, node)
            now = _compute_type(original, fused, node)
            if made is not None and now is not None and _rounds_again(original, fused, node, made, now):
                found[node.name] = Rounding(now, operands=(0, 1, 2), result=True, scores=_is_fast(fused, made))
    return _of_parts(original, fused, coarsest) | found


LOST = 4.0
"""Scores below it are lost where they are added to a number that is 8 apart from its neighbours."""

HIDING, ABSORBING = -1000.0, -1e30
"""Between the two a number that is filled in, or added, hides keys from scores of a limited size only."""


def lost_rows(
    original: Model, fused: Model, *, keeps_bias: bool = False, limit: float | None = None
) -> dict[str, Rounding]:
    """From where on scores are lost in what is added to them, of each Softmax that was fused and has such scores.

    `keeps_bias`: what is added is not lost among itself, as it is in its own type. With a `limit` nothing is lost, and
    a row that would be, with a score of that size, is not a number.
    """
    kept = {node.name for node in fused.nodes if role(node) is Role.SOFTMAX}
    found: dict[str, Rounding] = {}
    for node in original.nodes:
        if role(node) is Role.SOFTMAX and node.name not in kept:
            before, _ = _formula(original, node)
            added = _added(original, before)
            if added is not None:
                stored = tuple(other.name for other in before) if keeps_bias or limit is not None else ()
                found[node.name] = Rounding(added, stored=stored, level=LOST / added.unit_roundoff, limit=limit)
    return found


def hiding_number(original: Model) -> float | None:
    """The number nearest to 0 that masks the scores of a formula and hides keys from scores of a limited size only."""
    numbers: list[float] = []
    for scores in softmaxed(original):
        filled = [name for node in _region(original, scores) if node.op in _FILLING for name in node.inputs]
        numbers += [number for name in filled if (number := made_number(original, name)) is not None]
    return max((number for number in numbers if ABSORBING < number <= HIDING), default=None)


_FILLING = ("MaskedFill", "MaskedFillScalar", "Select", "Where")


def softmaxed(model: Model) -> list[str]:
    """What each softmax is of, and what exponentials are of, which make one by hand."""
    found: list[str] = []
    for node in model.nodes:
        if role(node) is Role.SOFTMAX:
            found.append(node.inputs[0])
        elif role(node) is Role.EXPONENTIAL:
            own = model.type_of(node.name)
            found += [name for name in node.inputs if model.type_of(name) == own][-1:]
    return found


def _is_fast(fused: Model, made: Node | None) -> bool:
    """Whether a fused node holds its scores in float16."""
    try:
        return made is not None and read(fused, made).is_fast
    except MalformedError:
        return False


def _scores_held(
    model: Model, before: Sequence[Node], found: Mapping[str, Rounding], dtype: DType
) -> dict[str, Rounding]:
    """The product and what scales it right behind it, their results rounded; those that are rounded anyway left out."""
    held: dict[str, Rounding] = {}
    for node in before:
        if node is not before[0] and node.op not in SCALING:
            break
        if not _is_of(model, dtype, node.name):
            held[node.name] = replace(found.get(node.name, Rounding(dtype)), result=True)
    return held


def _rounds_again(original: Model, fused: Model, node: Node, made: Node, now: DType) -> bool:
    """Whether a fused node of the source is no yardstick for what it became.

    It may be told to compute in another type, to hold its scores in float16, or become the other operator, whose bias
    is scaled otherwise: that is stored again then.
    """
    if not _is_of(original, now, node.inputs[0]):
        return True
    try:
        before = read(original, node)
        return (node.op != made.op and before.bias is not None) or (_is_fast(fused, made) and not before.is_fast)
    except MalformedError:
        return False


def _of_formula(model: Model, softmax: Node, before: list[Node], last: Node, dtype: DType) -> dict[str, Rounding]:
    """`before` are the nodes from the product to the softmax, `last` the product with the values, if there is one."""
    found: dict[str, Rounding] = {}
    product = before[0] if before else None  # of several the first: what is added to it is a bias
    if product is not None:
        node, operands = _multiplication(model, product)
        if not _is_of(model, dtype, *(node.inputs[i] for i in operands)):
            found[node.name] = Rounding(dtype, operands=operands)
    if _is_product(model, last):
        node, operands = _multiplication(model, last)
        if not _is_of(model, dtype, last.name, *(node.inputs[i] for i in operands)):
            found[last.name] = Rounding(dtype, result=True)
            found[node.name] = Rounding(dtype, operands=operands, result=node is last)
    added = _added(model, before)
    if added is not None:
        found[softmax.name] = Rounding(dtype, stored=tuple(node.name for node in before), added=added)
    return found


def _added(model: Model, before: list[Node]) -> DType | None:
    """The coarsest type in which the formula holds the sum of scores and bias; None where nothing is added."""
    adding = [position for position, node in enumerate(before) if _adds(model, node, before)]
    if not adding:
        return None
    types = [tensor_type.dtype for node in before[adding[0] :] if (tensor_type := model.type_of(node.name)) is not None]
    return max((k for k in types if k.is_float), key=_coarseness, default=dtypes.FLOAT32)


def _of_parts(original: Model, fused: Model, coarsest: DType) -> dict[str, Rounding]:
    """Products that are gone into a fused node, and what it stands for.

    Of an attention whose keys are in parts there are several, with no softmax between, or one of all parts.
    """
    found: dict[str, Rounding] = {}
    for product in original.nodes:
        if fused.producer(product.name) is not None or not _is_product(original, product):
            continue
        end, made = _kept(original, fused, product), _stands_for(original, fused, product)
        if end is None or made is None:
            continue
        dtype = _compute_type(original, fused, product) or coarsest
        node, operands = _multiplication(original, product)
        if not _is_of(original, dtype, *(node.inputs[i] for i in operands)):
            # The largest exponential is 1, which every type holds; a weight, which is divided by the sum, is rounded.
            found[node.name] = Rounding(dtype, operands=operands, result=_is_of_exponentials(original, node))
        if not _is_of(original, dtype, end):
            found[end] = Rounding(dtype, result=True)
    return found


def _is_of_exponentials(model: Model, product: Node) -> bool:
    made = [model.producer(behind(model, value, COPIES)) for value in product.inputs[:2]]
    return any(node is not None and node.op == "Exp" for node in made)


def _multiplication(model: Model, product: Node) -> tuple[Node, tuple[int, ...]]:
    """The node that multiplies, which of a product that is summed is behind it, and which of its inputs it does."""
    made = _outer(model, product)
    return (product, _multiplied(product)) if made is None else (made, (0, 1))


def _outer(model: Model, node: Node) -> Node | None:
    """The multiplication of two tensors of which neither has the axes of both, where the node sums it."""
    made = model.producer(node.inputs[0]) if node.op in ("SumExt", "ReduceSum") else None
    if made is None or made.op != "Mul":
        return None
    types = [model.type_of(name) for name in (made.name, *made.inputs)]
    sizes = [tensor_type.size for tensor_type in types if tensor_type is not None and tensor_type.is_static]
    return made if len(sizes) == 3 and max(sizes[1:]) < sizes[0] and min(sizes[1:]) > 1 else None


def _multiplied(product: Node) -> tuple[int, ...]:
    """The inputs that hold operands of a product: of einsum one tuple of both."""
    return factor_positions(product) or ((0,) if role(product) is Role.PRODUCT else ())


def _is_of(model: Model, dtype: DType, *values: str) -> bool:
    return all((tensor_type := model.type_of(value)) is not None and tensor_type.dtype is dtype for value in values)


def _coarseness(dtype: DType) -> float:
    return dtype.unit_roundoff


def _adds(model: Model, node: Node, path: list[Node]) -> bool:
    """Whether the node brings a tensor of floating-point numbers to the scores: a bias, or a mask that is added.

    A number that is filled in, or that the scores are scaled by, is none.
    """
    known = {other.name for other in path}
    for position, value in enumerate(node.inputs):
        tensor_type = model.type_of(value)
        multiplied = _is_product(model, node) and position in _multiplied(node)
        if (
            tensor_type is not None
            and tensor_type.dtype.is_float
            and tensor_type.size != 1
            and value not in known
            and not multiplied
        ):
            return True
    return False


def _formula(model: Model, softmax: Node) -> tuple[list[Node], Node]:
    """Nodes of the formula up to the softmax, in order, and the last one (the product with the values, if any)."""
    before, last = _region(model, softmax.inputs[0]), softmax
    while not _is_product(model, last):
        reader = _only_reader(model, last)
        if reader is None:
            break
        last = reader
    return before, last


def _region(model: Model, value: str) -> list[Node]:
    """The nodes between the product that made the scores and a value that is made of them, in order."""
    scores = model.type_of(value)
    names: list[str] = []
    _before(model, value, scores.size if scores is not None and scores.is_static else -1, names, set())
    return [node for name in names if (node := model.producer(name)) is not None]


def _only_reader(model: Model, node: Node) -> Node | None:
    """The one node that reads the value, beside tests of it: what guards it against NaN reads it, and its test too."""
    users = {u.node.name: u.node for u in model.uses(node.name) if u.node is not None and not orders_effects(u.node)}
    types = {name: model.type_of(name) for name in users}
    readers = [user for name, user in users.items() if (known := types[name]) is None or known.dtype is not dtypes.BOOL]
    return readers[0] if len(readers) == 1 else None


def _before(model: Model, value: str, size: int, region: list[str], seen: set[str]) -> bool:
    """Whether a product leads to this value through values of the scores' size; its path joins the region."""
    node = model.producer(value)
    if node is None or value in seen:
        return False
    seen.add(value)
    tensor_type = model.type_of(value)
    if tensor_type is None or not tensor_type.is_static or tensor_type.size != size:
        return False
    leads = [_before(model, v, size, region, seen) for v in node.inputs] if not _is_product(model, node) else [True]
    if any(leads):
        region.append(node.name)
        return True
    return False


def _compute_type(original: Model, fused: Model, product: Node) -> DType | None:
    """The type that the fused node that stands for this product computes in, where that is one of 16 bits."""
    made = _stands_for(original, fused, product)
    tensor_type = fused.type_of(made.inputs[0]) if made is not None else None
    return tensor_type.dtype if tensor_type is not None and tensor_type.dtype.is_low_precision else None


def _kept(original: Model, fused: Model, product: Node) -> str | None:
    """The first value behind this product that both graphs have, or the product itself."""
    value: str | None = product.name
    while value is not None and fused.producer(value) is None:
        users = [u.node for u in original.uses(value) if u.node is not None and not orders_effects(u.node)]
        value = users[0].name if users else None
    return value


def _stands_for(original: Model, fused: Model, product: Node) -> Node | None:
    """The fused node that stands for this product: forward to a value both graphs have, and back from it."""
    value = _kept(original, fused, product)
    while value is not None:
        node = fused.producer(value)
        if node is None or not node.inputs or (role(node) is Role.PRODUCT and not _is_projection(fused, node)):
            return None
        if node.op in FUSED_OPS:
            return node
        value = node.inputs[0]
    return None


def _is_projection(model: Model, product: Node) -> bool:
    """Whether it multiplies by a weight: the result of a fused node may go into it with zeros behind its heads."""
    operands = factors(product)
    if operands is None:
        return False
    made = model.producer(operands[1])
    weight = operands[1] if made is None or not reads_memory(made) else made.inputs[0]
    return model.is_parameter(weight)


def _is_product(model: Model, node: Node) -> bool:
    """Whether it multiplies two computed values, a linear layer whose matrix is one among them."""
    if role(node) is Role.PROJECTION:
        return not _is_projection(model, node)
    return role(node) is Role.PRODUCT or _outer(model, node) is not None
