"""Tensors that hold one number everywhere: a literal, `ones_like(x) · c`, `full_like(x, c)`, `rsqrt(c)` and copies.

Nothing of the tensors that lend such a value its shape is read, so it may be known where they are not.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from attnfuse.api import ELEMENTS, Model, Node, NotALiteralError, effective_uses, may_change, source

_DEPTH = 16

_FILLED = {
    "OnesLike": 1.0,
    "OnesLikeExt": 1.0,
    "Ones": 1.0,
    "NewOnes": 1.0,
    "ZerosLike": 0.0,
    "ZerosLikeExt": 0.0,
    "Zeros": 0.0,
    "NewZeros": 0.0,
}

# Operators that fill a shape with a number, and which argument it is.
_FILL = {"FullLike": 1, "FillScalar": 1, "FillTensor": 1, "FillV2": 1, "NewFull": 2}

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Muls": operator.mul,
    "Div": operator.truediv,
    "Divs": operator.truediv,
    "RealDiv": operator.truediv,
}


def _root(x: float) -> float:
    return math.sqrt(x) if x >= 0 else math.nan


# Operators of one number, each rounded to the type of its result as an operator would round it.
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "Neg": operator.neg,
    "Sqrt": _root,
    "Rsqrt": lambda x: 1.0 / _root(x),
    "Reciprocal": lambda x: 1.0 / x,
    "Exp": math.exp,
}

_POWERS = ("Pow", "PowTensorScalar", "PowScalarTensor")


def uniform(model: Model, value: str, depth: int = _DEPTH) -> float | None:
    """The number every element of a value is, as its element type holds it; None where it is not known to be one.

    What a float type cannot hold is an infinity in it (−1e9 in float16), as an operator would give. NaN is no number.
    What another type cannot hold, as an integer a half, is not known.
    """
    number = _read(model, value, depth)
    tensor_type = model.type_of(value)
    if number is None or math.isnan(number):
        return None
    if tensor_type is None:
        return number
    with np.errstate(over="ignore", invalid="ignore"):
        held = float(np.array(number).astype(tensor_type.dtype.numpy))
    return held if tensor_type.dtype.is_float or held == number else None


def makers(model: Model, value: str) -> Iterator[Node]:
    """The nodes that make a uniform value, last first, without the constants."""
    node = model.producer(value)
    if node is None or model.is_literal(value) or uniform(model, value) is None:
        return
    yield node
    for name in _operands(node):
        yield from makers(model, name)


def own_makers(model: Model, node: Node, names: Iterable[str]) -> list[Node]:
    """What makes these tensors of one number, which `node` takes: none where anything else reads them too."""
    nodes = [maker for name in names for maker in makers(model, name)]
    inside = {node.name, *(maker.name for maker in nodes)}
    users = (use.node for maker in nodes for use in effective_uses(model, maker.name))
    return nodes if all(user is not None and user.name in inside for user in users) else []


def _operands(node: Node) -> list[str]:
    """The inputs whose numbers make the node's one number."""
    if node.op in _ARITHMETIC or node.op in _POWERS:
        return node.inputs[:2]
    if node.op in _FILL:
        return [node.inputs[_FILL[node.op]]]
    copied = node.inputs[0] if node.op in _FUNCTIONS else source(node, ELEMENTS)
    return [] if copied is None else [copied]


def _read(model: Model, value: str, depth: int) -> float | None:
    if may_change(model, value):
        return None
    try:
        literal = model.literal(value)
    except NotALiteralError:
        pass
    else:
        return _of_literal(literal)
    node = model.producer(value)
    if node is None or depth == 0:
        return None
    if node.op in _FILLED:
        return _FILLED[node.op]
    numbers = [uniform(model, name, depth - 1) for name in _operands(node)]
    known = [number for number in numbers if number is not None]
    if not known or len(known) != len(numbers):
        return None
    try:
        if node.op in _FUNCTIONS:
            return _FUNCTIONS[node.op](known[0])
        if node.op in _POWERS:
            return math.pow(*known)
        return _ARITHMETIC[node.op](*known) if node.op in _ARITHMETIC else known[0]
    except (ZeroDivisionError, OverflowError, ValueError):
        return None


def _of_literal(literal: object) -> float | None:
    if isinstance(literal, np.ndarray):
        if literal.size == 0 or literal.dtype.kind == "b":
            return None
        first = literal.flat[0]
        return float(first) if bool((literal == first).all()) else None
    if isinstance(literal, bool) or not isinstance(literal, int | float):
        return None
    return float(literal)
