"""Choosing values: look-ups, masks, conditions.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`).
"""

from __future__ import annotations

import numpy as np

from attnfuse.api import DType, Result, cannot, dtypes
from attnfuse_passes.legalise.rules import RuleContext, legalises


@legalises("Embedding")
def embedding(at: RuleContext) -> Result:
    """(ids, weights, padding_idx, max_norm, norm_type, scale_grad_by_freq, state): rows of the weights.

    padding_idx and scale_grad_by_freq only matter to gradients; max_norm scales the weights in place. The operator
    reads a weight itself, where Gather is given it by Load.
    """
    if at.literal(3) is not None:
        raise cannot("it scales its weights in place, to a norm of at most max_norm")
    build, weights = at.build, at.input(1)
    if at.model.is_parameter(weights):
        weights = build.op("Load", weights, at.input(6), prim_type=build.PRIMITIVE)
    return build.op("Gather", weights, at.input(0), build.constant(0), build.constant(0))


@legalises("IndexSelect")
def index_select(at: RuleContext) -> Result:
    """(x, axis, places): the elements of an axis at those places, in their order."""
    axis = at.build.constant(at.axis(1, at.type(0).rank))
    return at.build.op("Gather", at.input(0), at.input(2), axis, at.build.constant(0))


@legalises("MaskedFill")
def masked_fill(at: RuleContext) -> Result:
    """(x, mask, number): with x of the result's shape, and the number a tensor of x's own type."""
    value = at.model.type_of(at.input(2))
    if value is not None and value.rank:
        raise cannot(f"its number is a tensor {value}")
    if at.type(0).dtype != at.out.dtype:
        raise cannot(f"it fills {at.type(0)} and gives {at.out}")
    inputs = (_spread(at, at.input(0)), at.input(1), _tensor(at, 2, at.out.dtype))
    return at.build.op("MaskedFill", *inputs)


@legalises("Select")
def select(at: RuleContext) -> Result:
    """(condition, if true, if false): with all three of the result's shape."""
    operands = (at.input(0), _tensor(at, 1, at.out.dtype), _tensor(at, 2, at.out.dtype))
    return at.build.op("Select", *(_spread(at, operand) for operand in operands))


@legalises("BitwiseAnd", "BitwiseOr")
def bitwise(at: RuleContext) -> Result:
    """(a, b): of truth values it is LogicalAnd or LogicalOr; CANN's computes with whole numbers only."""
    if at.out.dtype is not dtypes.BOOL:
        raise cannot(f"its result is {at.out}")
    op = "LogicalAnd" if at.node.op == "BitwiseAnd" else "LogicalOr"
    return at.build.op(op, at.input(0), at.input(1))


def _spread(at: RuleContext, value: str) -> str:
    """The value repeated to the shape of the node's result."""
    if at.build.type_of(value).dims == at.out.dims:
        return value
    if not at.out.is_static:
        raise cannot(f"its operands are of other shapes than its result, {at.out}")
    return at.build.broadcast(value, at.out.dims)


def _tensor(at: RuleContext, position: int, dtype: DType) -> str:
    """An argument as a tensor of that type: a constant is written in it, anything else is cast."""
    value = at.input(position)
    tensor_type = at.model.type_of(value)
    if at.model.is_literal(value) and (tensor_type is None or tensor_type.dtype != dtype):
        return at.build.tensor(np.asarray(at.literal(position)), dtype)
    return at.build.cast(value, dtype)
