"""Between which numbers a value lies, and whether they are whole: read off constants, types and arithmetic.

Sound, not sharp: None is that nothing is known. A value that is computed in a fraction type of fewer digits than
float64 may be rounded past the bounds of its operands, so its own are widened.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from attnfuse.api import (
    CALL,
    CONSTANT,
    ELEMENTS,
    DType,
    Hands,
    Node,
    NotALiteralError,
    RewriteContext,
    Role,
    hands,
    role,
    source,
)

_DEEPEST = 64
"""How many nodes behind each other are looked at."""
_FIXED = ("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32")
"""Types whose every number is near enough to be a bound."""


@dataclass(frozen=True, slots=True)
class Range:
    """From `least` to `most`, both finite; `whole` tells that there are no fractions."""

    least: float
    most: float
    whole: bool

    @property
    def magnitude(self) -> float:
        """The largest distance from 0."""
        return max(abs(self.least), abs(self.most))

    def joined(self, other: Range) -> Range:
        """What lies in either."""
        return Range(min(self.least, other.least), max(self.most, other.most), self.whole and other.whole)

    def within(self, other: Range) -> bool:
        """Whether all of it lies in the other."""
        return other.least <= self.least and self.most <= other.most


@dataclass(slots=True)
class Ranges:
    """Those of the values before a node."""

    at: RewriteContext
    _known: dict[str, Range | None] = field(default_factory=dict)

    def of(self, value: str, depth: int = 0) -> Range | None:
        """What is known of the value's numbers; of a tuple, of those of all its tensors."""
        if value not in self._known:
            self._known[value] = self._read(value, depth) if depth < _DEEPEST else None
        return self._known[value]

    def _read(self, value: str, depth: int) -> Range | None:
        model = self.at.model
        if not self.at.effects.is_never_mutated(model, value):
            return None
        node, kind = model.producer(value), model.type_of(value)
        if node is not None and node.op == CONSTANT:
            return _of_constant(self.at, value)
        limits = None if kind is None else of_type(kind.dtype)
        found = None if node is None or node.op == CALL else self._made(node, depth + 1)
        if found is None or kind is None:
            return limits if found is None else found
        return _held(found, kind.dtype, limits)

    def _made(self, node: Node, depth: int) -> Range | None:
        before = source(node, ELEMENTS)
        if before is not None:
            found = self.of(before, depth)
            # Whoever looks up beyond the end is given 0.
            return None if found is None else found.joined(_ZERO) if role(node) is Role.LOOKUP else found
        if hands(node) is Hands.JOINED:
            return self._all(node.inputs if role(node) is Role.TUPLE else node.inputs[:1], depth)
        if hands(node) is Hands.CONVERTED:
            return self._converted(node, depth)
        if node.op == "Select":
            return self._all(node.inputs[1:3], depth)
        arity = _ARITY.get(node.op)
        if arity is None or len(node.inputs) != arity:
            return None
        operands = [self.of(name, depth) for name in node.inputs]
        known = [operand for operand in operands if operand is not None]
        return _computed(node.op, known) if len(known) == arity else None

    def _all(self, values: list[str], depth: int) -> Range | None:
        found: Range | None = None
        for value in values:
            one = self.of(value, depth)
            if one is None:
                return None
            found = one if found is None else found.joined(one)
        return found

    def _converted(self, node: Node, depth: int) -> Range | None:
        kind, found = self.at.model.type_of(node.name), self.of(node.inputs[0], depth)
        if kind is None or kind.dtype.name == "bool":
            return None
        if found is None or kind.dtype.is_float:
            return found
        return Range(math.trunc(found.least), math.trunc(found.most), whole=True)


_ZERO = Range(0, 0, whole=True)
_ARITY = {"Neg": 1, "Abs": 1, "Sin": 1, "Cos": 1, "Add": 2, "Sub": 2, "Mul": 2, "Div": 2, "Minimum": 2, "Maximum": 2}


def of_type(dtype: DType) -> Range | None:
    """What a type of whole numbers holds, up to 32 bits."""
    return _limits(dtype) if dtype.name in _FIXED else None


def _limits(dtype: DType) -> Range:
    """What a type of whole numbers holds."""
    bits = 1 if dtype.name == "bool" else 8 * dtype.itemsize
    if dtype.name == "bool" or dtype.name.startswith("uint"):
        return Range(0, 2**bits - 1, whole=True)
    return Range(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, whole=True)


def _computed(op: str, operands: list[Range]) -> Range | None:
    one, other = operands[0], operands[-1]
    whole = one.whole and other.whole
    ends = {(a, b) for a in (one.least, one.most) for b in (other.least, other.most)}
    if op in ("Sin", "Cos"):
        return Range(-1, 1, whole=False)
    if op == "Neg":
        return Range(-one.most, -one.least, whole)
    if op == "Abs":
        least = 0 if one.least <= 0 <= one.most else min(abs(one.least), abs(one.most))
        return Range(least, one.magnitude, whole)
    if op == "Div" and other.least <= 0 <= other.most:
        return None
    results = [_OPERATIONS[op](a, b) for a, b in ends]
    return Range(min(results), max(results), whole and op != "Div")


_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Minimum": min,
    "Maximum": max,
}


def _held(found: Range, dtype: DType, limits: Range | None) -> Range | None:
    """The range as numbers of that type: whole ones that leave it come round again, fractions are rounded."""
    if dtype.is_float:
        slack = 0 if found.whole and found.magnitude * dtype.unit_roundoff <= 1 / 2 else 2 * dtype.unit_roundoff
        far = found.magnitude * slack
        return (
            None if found.magnitude + far > dtype.largest else Range(found.least - far, found.most + far, found.whole)
        )
    return found if found.whole and found.within(_limits(dtype)) else limits


def _of_constant(at: RewriteContext, value: str) -> Range | None:
    try:
        literal = at.model.literal(value)
    except NotALiteralError:
        return None
    if literal is None or isinstance(literal, str | tuple):
        return None
    numbers = np.asarray(literal)
    if not numbers.size:
        return None
    if numbers.dtype.kind not in "biu":
        numbers = numbers.astype(np.float64)
    least, most = numbers.min().item(), numbers.max().item()
    if not (math.isfinite(least) and math.isfinite(most)):
        return None
    return Range(least, most, bool((numbers == np.trunc(numbers)).all()) if numbers.dtype.kind == "f" else True)
