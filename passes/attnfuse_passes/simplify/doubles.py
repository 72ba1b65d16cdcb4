"""float64 arithmetic in float32, where the error that this makes is bounded: no SoC has kernels for float64.

What is looked at ends in a Cast to a type of fewer digits, and begins with constants and numbers that float32 holds.
The bound is of each operation's rounding, carried through to the end: CANN's float32 kernels are taken to be off by a
unit in the last place at most, those of sine, cosine and quotient by four, which no CANN documents. It must not pass
what rounding to the type of fewer digits is off by anyway, and is told. What constants alone make stays in float64: it
is computed when the graph is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from attnfuse.api import (
    CALL,
    Builder,
    DType,
    Hands,
    Node,
    RewriteContext,
    dtypes,
    effective_uses,
    hands,
    live_values,
    makes_tuple,
)
from attnfuse_passes.simplify.ranges import Range, Ranges
from attnfuse_passes.simplify.rules import Again, Simpler, simplifies

_UNIT = 2 * dtypes.FLOAT32.unit_roundoff
"""The distance of numbers of float32 from 1 on, for numbers up to 1 a unit in the last place at most."""
_OF_FLOAT64 = 1 + 2.0**-20
"""What float64 itself is off by is far less than this part of what float32 is."""
_SMALLEST = 2.0**-126
"""What is smaller a kernel may take for 0."""
_EXACT = 2.0**24
"""Up to here float32 holds every whole number."""
_OF_FRACTIONS = frozenset({"Div", "Sin", "Cos"})
_LARGEST_ANGLE = 2.0**15
_MOVES = frozenset({Hands.REGROUPED, Hands.MOVED, Hands.REPEATED})
_MOST = 256
"""Nodes that are looked at for one Cast."""


@simplifies("Cast")
def in_float32(at: RewriteContext) -> Simpler | None:
    """The Cast that ends a chain of float64."""
    if at.type(0).dtype is not dtypes.FLOAT64 or at.out.dtype.name not in ("float32", "float16", "bfloat16"):
        return None
    chain = _Chain(at, Ranges(at))
    if at.missing_kernel() is None or chain.is_constant(at.input(0)):
        return None
    error, found = chain.error(at.input(0)), chain.ranges.of(at.input(0))
    if error is None or found is None:
        return None
    error *= _OF_FLOAT64
    if error > _read_as(at).unit_roundoff * found.magnitude:
        return None
    step = _InFloat32(chain, at.input(0), at.out.dtype)
    return Simpler("float64 arithmetic in float32", at.input(0), (step,), tuple(chain.errors), error)


def _read_as(at: RewriteContext) -> DType:
    """The type of fewest digits that every reader takes: the Cast's, or that of the Casts which alone read it."""
    readers = [use.node for use in effective_uses(at.model, at.node.name)]
    found = [None if node is None else at.model.type_of(node.name) for node in readers if _is_cast(node)]
    kinds = [kind.dtype for kind in found if kind is not None and kind.dtype.is_low_precision]
    if not kinds or len(kinds) != len(readers):
        return at.out.dtype
    return min(kinds, key=lambda dtype: dtype.unit_roundoff)


def _is_cast(node: Node | None) -> bool:
    return node is not None and node.op != CALL and hands(node) is Hands.CONVERTED


