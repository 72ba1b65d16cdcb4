"""The ONNX graph being written: nodes, constants, conversions and roundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from attnfuse.ir.types import Array, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.verify.lowering.arithmetic import Arithmetic, Rounding, first_infinite, onnx_type

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

    def moved(self, scores: str, bias: str, tensor_type: TensorType, rounding: Rounding, axis: int = -1) -> str:
        """Scores, each off by the most that holding its bias in a fused node may cost; signs are as good as random.

        With u the unit roundoff of the node's type and d how far the bias of a key is below the largest of its row:
        u · max(d, 1), as a row may be shifted before it is rounded, and no weight is held better than to u anyway. Or
        the unit roundoff of the type that the formula adds in times the bias, where that is more. Keys that are
        NEGLIGIBLE below the largest stay as they are.
        """
        carrier = self.arithmetic.carry(tensor_type.dtype)

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
        last, rows = axis % tensor_type.rank, (axis - 1) % tensor_type.rank
        keys = self.integers([size if i == last else 1 for i, size in enumerate(tensor_type.dims)])
        # Signs go by a key's place among those of its row that count: were they by its position, the few keys that a
        # mask leaves could have one sign, which shifts the row and costs nothing.
        seen = self.emit("Cast", self.emit("Expand", counts, keys), to=onnx_type(dtypes.INT32))
        place = self.emit("CumSum", seen, self.constant(np.array(last, np.int64)))
        signs = self.constant(_signs_by_place(tensor_type.dims[last], last).astype(carrier.numpy))
        off = self.emit("Mul", off, self.emit("Gather", signs, place))
        if rows != last:
            dims = [size if i == rows else 1 for i, size in enumerate(tensor_type.dims)]
            off = self.emit("Mul", off, self.constant(_signs(dims, rows).astype(carrier.numpy)))
        return self.emit("Add", scores, self.emit("Where", counts, off, number(0.0)))

    def levelled(self, scores: str, dtype: DType, level: float, axis: int) -> str:
        """Scores whose type has lost them in what was added to a whole row: all the same, but what is as low again."""
        carrier = self.arithmetic.carry(dtype)
        largest, lost = self._lost(scores, carrier, level, axis)
        counts = self._counts(scores, largest, carrier)
        alike = self.emit("Where", counts, self.number(0.0, carrier), self.number(-np.inf, carrier))
        return self.emit("Where", lost, alike, scores)

    def without_scores(self, scores: str, bias: str, dtype: DType, level: float, axis: int) -> str:
        """Scores whose type has lost them in what was added to a whole row: that bias, in exact arithmetic."""
        _, lost = self._lost(scores, self.arithmetic.carry(dtype), level, axis)
        return self.emit("Where", lost, bias, scores)

    def without_large(self, scores: str, bias: str, dtype: DType, limits: tuple[float, float], axis: int) -> str:
        """The scores; of a row that has lost them in what was added no number, where one that counts is that large.

        `limits` are from where on a row is lost, below zero, and from where on a score is large.
        """
        carrier = self.arithmetic.carry(dtype)
        largest, lost = self._lost(scores, carrier, limits[0], axis)
        alone = self.emit("Abs", self.emit("Sub", scores, bias))
        counted = self.emit("Where", self._counts(scores, largest, carrier), alone, self.number(0.0, carrier))
        highest = self.emit("ReduceMax", counted, self.integers([axis]), keepdims=1)
        large = self.emit("Not", self.emit("Less", highest, self.number(limits[1], carrier)))
        return self.emit("Where", self.emit("And", lost, large), self.number(np.nan, carrier), scores)

    def _counts(self, scores: str, largest: str, carrier: DType) -> str:
        """Of a row that has lost its scores: which are not as low again as the largest."""
        return self.emit("Greater", scores, self.emit("Mul", largest, self.number(1.5, carrier)))

    def _lost(self, scores: str, carrier: DType, level: float, axis: int) -> tuple[str, str]:
        """The largest number of each row, and whether it is −level or less, but finite."""
        largest = self.emit("ReduceMax", scores, self.integers([axis]), keepdims=1)
        low = self.emit("Less", largest, self.number(-level * (1 - 2.0**-7), carrier))
        return largest, self.emit("And", low, self.emit("Greater", largest, self.number(-np.inf, carrier)))

    def reshape(self, name: str, dims: Sequence[int]) -> str:
        """To static dims; a size of 0 is a size, not "as before"."""
        return self.emit("Reshape", name, self.integers(dims), allowzero=1)
