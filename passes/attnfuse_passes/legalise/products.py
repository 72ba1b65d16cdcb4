"""Matrix products: the mint products as MatMul, BatchMatMul and the sums around them.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`). The bias of a linear layer is the
third input of MatMul, which is no primitive function then and keeps its flags as attributes: MindSpore knows no such
input, MindSpore Lite hands it to CANN's MatMulV2, which adds it before it rounds. Left to a BiasAdd behind the product
it would be so too, if the graph engine takes both together: not where two products share a bias. A bias that is
computed is added by BiasAdd.
"""

from __future__ import annotations

import math

from attnfuse.api import UNKNOWN_DIM, Result, TensorType, broadcast_dims, cannot
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises

_CHANNELS_FIRST = (0, 14)
"""MindSpore's numbers of the formats NCHW and NCDHW."""
_CHANNELS_LAST = 1


@legalises("BatchMatMulExt")
def batch_matmul_ext(at: RuleContext) -> Result:
    """[B, M, K] · [B, K, N]; MindSpore's inference asks for equal batches, so nothing broadcasts."""
    return _product(at, "BatchMatMul", at.input(0), at.input(1))


@legalises("Mm")
def mm(at: RuleContext) -> Result:
    """Two matrices."""
    return _product(at, "MatMul", at.input(0), at.input(1))


@legalises("MatMulExt")
def matmul_ext(at: RuleContext) -> Result:
    """(a, b): the last two axes, the others broadcast; a vector is a row on the left, a column on the right."""
    a, b, types = at.input(0), at.input(1), (at.type(0), at.type(1))
    _same_types(at, *types)
    left, right = types[0].dims, types[1].dims
    if not left or not right:
        raise cannot("one of its operands has no axis")
    if len(left) == 1:
        left = (1, *left)
        a = at.build.reshape(a, left)
    if len(right) == 1:
        right = (*right, 1)
        b = at.build.reshape(b, right)
    if len(right) == 2:
        return _matrix_product(at, a, left, b, transposed=False)
    batch = _batch(left[:-2], right[:-2])
    a, b = (_spread(at, value, (*batch, *dims[-2:]), dims) for value, dims in ((a, left), (b, right)))
    product = _product(at, "BatchMatMul", a, b)
    return _regrouped(at, product)


@legalises("Dense")
def dense(at: RuleContext) -> Result:
    """(x, weight, bias or None): x · weightᵀ + bias, over x's last axis."""
    x, weight = at.type(0), at.static(1)
    if weight.rank != 2 or not x.rank:
        raise cannot(f"its weight is {weight} for {x}, no matrix")
    _same_types(at, x, weight)
    value, dims = at.input(0), x.dims
    if x.rank == 1:
        dims = (1, *dims)
        value = at.build.reshape(value, dims)
    return _matrix_product(at, value, dims, at.input(1), transposed=True, bias=at.optional(2))


@legalises("Baddbmm")
def baddbmm(at: RuleContext) -> Result:
    """(bias, a, b, beta, alpha): beta · bias + alpha · (a · b), a and b of three axes.

    alpha goes to a, before sums of products in float16 could overflow. The bias may have one axis more than the
    product, [B or 1, N or 1, S or 1, T] beside [B·N, S, T]: mindone leaves it so, and MindSpore's inference takes it.
    """
    bias, tensor_type = at.input(0), at.type(0)
    if tensor_type.rank == at.out.rank + 1:
        bias = _joined_heads(at, tensor_type)
    a = at.build.scaled(at.input(1), float(at.number(4)))
    return _sum(at, "BatchMatMul", bias, a)


@legalises("Addmm")
def addmm(at: RuleContext) -> Result:
    """(bias, a, b, beta, alpha): beta · bias + alpha · (a · b) of matrices; the bias broadcasts."""
    a = at.build.scaled(at.input(1), float(at.number(4)))
    if at.type(0).dims == at.out.dims[1:]:
        bias = at.build.scaled(at.input(0), float(at.number(3)))
        return _product_with_bias(at, a, at.input(2), bias, learned=nodes.is_learned(at.model, at.input(0)))
    return _sum(at, "MatMul", at.input(0), a)


@legalises("Outer")
def outer(at: RuleContext) -> Result:
    """(a, b): every product of an element of one vector with one of the other."""
    _same_types(at, at.type(0), at.type(1))
    column = at.build.reshape(at.input(0), (*at.type(0).dims, 1))
    return at.build.op("Mul", column, at.input(1))


