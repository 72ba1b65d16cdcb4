"""What every lowering rule works with: the arithmetic, the ONNX graph being written, and its view of one node.

May import `attnfuse.ir.graph` and `attnfuse.mindir`; onnx is imported here and in `graph` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from attnfuse.ir.graph import Node, short_name
from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType

INT64_MAX = 2**63 - 1


class UnsupportedOpError(Exception):
    """A node this lowering has no rule for; the message names it."""


class Arithmetic(Enum):
    """NATIVE: the graph's own types, emulated. EXACT: float64 throughout, casts between floats dropped.

    PLAIN: float32 throughout, casts between floats dropped: no copies that only emulate, so memory can be measured.
    """

    NATIVE = "native"
    EXACT = "exact"
    PLAIN = "plain"

    def carry(self, dtype: DType) -> DType:
        """The type in which values of `dtype` are held."""
        if not dtype.is_float:
            return dtype
        return dtypes.FLOAT64 if self is Arithmetic.EXACT or dtype is dtypes.FLOAT64 else dtypes.FLOAT32


def first_infinite(dtype: DType) -> float:
    """The least number that rounds to infinity: half a unit in the last place beyond the largest one."""
    unit = dtype.unit_roundoff
    return dtype.largest * (1 + unit / (2 - 2 * unit))


@dataclass(frozen=True, slots=True)
class Rounding:
    """What a fused node that computes in `dtype` has to round, laid upon one node of the formula it stands for.

    `operands` are positions of operands that are rounded first. `stored` is for the softmax: the nodes between the
    product that made the scores and the softmax, in order, that product first; all they do to the scores but scale
    them is a bias, and the scores are moved by what storing it costs (`OnnxWriter.moved`). `added` is the coarsest
    type in which the formula itself holds the sum of scores and bias.
    """

    dtype: DType
    operands: tuple[int, ...] = ()
    result: bool = False
    stored: tuple[str, ...] = ()
    added: DType = dtypes.FLOAT32


def onnx_type(dtype: DType) -> int:
    """ONNX's number of the type, which is MindIR's: MindIR's schema is made from ONNX's."""
    return dtype.wire


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the ONNX graph, with the type MindIR declares for it (held in `arithmetic.carry` of that)."""

    name: str
    kind: TensorType


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


NEGLIGIBLE = 1000.0
"""A key whose bias is that far below another's has no weight that float32 or float64 could hold (e⁻¹⁰⁰⁰ is 0)."""


def _signs(dims: Sequence[int], seed: int) -> Array:
    """Ones and minus ones, the same for the same shape."""
    generator = np.random.Generator(np.random.Philox(seed))
    return generator.integers(0, 2, tuple(dims)) * 2 - 1


def _signs_by_place(count: int, seed: int) -> Array:
    """Signs of the first to the last key that counts, of which the first two differ; before them a zero."""
    signs = _signs([count], seed)
    signs[:2] = (1, -1)[:count]
    return np.concatenate([[0], signs])


