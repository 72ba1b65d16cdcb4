"""Activations, bounds, and functions that CANN has for floating-point numbers only.

Argument orders: MindSpore 2.7.1's operator definitions (`mindspore/ops/op_def/yaml`). SiLU has an adapter of its own.
"""

from __future__ import annotations

import math

import numpy as np

from attnfuse.api import Result, cannot, dtypes
from attnfuse_passes.legalise import nodes
from attnfuse_passes.legalise.rules import RuleContext, legalises


@legalises("GeluExt")
def gelu(at: RuleContext) -> Result:
    """(x, approximate: 0 none, 1 tanh): GeLU is the tanh form; the exact one is x/2 · (1 + erf(x / √2)), in float32."""
    form = at.integer(1)
    if form == 1:
        return at.build.op("GeLU", at.input(0))
    if form != 0:
        raise cannot(f"its approximation is {form}, neither 0 nor 1")
    inside = dtypes.FLOAT32 if at.out.dtype.is_low_precision else at.out.dtype

    def number(value: float) -> str:
        return at.build.tensor(np.array(value), inside)

    x = at.build.cast(at.input(0), inside)
    scaled = at.build.op("Mul", x, number(math.sqrt(0.5)))
    grown = at.build.op("Add", at.build.op("Erf", scaled), number(1.0))
    half = at.build.op("Mul", x, number(0.5))
    return at.build.cast(at.build.op("Mul", half, grown), at.out.dtype)


@legalises("ClampScalar", "ClampTensor")
def clamp(at: RuleContext) -> Result:
    """(x, least or None, most or None), bounds numbers or tensors, in the type of the result; the upper one wins."""
    value = at.build.cast(at.input(0), at.out.dtype)
    for position, op in ((1, "Maximum"), (2, "Minimum")):
        if at.optional(position) is not None:
            value = at.build.op(op, value, _bound(at, position))
    return value


@legalises("Div", "Erf", "Exp", "Reciprocal", "Rsqrt", "Sqrt", "Tanh")
def of_whole_numbers(at: RuleContext) -> Result:
    """Taken of floating-point numbers: others are converted to the type of the result first, as MindSpore does."""
    if not at.out.dtype.is_float:
        raise cannot(f"it gives {at.out.dtype}")
    operands = [at.build.cast(value, at.out.dtype) for value in at.node.inputs]
    return at.build.op(at.node.op, *operands)


def _bound(at: RuleContext, position: int) -> str:
    if at.node.op == "ClampTensor":
        return at.build.cast(at.input(position), at.out.dtype)
    number = at.number(position)
    if not at.out.dtype.is_float and not nodes.holds(at.out.dtype, number):
        raise cannot(f"{at.out.dtype} does not hold its bound {number!r}")
    return at.build.tensor(np.array(number), at.out.dtype)
