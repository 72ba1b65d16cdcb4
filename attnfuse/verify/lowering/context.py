"""What every lowering rule works with: its view of one node, and the table of rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from attnfuse.ir.graph import Node, short_name
from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.verify.lowering.arithmetic import Rounding, first_infinite
from attnfuse.verify.lowering.writer import OnnxWriter

INT64_MAX = 2**63 - 1


class UnsupportedOpError(Exception):
    """A node this lowering has no rule for; the message names it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the ONNX graph, with the type MindIR declares for it (held in `arithmetic.carry` of that)."""

    name: str
    tensor_type: TensorType


@dataclass(frozen=True, slots=True)
class Constant:
    """A plain value of a Constant node: made a tensor only where one is needed."""

    value: Literal


def array_type(array: Array) -> TensorType:
    """What a constant array is as a tensor."""
    return TensorType(tuple(array.shape), dtypes.of_array(array))


@dataclass(frozen=True, slots=True)
class Monad:
    """A state token; it orders effects and carries nothing."""


Value: TypeAlias = "Tensor | Constant | Monad | tuple[Value, ...] | None"


def _largest(constant: Literal) -> float:
    """The largest magnitude among a constant's finite numbers; 0 where there are none."""
    if not isinstance(constant, np.ndarray | bool | int | float):
        return 0.0
    known = np.abs(np.asarray(constant).astype(np.float64))
    return float(np.max(known, initial=0.0, where=np.isfinite(known)))