@dataclass(slots=True)
class OnnxWriter:
    """Nodes and constants of the ONNX graph. Names are numbered in the order of writing."""

    arithmetic: Arithmetic
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initialisers: list[onnx.TensorProto] = field(default_factory=list)
    products: dict[str, str] = field(default_factory=dict)
    """Of nodes that multiply and add, by name: the product before the addition."""
    instead: DType | None = None
    """What NATIVE arithmetic rounds to in place of every low-precision type."""
    _constants: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    _count: int = 0

    def name(self) -> str:
        """A new name."""
        self._count += 1
        return f"v{self._count}"

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:
        """One node of one output."""
        return self.emit_many(op, *inputs, outputs=1, **attributes)[0]

    def emit_many(self, op: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """One node of several outputs."""
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names

    def constant(self, array: Array) -> str:
        """An initialiser of exactly that value and type."""
        array = np.ascontiguousarray(array)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            name = self.name()
            self.initialisers.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def integers(self, values: Sequence[int]) -> str:
        """A vector of int64, as ONNX wants shapes, axes and pads."""
        return self.constant(np.array(list(values), np.int64))

    def number(self, value: float, dtype: DType) -> str:
        """A scalar in the type that carries `dtype`. Not rounded to `dtype`: an operator's scalar is no tensor."""
        return self.constant(np.array(value, self.arithmetic.carry(dtype).numpy))

    def carried(self, array: Array) -> str:
        """An array as a value of its own type is carried."""
        dtype = dtypes.of_array(array)
        return self.constant(np.asarray(array).astype(self.arithmetic.carry(dtype).numpy))

    def convert(self, name: str, source: DType, target: DType) -> str:
        """A value held as `source`, held as `target`; float to float changes the carrier only."""
        a, b = self.arithmetic.carry(source), self.arithmetic.carry(target)
        return name if a is b else self.emit("Cast", name, to=onnx_type(b))

    def round_to(self, name: str, dtype: DType, carrier: DType) -> str:
        """Rounded to a low-precision type, held in `carrier` as before; only NATIVE arithmetic rounds."""
        if self.arithmetic is not Arithmetic.NATIVE or not dtype.is_low_precision:
            return name
        return self.emit("Cast", self.emit("Cast", name, to=onnx_type(self.instead or dtype)), to=onnx_type(carrier))

    def in_range(self, name: str, dtype: DType, carrier: DType) -> str:
        """What a low-precision type holds as infinite made infinite, and nothing else changed."""
        beyond = self.emit("GreaterOrEqual", self.emit("Abs", name), self.number(first_infinite(dtype), carrier))
        return self.emit("Where", beyond, self.emit("Mul", name, self.number(np.inf, carrier)), name)

    def moved(self, scores: str, bias: str, kind: TensorType, rounding: Rounding, axis: int = -1) -> str:
        """Scores, each off by the most that holding its bias in a fused node may cost; signs are as good as random.

        With u the unit roundoff of the node's type and d how far the bias of a key is below the largest of its row:
        u · max(d, 1), as a row may be shifted before it is rounded, and no weight is held better than to u anyway. Or
        the unit roundoff of the type that the formula adds in times the bias, where that is more. Keys that are
        NEGLIGIBLE below the largest stay as they are.
        """
        carrier = self.arithmetic.carry(kind.dtype)

        def number(value: float) -> str:
            return self.number(value, carrier)

        below = self.emit("Sub", self.emit("ReduceMax", bias, self.integers([axis]), keepdims=1), bias)
        stored = self.emit("Mul", self.emit("Max", below, number(1.0)), number(rounding.dtype.unit_roundoff))
        size = self.emit("Abs", bias)
        own = self.emit("Mul", size, number(rounding.added.unit_roundoff))
        # What hides a key is larger, and absorbs the score whole: its rounding is no error.
        own = self.emit("Where", self.emit("Less", size, number(NEGLIGIBLE)), own, number(0.0))
        off = self.emit("Max", stored, own)
        # Of a row of −inf alone the distance is no number, and neither more nor less than anything.
        counts = self.emit("Less", below, number(NEGLIGIBLE))
        last, rows = axis % kind.rank, (axis - 1) % kind.rank
        keys = self.integers([size if i == last else 1 for i, size in enumerate(kind.dims)])
        # Signs go by a key's place among those of its row that count: were they by its position, the few keys that a
        # mask leaves could have one sign, which shifts the row and costs nothing.
        seen = self.emit("Cast", self.emit("Expand", counts, keys), to=onnx_type(dtypes.INT32))
        place = self.emit("CumSum", seen, self.constant(np.array(last, np.int64)))
        signs = self.constant(_signs_by_place(kind.dims[last], last).astype(carrier.numpy))
        off = self.emit("Mul", off, self.emit("Gather", signs, place))
        if rows != last:
            dims = [size if i == rows else 1 for i, size in enumerate(kind.dims)]
            off = self.emit("Mul", off, self.constant(_signs(dims, rows).astype(carrier.numpy)))
        return self.emit("Add", scores, self.emit("Where", counts, off, number(0.0)))

    def reshape(self, name: str, dims: Sequence[int]) -> str:
        """To static dims; a size of 0 is a size, not "as before"."""
        return self.emit("Reshape", name, self.integers(dims), allowzero=1)


@dataclass(slots=True)
class At:
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
        kinds = tuple(k for k in self.declared if k is not None)
        if len(kinds) != len(self.declared) or not all(k.is_static for k in kinds):
            raise self.unsupported("one of its results is of an unknown type or size")
        return kinds

    def unsupported(self, why: str) -> UnsupportedOpError:
        """The error to raise."""
        return UnsupportedOpError(f"{self.op} {short_name(self.node.name)}: {why}")

    # --- operands

    def kind(self, position: int) -> TensorType:
        """Type of a tensor operand (of a constant array, the array's)."""
        operand = self.operands[position]
        if isinstance(operand, Tensor):
            return operand.kind
        if isinstance(operand, Constant) and isinstance(operand.value, np.ndarray):
            return array_type(operand.value)
        raise self.unsupported(f"operand {position} is no tensor")

    def dims(self, position: int) -> tuple[int, ...]:
        """Shape of a tensor operand."""
        return self.kind(position).dims

    def tensor(self, position: int) -> str:
        """The operand as it is carried."""
        operand = self.operands[position]
        if isinstance(operand, Constant) and isinstance(operand.value, np.ndarray):
            name = self.writer.carried(operand.value)
        elif isinstance(operand, Tensor):
            name = operand.name
        else:
            raise self.unsupported(f"operand {position} is no tensor")
        rounding, dtype = self.rounding, self.kind(position).dtype
        if rounding is None or position not in rounding.operands or not dtype.is_float:
            return name
        return self.writer.round_to(name, rounding.dtype, self.writer.arithmetic.carry(dtype))

    def converted(self, position: int, dtype: DType) -> str:
        """The operand held as `dtype`: implicit conversion between operand types; scalars become tensors."""
        operand = self.operands[position]
        if isinstance(operand, Constant):
            self.beyond |= dtype.is_low_precision and _largest(operand.value) >= first_infinite(dtype)
            if isinstance(operand.value, bool | int | float):
                return self.writer.number(operand.value, dtype)
        return self.writer.convert(self.tensor(position), self.kind(position).dtype, dtype)

    def is_absent(self, position: int) -> bool:
        """Whether an optional operand is None or not given."""
        if position >= len(self.operands):
            return True
        operand = self.operands[position]
        return isinstance(operand, Constant) and operand.value is None

    def literal(self, position: int) -> Literal:
        """The plain value of a constant operand."""
        operand = self.operands[position]
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
        operand = self.operands[position]
        if isinstance(operand, tuple):
            return list(operand)
        if isinstance(operand, Constant) and isinstance(operand.value, tuple):
            return [Constant(v) for v in operand.value]
        raise self.unsupported(f"operand {position} is no tuple")

    def element_tensors(self, position: int, dtype: DType) -> list[str]:
        """Elements of a tuple operand, as tensors held as `dtype`."""
        names = []
        for element in self.elements(position):
            if isinstance(element, Tensor):
                names.append(self.writer.convert(element.name, element.kind.dtype, dtype))
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
class Rule:
    """How an operator is written in ONNX. `moves`: it only moves values, so its result needs no rounding."""

    write: Callable[[At], Result]
    moves: bool


RULES: dict[str, Rule] = {}


def lowers(*ops: str, moves: bool = False) -> Callable[[Callable[[At], Result]], Callable[[At], Result]]:
    """Register a function as the rule of these operators."""

    def register(function: Callable[[At], Result]) -> Callable[[At], Result]:
        for op in ops:
            assert op not in RULES, f"two rules for {op}"
            RULES[op] = Rule(function, moves)
        return function

    return register