@legalises("BiasAdd")
def bias_add(at: RuleContext) -> Result:
    """(x, bias, format): Add of the bias, shaped to the axis the format tells."""
    tensor_type, bias, layout = at.type(0), at.input(1), at.integer(2)
    if layout not in (*_CHANNELS_FIRST, _CHANNELS_LAST):
        raise cannot(f"its format is {layout}, none of those it documents")
    if layout in _CHANNELS_FIRST:
        bias = at.build.reshape(bias, (*at.type(1).dims, *(1,) * (tensor_type.rank - 2)))
    return at.build.op("Add", at.input(0), bias)


def _product(at: RuleContext, op: str, a: str, b: str, transposed: bool = False) -> str:
    """MatMul or BatchMatMul; `transposed` is the second operand."""
    return at.build.op(op, a, b, at.build.constant(False), at.build.constant(transposed))


def _matrix_product(
    at: RuleContext,
    x: str,
    dims: tuple[int, ...],
    matrix: str,
    *,
    transposed: bool,
    bias: str | None = None,
) -> str:
    """x of any number of axes, times one matrix: all axes but the last of x are rows."""
    rows = UNKNOWN_DIM if UNKNOWN_DIM in dims[:-1] else math.prod(dims[:-1])
    flat = x if len(dims) == 2 else at.build.reshape(x, (rows, dims[-1]))
    if bias is None:
        return _regrouped(at, _product(at, "MatMul", flat, matrix, transposed))
    learned = nodes.is_learned(at.model, bias)
    return _regrouped(at, _product_with_bias(at, flat, matrix, bias, learned=learned, transposed=transposed))


def _product_with_bias(at: RuleContext, a: str, b: str, bias: str, *, learned: bool, transposed: bool = False) -> str:
    """Two matrices multiplied, and a bias by column; `transposed` is the second matrix."""
    if not learned:
        return nodes.bias_add(at.build, _product(at, "MatMul", a, b, transposed), bias)
    flags = (nodes.flag("transpose_a", value=False), nodes.flag("transpose_b", value=transposed))
    third = nodes.as_third_input(at.build, bias)
    return at.build.op("MatMul", a, b, third, prim_type=at.build.PRIMITIVE, attributes=flags)


def _regrouped(at: RuleContext, value: str) -> str:
    """The value in the shape of the replaced node. Raises MatchFailure where Reshape could not know it."""
    dims = at.out.dims
    if at.build.type_of(value).dims == dims:
        return value
    if dims.count(UNKNOWN_DIM) > 1:
        raise cannot(f"{at.out} has sizes that are not known before run time")
    return at.build.reshape(value, dims)


def _sum(at: RuleContext, op: str, bias: str, a: str) -> str:
    """beta · bias + a · b, beta the node's fourth argument and b its third."""
    product, tensor_type = _product(at, op, a, at.input(2)), at.build.type_of(bias)
    if broadcast_dims(tensor_type.dims, at.out.dims) != at.out.dims:
        raise cannot(f"its bias is {tensor_type}, which does not broadcast to {at.out}")  # no inference looks at it
    return at.build.op("Add", at.build.scaled(bias, float(at.number(3))), product)


def _joined_heads(at: RuleContext, tensor_type: TensorType) -> str:
    """A bias [B or 1, N or 1, S or 1, T] as [B·N or 1, S or 1, T], batches outside."""
    batch, heads = tensor_type.dims[:2]
    whole = at.out.dims[0]
    if min(batch, heads, whole) < 0:
        raise cannot(f"its bias {tensor_type} is of a size not known before run time")
    if (batch, heads) == (1, 1):
        return at.build.reshape(at.input(0), tensor_type.dims[1:])
    if batch * heads != whole:
        if 0 in (batch, heads, whole) or whole % (batch if heads == 1 else heads):
            raise cannot(f"its bias {tensor_type} does not go with {whole} products")
        batch = batch if heads == 1 else whole // heads
        heads = whole // batch
    spread = at.build.broadcast(at.input(0), (batch, heads, *tensor_type.dims[2:]))
    return at.build.reshape(spread, (batch * heads, *tensor_type.dims[2:]))


def _same_types(at: RuleContext, a: TensorType, b: TensorType) -> None:
    if not a.dtype == b.dtype == at.out.dtype:
        raise cannot(f"it multiplies {a.dtype} by {b.dtype} to {at.out.dtype}")


def _batch(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """The batch axes of a product. Unknown sizes only where both have the same."""
    if left == right:
        return left
    if UNKNOWN_DIM in (*left, *right):
        raise cannot("its batch axes are of sizes not known before run time")
    together = broadcast_dims(left, right)
    if together is None:
        raise cannot(f"its batch axes {list(left)} and {list(right)} do not go together")
    return together


def _spread(at: RuleContext, value: str, dims: tuple[int, ...], old: tuple[int, ...]) -> str:
    """The value with its batch axes brought to those of `dims`."""
    if dims == old:
        return value
    return at.build.broadcast(at.build.reshape(value, (*(1,) * (len(dims) - len(old)), *old)), dims)
