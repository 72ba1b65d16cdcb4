"""Identities of constant factors: (c·x)·yᵀ = c·(x·yᵀ), wherever in the formula the factor stands."""

from __future__ import annotations

import math

from attnfuse.api import Model, Node
from attnfuse_passes.attention.identities.registry import identity
from attnfuse_passes.attention.identities.steps import Effect, Scale
from attnfuse_passes.attention.uniform import uniform


def constant_factor(model: Model, value: str) -> float | None:
    """The number a value is everywhere equal to, a literal or computed of literals; None where it is not one known,
    finite number."""
    number = uniform(model, value)
    return number if number is not None and math.isfinite(number) else None


def keeps_shape(model: Model, node: Node, value: str) -> bool:
    """Whether the node's output has the type of `value`: a one-element operand of higher rank would change it."""
    tensor_type = model.type_of(value)
    return tensor_type is not None and tensor_type == model.type_of(node.name) and tensor_type.dtype.is_float


@identity(
    "scale.multiply",
    ops=("Mul", "Muls"),
    identity="(c·x)·yᵀ = c·(x·yᵀ)",
    examples=(
        "Muls(x: float32[2, 3], 0.5)",
        "Mul(x: float32[2, 3], tensor float32[] 0.125)",
        "Mul(tensor float32[1] -3.0, x: float32[2, 3])",
        "Mul(x: float32[2, 3], tensor float32[3] 2.0)",
        "Mul(x: float32[2, 3], Rsqrt(tensor float32[] 16.0))",
        "Mul(x: float32[2, 3], PowScalarTensor(4.0, tensor float32[] -0.5))",
    ),
    counter_examples=(
        "Mul(x: float32[2, 3], y: float32[2, 3])",
        "Mul(x: float32[3], tensor float32[1, 1] 2.0)",
        "Mul(x: float32[2, 3], tensor float32[] inf)",
        "Mul(x: float32[2, 3], tensor float32[3] (1.0, 2.0, 2.0))",
        "Mul(x: float32[2, 3], Rsqrt(tensor float32[] 0.0))",
        "Mul(x: float32[2, 3], Rsqrt(d: float32[]))",
        "Mul(x: float32[2, 3], Cast(Cast(tensor float32[] 2.5, int32), float32))",
        "Mul(x: float32[2, 3], tensor float32[] 2.0, u: monad)",
        "Muls(x: int64[2, 3], 2)",
        "Muls(x: float32[2, 3], True)",
        "Muls(x: float32[2, 3], None) -> float32[2, 3]",
    ),
)
def multiply(model: Model, node: Node) -> tuple[str, Effect] | None:
    """c·x, the constant on either side."""
    if len(node.inputs) != 2:
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        factor = constant_factor(model, other)
        if factor is not None and keeps_shape(model, node, value):
            return value, Scale(factor)
    return None


@identity(
    "scale.divide",
    ops=("Div", "Divs", "RealDiv"),
    identity="(x/c)·yᵀ = (1/c)·(x·yᵀ)",
    examples=(
        "Div(x: float32[2, 3], tensor float32[] 8.0)",
        "Divs(x: float32[2, 3], 2.0)",
        "RealDiv(x: float32[2, 3], tensor float32[1] -4.0)",
        "Div(x: float32[2, 3], Sqrt(tensor float32[] 16.0))",
        "Div(x: float32[2, 3], Pow(tensor float32[] 4.0, tensor float32[] 0.5))",
    ),
    counter_examples=(
        "Div(tensor float32[] 8.0, x: float32[2, 3])",
        "Div(x: float32[2, 3], tensor float32[] 0.0)",
        "Div(x: float32[2, 3], Sqrt(tensor float32[] -4.0))",
        "Divs(x: float32[2, 3], y: float32[2, 3]) -> float32[2, 3]",
        "Divs(x: float32[2, 3], 2.0, u: monad)",
        "Div(x: float32[3], tensor float32[1, 1] 2.0)",
        "Divs(x: int64[2, 3], 2)",
    ),
)
def divide(model: Model, node: Node) -> tuple[str, Effect] | None:
    """x/c; c/x is no scale."""
    if len(node.inputs) != 2:
        return None
    value, divisor = node.inputs
    factor = constant_factor(model, divisor)
    if factor is None or factor == 0 or not keeps_shape(model, node, value):
        return None
    return value, Scale(1.0 / factor)


@identity(
    "scale.in_place",
    ops=("InplaceMuls", "InplaceDivs"),
    identity="x *= c leaves c·x, x /= c leaves (1/c)·x",
    examples=(
        "InplaceMuls(MatMulExt(q: float32[2, 5], k: float32[5, 3]), 0.125, u: monad)",
        "InplaceDivs(MatMulExt(q: float32[2, 5], k: float32[5, 3]), 8.0, u: monad)",
    ),
    counter_examples=(
        "InplaceMuls(MatMulExt(q: float32[2, 5], k: float32[5, 3]), c: float32[], u: monad)",
        "InplaceMuls(MatMulExt(q: float32[2, 5], k: float32[5, 3]), 0.125) -> float32[2, 3]",
        "InplaceMuls(x: int64[2, 3], 2, u: monad)",
        "InplaceMuls(0.125, x: float32[2, 3], u: monad) -> float32[2, 3]",
        "InplaceDivs(MatMulExt(q: float32[2, 5], k: float32[5, 3]), 0.0, u: monad)",
    ),
)
def in_place(model: Model, node: Node) -> tuple[str, Effect] | None:
    """A number into the first input, which is the result too (MindSpore 2.10); the third input orders the effect.

    Equal to a product only if nothing else reads the input: that is an obligation of the match.
    """
    if len(node.inputs) != 3:
        return None
    value, number, _ = node.inputs
    factor = constant_factor(model, number)
    if factor is None or not keeps_shape(model, node, value):
        return None
    if node.op == "InplaceMuls":
        return value, Scale(factor)
    return (value, Scale(1.0 / factor)) if factor != 0 else None