@dataclass(slots=True)
class LoweringContext:
    """One node as its rule sees it. Operands count from 0, monads included."""

    node: Node
    writer: OnnxWriter
    operands: list[Value]
    declared: TensorType | tuple[TensorType | None, ...] | None
    attributes: dict[str, Literal]
    """Attributes of the primitive: operators that are no primitive functions keep arguments there."""
    rounding: Rounding | None = None
    """What a fused node in place of the formula rounds here."""
    beyond: bool = False
    """Whether a constant was converted to a type that holds it as infinite."""
    narrowed: bool = False
    """Whether an operand was converted to a type that may hold it as another number."""

    @property
    def op(self) -> str:
        return self.node.op

    @property
    def out(self) -> TensorType:
        """Declared type of the one result."""
        if not isinstance(self.declared, TensorType):
            raise self.unsupported("its result is no tensor")
        if not self.declared.is_static:
            raise self.unsupported(f"its result has a size not known before run time, {self.declared}")
        return self.declared

    @property
    def outs(self) -> tuple[TensorType, ...]:
        """Declared types of several results."""
        if not isinstance(self.declared, tuple):
            raise self.unsupported("its result is no tuple")
        types = tuple(k for k in self.declared if k is not None)
        if len(types) != len(self.declared) or not all(k.is_static for k in types):
            raise self.unsupported("one of its results is of an unknown type or size")
        return types

    def unsupported(self, why: str) -> UnsupportedOpError:
        """The error to raise."""
        return UnsupportedOpError(f"{self.op} {short_name(self.node.name)}: {why}")

    # --- operands

    def _operand(self, position: int) -> Value:
        if position >= len(self.operands):
            raise self.unsupported(f"it has no operand {position}")
        return self.operands[position]

    def tensor_type(self, position: int) -> TensorType:
        """Type of a tensor operand (of a constant array, the array's)."""
        operand = self._operand(position)
        if isinstance(operand, Tensor):
            return operand.tensor_type
        if isinstance(operand, Constant) and isinstance(operand.value, np.ndarray):
            return array_type(operand.value)
        raise self.unsupported(f"operand {position} is no tensor")

    def dims(self, position: int) -> tuple[int, ...]:
        """Shape of a tensor operand."""
        return self.tensor_type(position).dims

    def tensor(self, position: int) -> str:
        """The operand as it is carried."""
        operand = self._operand(position)
        if isinstance(operand, Constant) and isinstance(operand.value, np.ndarray):
            name = self.writer.carried(operand.value)
        elif isinstance(operand, Tensor):
            name = operand.name
        else:
            raise self.unsupported(f"operand {position} is no tensor")
        rounding, dtype = self.rounding, self.tensor_type(position).dtype
        if rounding is None or position not in rounding.operands or not dtype.is_float:
            return name
        return self.writer.round_to(name, rounding.dtype, self.writer.arithmetic.carry(dtype))

    def converted(self, position: int, dtype: DType) -> str:
        """The operand held as `dtype`: implicit conversion between operand types; scalars become tensors."""
        operand = self._operand(position)
        is_scalar = isinstance(operand, Constant) and not isinstance(operand.value, np.ndarray)
        if dtype.is_low_precision:
            self.narrowed |= is_scalar or self.tensor_type(position).dtype is not dtype
        if isinstance(operand, Constant):
            self.beyond |= dtype.is_low_precision and _largest(operand.value) >= first_infinite(dtype)
            if isinstance(operand.value, bool | int | float):
                return self.writer.number(operand.value, dtype)
        return self.writer.convert(self.tensor(position), self.tensor_type(position).dtype, dtype)

    def placed(self, position: int, dtype: DType) -> str:
        """As `converted`, for what stands in the result itself: a constant is what `dtype` holds, in EXACT arithmetic
        too, as it is that before anything is computed. One that is beyond its range `_rounded` makes infinite."""
        operand = self._operand(position)
        number = operand.value if isinstance(operand, Constant) else None
        in_range = dtype.is_low_precision and _largest(number) < first_infinite(dtype)
        if isinstance(number, np.ndarray | int | float) and in_range:
            self.operands[position] = Constant(np.asarray(number).astype(dtype.numpy))
        return self.converted(position, dtype)

    def is_absent(self, position: int) -> bool:
        """Whether an optional operand is None or not given."""
        if position >= len(self.operands):
            return True
        operand = self.operands[position]
        return isinstance(operand, Constant) and operand.value is None

    def literal(self, position: int) -> Literal:
        """The plain value of a constant operand."""
        operand = self._operand(position)
        if isinstance(operand, Constant):
            return operand.value
        if isinstance(operand, tuple):
            return tuple(self._element(o) for o in operand)
        raise self.unsupported(f"operand {position} is not known before run time")

    def _element(self, operand: Value) -> Literal:
        if not isinstance(operand, Constant):
            raise self.unsupported("a size is not known before run time")
        return operand.value

    def integer(self, position: int) -> int:
        """A constant whole number."""
        literal = self.literal(position)
        if isinstance(literal, tuple) and len(literal) == 1:
            literal = literal[0]
        if not isinstance(literal, int):
            raise self.unsupported(f"operand {position} is {literal!r}, expected a whole number")
        return int(literal)

    def integers(self, position: int) -> tuple[int, ...]:
        """Constant whole numbers; one alone counts as a tuple of one."""
        literal = self.literal(position)
        if isinstance(literal, np.ndarray) and literal.dtype.kind in "iu":
            return tuple(int(v) for v in literal.reshape(-1))
        if isinstance(literal, int):
            return (int(literal),)
        if isinstance(literal, tuple) and all(isinstance(v, int) for v in literal):
            return tuple(int(v) for v in literal if isinstance(v, int))
        raise self.unsupported(f"operand {position} is {literal!r}, expected whole numbers")

    def number(self, position: int) -> float:
        """A constant number."""
        literal = self.literal(position)
        if isinstance(literal, np.ndarray) and literal.size == 1:
            return float(literal.reshape(-1)[0])
        if not isinstance(literal, bool | int | float):
            raise self.unsupported(f"operand {position} is {literal!r}, expected a number")
        return float(literal)

    def elements(self, position: int) -> list[Value]:
        """Elements of a tuple operand."""
        operand = self._operand(position)
        if isinstance(operand, tuple):
            return list(operand)
        if isinstance(operand, Constant) and isinstance(operand.value, tuple):
            return [Constant(v) for v in operand.value]
        raise self.unsupported(f"operand {position} is no tuple")

    def element_tensors(self, position: int, dtype: DType) -> list[str]:
        """Elements of a tuple operand, as tensors held as `dtype`."""
        names, rounding = [], self.rounding
        for element in self.elements(position):
            if isinstance(element, Tensor):
                name = self.writer.convert(element.name, element.tensor_type.dtype, dtype)
                if rounding is not None and position in rounding.operands:
                    name = self.writer.round_to(name, rounding.dtype, self.writer.arithmetic.carry(dtype))
                names.append(name)
            elif isinstance(element, Constant) and isinstance(element.value, np.ndarray):
                names.append(self.writer.constant(element.value.astype(self.writer.arithmetic.carry(dtype).numpy)))
            else:
                raise self.unsupported(f"an element of operand {position} is no tensor")
        return names

    # --- shorthands

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:
        """One ONNX node."""
        return self.writer.emit(op, *inputs, **attributes)

    def scalar(self, value: float) -> str:
        """A number in the type that carries the result."""
        return self.writer.number(value, self.out.dtype)


Result: TypeAlias = "str | Sequence[str | None]"
"""One ONNX value, or one per element of a tuple (None for an element nobody can compute here)."""


@dataclass(frozen=True, slots=True)
class LoweringRule:
    """How an operator is written in ONNX. `moves`: it only moves values, so its result needs no rounding."""

    write: Callable[[LoweringContext], Result]
    moves: bool


RULES: dict[str, LoweringRule] = {}


def lowers(
    *ops: str, moves: bool = False
) -> Callable[[Callable[[LoweringContext], Result]], Callable[[LoweringContext], Result]]:
    """Register a function as the rule of these operators."""

    def register(function: Callable[[LoweringContext], Result]) -> Callable[[LoweringContext], Result]:
        for op in ops:
            assert op not in RULES, f"two rules for {op}"
            RULES[op] = LoweringRule(function, moves)
        return function

    return register
