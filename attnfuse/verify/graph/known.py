"""What is known of a value before run time: the number it holds, the range it is, whether inputs are needed at all.

Values are followed back through what hands their elements on, casts and layouts. None of it is a proof.
"""

from __future__ import annotations

import math

import numpy as np

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.questions import ELEMENTS, orders_effects, role, source, value_inputs
from attnfuse.ir.types import Literal

_ONES = ("OnesLike", "OnesLikeExt", "Ones")

_TRIANGLES = ("Triu", "Tril", "TrilExt")
"""Operators that hand on elements of their operand, and zeros."""


def known_number(model: Model, value: str) -> float | None:
    """A constant number, or a constant tensor that holds one number however often, through casts and layouts."""
    node = _source(model, value)
    is_known = node is not None and model.is_literal(node.name)
    return number_of(model.literal(node.name)) if node is not None and is_known else None


def made_number(model: Model, value: str) -> float | None:
    """The number that every element of a value is: a constant, or one that fills a shape, `ones_like(x) · c`."""
    found, node = known_number(model, value), model.producer(value)
    if found is not None or node is None:
        return found
    if node.op in _ONES:
        return 1.0
    if node.op in ("FullLike", "FillV2", "FillScalar"):
        return known_number(model, node.inputs[1])
    if node.op in ("Mul", "Muls") and len(node.inputs) == 2:
        numbers = [made_number(model, name) for name in node.inputs]
        known = [number for number in numbers if number is not None]
        return math.prod(known) if len(known) == 2 else None
    return None


def range_size(model: Model, value: str) -> int | None:
    """How many numbers the range n, n + 1, … has that the value holds; None where it holds anything else."""
    node = _source(model, value)
    if node is None:
        return None
    if node.op == "Arange":
        tensor_type = model.type_of(node.name)
        return tensor_type.size if tensor_type is not None and tensor_type.is_static else None
    literal = model.literal(node.name) if model.is_literal(node.name) else None
    if not isinstance(literal, np.ndarray) or literal.dtype.kind in "USObV":
        return None
    numbers = np.unique(literal.astype(np.float64))
    return len(numbers) if len(numbers) > 1 and (np.diff(numbers) == 1).all() else None


def depends_on_inputs(model: Model, value: str) -> bool:
    """Whether the value is computed at run time, from inputs; weights alone are constant."""
    seen, stack = set(), [value]
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        node = model.producer(name)
        if node is None:
            if model.is_input(name):
                return True
        elif node.op != CONSTANT and not orders_effects(node):
            stack += value_inputs(node)
            if node.op == CALL:
                return True
    return False


def _source(model: Model, value: str) -> Node | None:
    """What the value's elements come from."""
    node = model.producer(value)
    while node is not None and (taken := handed_on(node)) is not None:
        node = model.producer(taken)
    return node


def handed_on(node: Node) -> str | None:
    """The value whose elements the node hands on, wherever they stand; None where it does not, or looks them up."""
    if node.op in _TRIANGLES:
        return node.inputs[0]
    return None if role(node) is Role.LOOKUP else source(node, ELEMENTS)


def number_of(literal: Literal) -> float | None:
    """A constant number: a scalar, a tuple of one, or an array whose elements are all the same."""
    if isinstance(literal, np.ndarray):
        if not literal.size or literal.dtype.kind in "USO" or not (literal == literal.flat[0]).all():
            return None
        return float(literal.flat[0].item())
    if isinstance(literal, tuple) and len(literal) == 1:
        return number_of(literal[0])
    return float(literal) if isinstance(literal, int | float) else None