@dataclass(slots=True)
class _Chain:
    """The nodes of float64 before a Cast, and how far each would be off in float32."""

    at: RewriteContext
    ranges: Ranges
    errors: dict[str, float] = field(default_factory=dict)

    def is_constant(self, value: str) -> bool:
        """Whether nothing that is known at run time only goes into it."""
        model = self.at.model
        live = live_values(model, [value])
        return not any(model.is_input(name) or _calls(model.producer(name)) for name in live)

    def error(self, value: str) -> float | None:
        """How far the value is off at most; None where that is not known."""
        if value in self.errors:
            return self.errors[value]
        if len(self.errors) > _MOST:
            return None
        found, span = self._error(value), self.ranges.of(value)
        if found is None or span is None or span.magnitude + found > dtypes.FLOAT32.largest / 2:
            return None
        self.errors[value] = found
        return found

    def _error(self, value: str) -> float | None:
        node, span = self.at.model.producer(value), self.ranges.of(value)
        if self.is_constant(value):
            return None if span is None else _rounding(span, 0.0)
        if node is None or node.op == CALL:
            return None
        if hands(node) is Hands.CONVERTED:
            before = self.at.model.type_of(node.inputs[0])
            if before is None or span is None:
                return None
            return 0.0 if before.dtype.name in ("float32", "float16", "bfloat16") else _rounding(span, 0.0)
        if hands(node) in _MOVES:
            return self.error(node.inputs[0])
        parts = parts_of(self.at, node)
        if parts is not None:
            errors = [self.error(part) for part in parts]
            return None if None in errors else max(error for error in errors if error is not None)
        return None if span is None else self._of_arithmetic(node, span)

    def _of_arithmetic(self, node: Node, span: Range) -> float | None:
        errors = [self.error(name) for name in node.inputs] if node.op in _CARRIED else [None]
        spans = [self.ranges.of(name) for name in node.inputs]
        known = [(span, error) for span, error in zip(spans, errors, strict=False) if span is not None]
        if None in errors or len(known) != len(node.inputs):
            return None
        carried = _carried(node.op, [(one, error or 0.0) for one, error in known], span)
        if carried is None:
            return None
        return carried + (4 if node.op in _OF_FRACTIONS else 1) * _rounding(span, carried)


_CARRIED = frozenset({"Neg", "Add", "Sub", "Mul", "Div", "Sin", "Cos"})


def _calls(node: Node | None) -> bool:
    return node is not None and node.op == CALL


def parts_of(at: RewriteContext, node: Node) -> Sequence[str] | None:
    """The tensors that a node joins; None where it does not, or they are not told apart."""
    made = at.model.producer(node.inputs[0]) if node.op == "Concat" else None
    return made.inputs if made is not None and makes_tuple(made) else None


def _carried(op: str, operands: list[tuple[Range, float]], span: Range) -> float | None:
    """How far exact arithmetic on operands that are off is off."""
    (one, off), (other, other_off) = operands[0], operands[-1]
    if op == "Neg":
        return off
    if op in ("Add", "Sub"):
        return off + other_off
    if op == "Mul":
        return one.magnitude * other_off + other.magnitude * off + off * other_off
    if op == "Div":
        nearest = min(abs(other.least), abs(other.most)) - other_off
        return (off + span.magnitude * other_off) / nearest if nearest > 0 else None
    return off if one.magnitude <= _LARGEST_ANGLE else None


def _rounding(span: Range, off: float) -> float:
    """How far rounding to float32 is off; whole numbers that it holds are not rounded."""
    if span.whole and off == 0 and span.magnitude <= _EXACT:
        return 0.0
    return _UNIT * (span.magnitude + off) + _SMALLEST


@dataclass(frozen=True, slots=True)
class _InFloat32:
    """Writes the chain anew, and the last Cast."""

    chain: _Chain
    last: str
    dtype: DType

    def write(self, build: Builder, value: str) -> str:
        return build.cast(self._written(build, self.last, {}), self.dtype)

    def _written(self, build: Builder, value: str, done: dict[str, str]) -> str:
        if value not in done:
            done[value] = self._write(build, value, done)
        return done[value]

    def _write(self, build: Builder, value: str, done: dict[str, str]) -> str:
        at = self.chain.at
        node = at.model.producer(value)
        if at.model.is_literal(value):
            return build.tensor(np.asarray(at.model.literal(value)), dtypes.FLOAT32)
        if node is None or self.chain.is_constant(value):
            return build.cast(value, dtypes.FLOAT32)
        if hands(node) is Hands.CONVERTED:
            return build.cast(node.inputs[0], dtypes.FLOAT32)
        if hands(node) in _MOVES:
            return Again(node).write(build, self._written(build, node.inputs[0], done))
        parts = parts_of(at, node)
        if parts is not None:
            made = [self._written(build, part, done) for part in parts]
            joined = build.op("MakeTuple", *made, prim_type=build.PRIMITIVE)
            return Again(node).write(build, joined)
        return build.op(node.op, *(self._written(build, name, done) for name in node.inputs))
