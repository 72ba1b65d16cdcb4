"""Identities of a softmax written by hand: exponentials, what is subtracted from a row before, its sum behind.

exp(x − c) / Σ exp(x − c) is the softmax of x for every c that is one number for the whole row. Each part is an identity
of its own: what is subtracted from the scores, and the division, which may stand on either side of the product with
value. That together they are a softmax is for `softmax.py` to say.
"""

from __future__ import annotations

import math

from attnfuse.api import Model, Node
from attnfuse_passes.attention.identities.layout import axis_of, integers
from attnfuse_passes.attention.identities.product import MAX_CHAIN, Product, read_product, rows_stay
from attnfuse_passes.attention.identities.registry import SitePart, identity, read_back
from attnfuse_passes.attention.identities.rows import RowValue, row_value, same_numbers
from attnfuse_passes.attention.identities.scale import constant_factor, keeps_shape
from attnfuse_passes.attention.identities.steps import (
    DivideBySum,
    Effect,
    Layout,
    ShiftKind,
    ShiftRows,
    SubtractLogSum,
)
from attnfuse_passes.attention.uniform import uniform


def exponential(model: Model, node: Node) -> tuple[str, float] | None:
    """x and c where the node is exp(c · x), c the logarithm of its base; None where that is no positive constant."""
    if node.op == "Exp":
        value, log_base = node.inputs[0], 1.0
    elif node.op == "Exp2":
        value, log_base = node.inputs[0], math.log(2.0)
    elif node.op in ("Pow", "PowScalarTensor"):
        base = uniform(model, node.inputs[0])
        if base is None or not 0 < base < math.inf or base == 1.0:
            return None
        value, log_base = node.inputs[1], math.log(base)
    else:
        return None
    return (value, log_base) if keeps_shape(model, node, value) else None


@identity(
    "softmax.shift",
    ops=("Sub", "SubExt"),
    identity="softmax(x − c) = softmax(x), c one number for each row",
    examples=(
        "Sub(x: float32[2, 3], ReduceMax(x, (-1,), True))",
        "Sub(x: float32[2, 3], ExpandDims(ReduceMax(x, (1,), False), -1))",
        "SubExt(x: float32[2, 3], Max(x), 1)",
        "Sub(x: float32[2, 3], ClampScalar(StopGradient(ReduceMax(x, (-1,), True)), -10000.0, None))",
    ),
    counter_examples=(
        "Sub(x: float32[2, 3], y: float32[2, 1])",
        "Sub(x: float32[2, 3], ReduceMax(y: float32[2, 3], (-1,), True))",
        "Sub(ReduceMax(x: float32[2, 3], (-1,), True), x)",
        "Sub(x: float32[3, 3], ReduceMax(x, (-1,), False))",
        "SubExt(x: float32[2, 3], ReduceMax(x, (-1,), True), 2)",
        "Sub(x: float32[2, 3], ReduceSum(x, (-1,), True, False))",
        "Sub(x: float32[2, 3], ReduceMax(x, a: int64[1], True) -> float32[2, 1])",
    ),
)
def shift(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Less the largest number of a row, limited or not: of the very values, or of what they were before a mask."""
    value, by = _difference(model, node)
    row = None if by is None else row_value(model, by)
    if by is None or row is None or row.reduction.kind != "max" or row.log is not None or row.plus is not None:
        return None
    kind: ShiftKind = "other"
    if same_numbers(model, row.reduction.of) == same_numbers(model, value):
        bare = not (row.bounded or row.epsilon or row.floor)
        kind = "other" if not bare else "finite_max" if row.zero_for_infinite else "max"
    elif not _made_of(model, value, row.reduction.of):
        return None
    return value, ShiftRows(by, row.reduction.axes, kind, row.makers)


def _difference(model: Model, node: Node) -> tuple[str, str | None]:
    """x and y of x − y of the type of x; y is None where it is no such difference."""
    value, by = node.inputs[:2]
    plain = node.op == "Sub" or (len(node.inputs) > 2 and constant_factor(model, node.inputs[2]) == 1.0)
    return value, by if plain and keeps_shape(model, node, value) else None


_BEHIND_A_MASK = ("cast", "pass", "scale", "bias", "mask")


def _made_of(model: Model, value: str, before: str) -> bool:
    """Whether `value` is made of scores `before` by masks and factors, all axes staying where they are."""
    for _ in range(MAX_CHAIN):
        if value == before:
            return True
        step = read_back(model, value, SitePart.SCORES, _BEHIND_A_MASK)
        if step is None or isinstance(step.effect, Layout):
            return False
        value = step.input
    return False


@identity(
    "softmax.log",
    ops=("LogSoftmax", "LogSoftmaxExt"),
    identity="exp(log_softmax(x)) = softmax(x)",
    examples=(
        "LogSoftmax(x: float32[2, 3], -1)",
        "LogSoftmaxExt(x: float32[2, 3], 0, None)",
    ),
    counter_examples=(
        "LogSoftmax(x: float32[2, 3], a: int64[]) -> float32[2, 3]",
        "LogSoftmaxExt(x: float32[2, 3], None, None)",
    ),
)
def log_softmax(model: Model, node: Node) -> tuple[str, Effect] | None:
    """Over one literal axis."""
    tensor_type = model.type_of(node.inputs[0])
    axis = None
    if tensor_type is not None and len(node.inputs) > 1:
        axis = axis_of(integers(model, node.inputs[1]), tensor_type.rank)
    return None if axis is None else (node.inputs[0], SubtractLogSum(axis, 1.0, True, ()))


@identity(
    "softmax.log_sum",
    ops=("Sub", "SubExt"),
    identity="exp(x − log Σ exp(x)) = softmax(x)",
    examples=(
        "Sub(x: float32[2, 3], LogSumExp(x, (-1,), True))",
        "Sub(x: float32[2, 3], Log(SumExt(Exp(x), (-1,), True, None)))",
        "Sub(x: float32[2, 3], Log2(SumExt(Exp2(x), (-1,), True, None)))",
        "m = Max(x: float32[2, 3])\nSubExt(x, Add(Log(SumExt(Exp(Sub(x, m)), (-1,), True, None)), m), 1)",
    ),
    counter_examples=(
        "Sub(x: float32[2, 3], LogSumExp(y: float32[2, 3], (-1,), True))",
        "Sub(x: float32[2, 3], LogSumExp(x, (0, 1), True))",
        "Sub(x: float32[2, 3], Log(SumExt(Exp2(x), (-1,), True, None)))",
        "Sub(x: float32[2, 3], Log2(SumExt(Exp(x), (-1,), True, None)))",
        "Sub(x: float32[2, 3], Log(Add(SumExt(Exp(x), (-1,), True, None), tensor float32[] 1.0)))",
        "Sub(x: float32[2, 3], SumExt(Exp(x), (-1,), True, None))",
        "m = ReduceMax(x: float32[2, 3], (-1,), True); Sub(x, Log(SumExt(Exp(Sub(x, m)), (-1,), True, None)))",
        "m = ReduceMax(x: float32[2, 3], (0,), True)\nSub(x, Add(Log(SumExt(Exp(Sub(x, m)), (-1,), True, None)), m))",
    ),
)
def log_sum(model: Model, node: Node) -> tuple[str, Effect] | None:
    """The logarithm as one operator, or written out, with the largest number taken out and added again or without."""
    value, by = _difference(model, node)
    row = None if by is None else row_value(model, by)
    if row is None or len(row.reduction.axes) != 1 or row.bounded or row.epsilon or row.zero_for_infinite:
        return None
    axis, of = row.reduction.axes[0], row.reduction.of
    if row.plain and row.reduction.kind == "log_sum":
        same = same_numbers(model, of) == same_numbers(model, value)
        return (value, SubtractLogSum(axis, 1.0, False, row.makers)) if same else None
    made = model.producer(same_numbers(model, of))
    found = None if made is None or row.reduction.kind != "sum" else exponential(model, made)
    if made is None or found is None or row.log is None or found[1] != row.log:
        return None
    makers = (*row.makers, *_between(model, of, made.name), made)
    if row.plus is None:
        same = same_numbers(model, found[0]) == same_numbers(model, value)
        return (value, SubtractLogSum(axis, row.log, False, makers)) if same else None
    others = _less_largest(model, found[0], value, row.plus)
    return None if others is None else (value, SubtractLogSum(axis, row.log, False, (*makers, *others)))


def _between(model: Model, value: str, start: str) -> list[Node]:
    """The casts by which a value is made of one that `same_numbers` found."""
    nodes: list[Node] = []
    while value != start and (node := model.producer(value)) is not None:
        nodes.append(node)
        value = node.inputs[0]
    return nodes


def _less_largest(model: Model, shifted: str, value: str, largest: RowValue) -> tuple[Node, ...] | None:
    """The nodes that make `shifted`, which is `value` less `largest`; None where it is anything else."""
    step = read_back(model, same_numbers(model, shifted), SitePart.SCORES, ("softmax",))
    if step is None or not isinstance(step.effect, ShiftRows) or step.effect.kind != "max":
        return None
    of_same_row = (step.effect.makers[-1].name, step.effect.axes) == (
        largest.makers[-1].name,
        largest.reduction.axes,
    )
    if not of_same_row or same_numbers(model, step.input) != same_numbers(model, value):
        return None
    return (*_between(model, shifted, step.node.name), step.node, *step.effect.makers, *largest.makers)


@identity(
    "softmax.divide_by_sum",
    ops=("Div", "RealDiv", "Mul"),
    identity="exp(x) / Σ exp(x) = softmax(x), and (exp(x) · V) / Σ exp(x) = softmax(x) · V",
    examples=(
        "e = Exp(x: float32[2, 3]); Div(e, SumExt(e, (-1,), True, None))",
        "e = Exp(x: float32[2, 3]); RealDiv(e, ExpandDims(ReduceSum(e, (1,), False, False), -1))",
        "e = Exp(x: float32[2, 3]); Mul(e, Reciprocal(SumExt(e, (-1,), True, None)))",
        "e = Exp(x: float32[2, 3]); Mul(Div(tensor float32[] 1.0, SumExt(e, (-1,), True, None)), e)",
        "e = Exp(x: float32[2, 3]); Div(MatMulExt(e, v: float32[3, 4]), SumExt(e, (-1,), True, None))",
        "e = Exp(x: float32[2, 3]); Div(e, Add(SumExt(e, (-1,), True, None), tensor float32[] 1e-9))",
        "e = Exp(x: float32[2, 3]); Div(e, ClampScalar(SumExt(e, (-1,), True, None), 1e-9, None))",
        "e = Exp(x: float32[2, 3]); Div(e, BroadcastTo(LinalgVectorNorm(e, 1.0, (-1,), True, None), (2, 3)))",
        "e = Exp(x: float32[2, 3]); Div(e, ClampScalar(LinalgVectorNorm(e, 1.0, (-1,), True, None), 1e-12, None))",
    ),
    counter_examples=(
        "Div(x: float32[2, 3], LinalgVectorNorm(x, 1.0, (-1,), True, None))",
        "e = Exp(x: float32[2, 3]); Div(e, LinalgVectorNorm(e, 2.0, (-1,), True, None))",
        "e = Exp(x: float32[2, 3]); Div(e, SumExt(x, (-1,), True, None))",
        "e = Exp(x: float32[2, 3]); Div(SumExt(e, (-1,), True, None), e)",
        "e = Exp(x: float32[3, 3]); Div(e, SumExt(e, (-1,), False, None))",
        "e = Exp(x: float32[2, 3]); Mul(e, SumExt(e, (-1,), True, None))",
        "e = Exp(x: float32[2, 3]); Div(e, ReduceMax(e, (-1,), True))",
        "e = Exp(x: float32[3, 3]); Div(MatMulExt(e, v: float32[3, 3]), SumExt(e, (0,), True, None))",
        "e = Exp(x: float32[3, 3]); Div(MatMulExt(v: float32[3, 3], e), SumExt(e, (-1,), True, None))",
        "e = Exp(x: float32[2, 3]); Mul(e, Div(tensor float32[] 2.0, SumExt(e, (-1,), True, None)))",
        (
            "e = Exp(x: float32[3, 3, 2])\n"
            'Div(Einsum((e, v: float32[3, 2, 4]); equation="abc,acd->bad"), SumExt(e, (-1,), True, None))'
        ),
    ),
)
def divide_by_sum(model: Model, node: Node) -> tuple[str, Effect] | None:
    """By the sum of the very numbers, or of those that a product beforehand has on its left."""
    if len(node.inputs) != 2:
        return None
    if node.op != "Mul":
        value, divisor = node.inputs
        return _divided(model, node, value, divisor, ())
    for value, other in (node.inputs, node.inputs[::-1]):
        inverse = _inverse(model, other)
        found = None if inverse is None else _divided(model, node, value, *inverse)
        if found is not None:
            return found
    return None


def _inverse(model: Model, value: str) -> tuple[str, tuple[Node, ...]] | None:
    """y and the nodes on the way where `value` is 1 / y."""
    node = model.producer(same_numbers(model, value))
    if node is None:
        return None
    if node.op == "Reciprocal":
        divisor = node.inputs[0]
    elif node.op in ("Div", "RealDiv") and uniform(model, node.inputs[0]) == 1.0:
        divisor = node.inputs[1]
    elif node.op in ("Pow", "PowTensorScalar") and uniform(model, node.inputs[1]) == -1.0:
        divisor = node.inputs[0]
    else:
        return None
    return divisor, (*_between(model, value, node.name), node)


def _divided(model: Model, node: Node, value: str, divisor: str, makers: tuple[Node, ...]) -> tuple[str, Effect] | None:
    row, tensor_type = row_value(model, divisor), model.type_of(divisor)
    if row is None or tensor_type is None or not keeps_shape(model, node, value):
        return None
    if row.reduction.kind != "sum" or row.zero_for_infinite or row.log is not None or row.plus is not None:
        return None
    of, base = row.reduction.of, same_numbers(model, value)
    start = same_numbers(model, of)
    if start == base:
        multiplied = value
    elif (product := _product_of(model, base, of, row)) is not None:
        multiplied = product.left
    else:
        return None
    on_the_way = {maker.name for maker in _between(model, multiplied, start)}
    beside = [maker for maker in _between(model, of, start) if maker.name not in on_the_way]
    makers = (*makers, *row.makers, *beside)
    return value, DivideBySum(of, row.reduction.axes, tensor_type.dtype, row.epsilon, row.floor, makers)


def _product_of(model: Model, value: str, of: str, row: RowValue) -> Product | None:
    """The product that the value is, if it has `of` on its left and the sum is over the axis contracted there."""
    product, out = read_product(model, value), model.type_of(value)
    left = model.type_of(of)
    if product is None or out is None or left is None or product.swap_left or product.term is not None:
        return None
    same = same_numbers(model, product.left) == same_numbers(model, of)
    is_sum = same and out.rank == left.rank and row.reduction.axes == (left.rank - 1,)
    return product if is_sum and rows_stay(model, product) else None
