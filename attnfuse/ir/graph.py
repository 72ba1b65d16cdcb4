"""An indexed view over a MindIR message: who makes a value, who uses it, of what type it is.

The message stays the only store of truth: nothing here copies the graph, order and unknown fields survive, and an
unchanged model serialises to the bytes it was read from. It is changed through an `Edit` (`edit.py`), which
keeps the index (`index.py`) with it.

What the format means (seen in MindSpore 2.7.1 exports): every node has one output, whose name is unique in the file;
constants are nodes of the top graph that functions may use too; a parameter of a function is an input of its
graph; an `op_type` of `REF::x`, where x is a value or a function instead of an entry of the primitive table, calls x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import lru_cache
from typing import Final, TypeVar

import numpy as np

from attnfuse import collector
from attnfuse.ir.index import CALL, CONSTANT, Change, IndexedMessage, Node, Use, short_name
from attnfuse.ir.types import UNKNOWN_DIM, UNKNOWN_RANK, Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import (
    AttributeProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
)

__all__ = [
    "CALL",
    "CONSTANT",
    "Model",
    "Node",
    "NotALiteralError",
    "Use",
    "attribute",
    "live_values",
    "read_literal",
    "read_tensor",
    "shape_fault",
    "short_name",
    "tensor_type",
]

T = TypeVar("T")

MAX_RANK = 32
"""Axes that NumPy takes; MindSpore's operators stop at 8."""
MAX_BYTES = 1 << 50
"""Bytes of a tensor past which a declared shape is damage: no machine holds a petabyte, and no product of sizes below
it leaves 64 bits."""

_TYPES = 1 << 12
"""Types that are known again: more than a model has."""


class NotALiteralError(Exception):
    """The attribute is not a plain value (a monad, a closure, a kind of tensor this project does not read)."""


class _NoLiteral(Enum):
    """Stands for the value of what is no plain one."""

    IT = "no literal"


_NO_LITERAL: Final = _NoLiteral.IT


def attribute(node: NodeProto, name: str) -> AttributeProto | None:
    """The node's attribute of that name."""
    for candidate in node.attribute:
        if candidate.name == name:
            return candidate
    return None


def tensor_type(proto: TensorProto) -> TensorType | None:
    """Type of a tensor message; None for an element type this project does not compute with, an unknown rank and a
    shape that is none (see `shape_fault`)."""
    return _tensor_type(proto.data_type, tuple(proto.dims))


@lru_cache(_TYPES)
def _tensor_type(data_type: int, dims: tuple[int, ...]) -> TensorType | None:
    dtype = dtypes.from_wire(data_type)
    if dtype is None or dims == (UNKNOWN_RANK,) or shape_fault(dims, dtype) is not None:
        return None
    return TensorType(dims, dtype)


@lru_cache(_TYPES)
def shape_fault(dims: tuple[int, ...], dtype: DType | None) -> str | None:
    """Why those dimensions are none that a tensor can have; None where one can."""
    if not dims:
        return None
    if min(dims) < UNKNOWN_DIM:
        return None if dims == (UNKNOWN_RANK,) else f"a dimension of {min(dims)}"
    if len(dims) > MAX_RANK:
        return f"{len(dims)} axes"
    total = 1 if dtype is None else dtype.itemsize
    for dim in dims:
        if dim > 1:
            total *= dim
    return f"{total} bytes" if total > MAX_BYTES else None


def read_tensor(proto: TensorProto) -> Array:
    """The tensor's value. Raises NotALiteralError where it holds no inline data of a known type."""
    kind = tensor_type(proto)
    if kind is None or not kind.is_static:
        raise NotALiteralError(f"tensor {proto.name!r} is of an unknown type")
    if proto.raw_data:
        if len(proto.raw_data) != kind.size * kind.dtype.itemsize:
            raise NotALiteralError(f"tensor {proto.name!r} has {len(proto.raw_data)} bytes for {kind}")
        return np.frombuffer(proto.raw_data, kind.dtype.numpy).reshape(kind.dims)
    for data in (proto.float_data, proto.double_data, proto.int32_data, proto.int64_data, proto.uint64_data):
        if len(data) and len(data) == kind.size:
            with np.errstate(over="ignore", invalid="ignore"):  # what the type cannot hold is cut, as a cast cuts it
                return np.array(list(data)).astype(kind.dtype.numpy).reshape(kind.dims)
    if kind.size == 0:
        return np.zeros(kind.dims, kind.dtype.numpy)
    raise NotALiteralError(f"tensor {proto.name!r} holds no data")


def read_literal(proto: AttributeProto) -> Literal:
    """The plain value of a Constant's `value` attribute. Raises NotALiteralError for anything else."""
    a = AttributeProto
    kind = proto.type
    if kind == a.NONE:
        return None
    if kind == a.BOOL:
        return bool(proto.i)
    if kind in (a.INT8, a.INT16, a.INT32, a.INT64, a.UINT8, a.UINT16, a.UINT32, a.UINT64):
        # A scalar stands in `i`, an element of a tuple in `ints`.
        return int(proto.ints[0]) if len(proto.ints) else int(proto.i)
    if kind == a.FLOAT:
        return float(proto.floats[0]) if len(proto.floats) else float(proto.f)
    if kind == a.DOUBLE:
        return float(proto.doubles[0]) if len(proto.doubles) else float(proto.d)
    if kind == a.STRING:
        return proto.s.decode("utf-8", "replace")
    if kind in (a.TUPLE, a.LIST):
        return tuple(read_literal(v) for v in proto.values)
    if kind == a.TENSORS and len(proto.tensors) == 1:
        return read_tensor(proto.tensors[0])
    raise NotALiteralError(f"attribute of type {kind}")


def _types(proto: AttributeProto | None) -> TensorType | tuple[TensorType | None, ...] | None:
    if proto is None:
        return None
    if proto.type == AttributeProto.TENSORS and len(proto.tensors) == 1:
        return tensor_type(proto.tensors[0])
    if proto.type in (AttributeProto.TUPLE, AttributeProto.LIST):
        elements = (_types(v) for v in proto.values)
        return tuple(e if isinstance(e, TensorType) else None for e in elements)
    return None


class Model(IndexedMessage):
    """A MindIR message and its index. Values are found by name, over all graphs of the file."""

    def __init__(self, proto: ModelProto) -> None:
        """Index the message.

        Raises SourceError where it is inconsistent: a value, a function or a primitive defined twice, a value without a
        name, an input that nothing defines, a node without exactly one output, nodes out of topological order, a call
        of a function with another number of arguments than it has, calls that never end.
        """
        with collector.paused():
            super().__init__(proto)
        self.sources = frozenset(map(parameter_name, self.parameters()))
        """The names of the weights that the message had when it was read, without the graph's: what passes add is made
        of those (see `attnfuse.mindir.edits`)."""

    def copy(self) -> Model:
        """The same over a message of its own, with what is known of it: an `Edit` of one leaves the other as it is."""
        copy = object.__new__(Model)
        copy.proto = ModelProto()
        copy.proto.CopyFrom(self.proto)
        copy.sources = self.sources
        copy._type_cache, copy._literal_cache = self._type_cache.copy(), self._literal_cache.copy()
        copy._remembered = {}
        with collector.paused():
            copy._adopt(self)
        return copy

    def index(self) -> None:
        """Read the message again, after a change of it that was no `Edit`. Raises as `Model` does."""
        self._type_cache: dict[str, TensorType | tuple[TensorType | None, ...] | None] = {}
        self._literal_cache: dict[str, Literal | _NoLiteral] = {}
        self._remembered: dict[object, object] = {}
        super().index()

    def change(self, change: Change) -> set[str]:
        """Write a change into the message and the index; the values whose nodes are new or gone. Raises as `Model`."""
        changed = super().change(change)
        for value in changed:
            self._type_cache.pop(value, None)
            self._literal_cache.pop(value, None)
        self._remembered.clear()
        return changed

    # --- reading

    def remembered(self, read: Callable[[Model], T]) -> T:
        """What `read`, a function of a module, tells of the graph: it is asked once until the graph changes."""
        if read not in self._remembered:
            self._remembered[read] = read(self)
        return self._remembered[read]  # type: ignore[return-value]  # it is what `read` gave

    def uses(self, value: str) -> list[Use]:
        """Every use of the value, in file order."""
        return self._uses.get(value, [])

    def is_parameter(self, value: str) -> bool:
        """Whether the value is a weight of the file."""
        return value in self._parameters

    def is_input(self, value: str) -> bool:
        """Whether the value is an input of some graph (weights enter functions as inputs)."""
        return value in self._inputs

    def parameter(self, value: str) -> TensorProto | None:
        """The weight's declaration; None for a value that is no weight."""
        return self._parameters.get(value)

    def input(self, value: str) -> ValueInfoProto | None:
        """The declaration of an input of some graph; None for any other value."""
        return self._inputs.get(value)

    def is_function(self, value: str) -> bool:
        """Whether that is the name of a function of the file."""
        return value in self._functions and value != self.proto.graph.name

    def parameters(self) -> Iterator[TensorProto]:
        """All weights of the file."""
        for graph in self.graphs:
            yield from graph.parameter

    def type_of(self, value: str) -> TensorType | None:
        """Type of a tensor value; None for tuples, monads, closures and unknown element types."""
        value_type = self._type_cache.get(value) or self.types_of(value)
        return value_type if isinstance(value_type, TensorType) else None

    def types_of(self, value: str) -> TensorType | tuple[TensorType | None, ...] | None:
        """Type of a value; a tuple of types for a value of several outputs."""
        try:
            return self._type_cache[value]
        except KeyError:
            pass
        node = self._producers.get(value)
        value_type: TensorType | tuple[TensorType | None, ...] | None = None
        if (parameter := self._parameters.get(value)) is not None:
            value_type = tensor_type(parameter)
        elif (given := self._inputs.get(value)) is not None:
            value_type = tensor_type(given.tensor[0]) if len(given.tensor) == 1 else None
        elif node is not None and node.op == CONSTANT:
            literal = attribute(node.proto, "value")
            if literal is not None and literal.type == AttributeProto.TENSORS:
                value_type = _types(literal)
        elif node is not None:
            value_type = _types(attribute(node.proto, "shape"))
        self._type_cache[value] = value_type
        return value_type

    def is_literal(self, value: str) -> bool:
        """Whether `literal` has an answer."""
        return self._literal(value) is not _NO_LITERAL

    def literal(self, value: str) -> Literal:
        """The value of a Constant node: a Python scalar, a tuple, or an array. Raises NotALiteralError otherwise."""
        found = self._literal(value)
        if isinstance(found, _NoLiteral):
            raise NotALiteralError(value)
        return found

    def _literal(self, value: str) -> Literal | _NoLiteral:
        if value not in self._literal_cache:
            self._literal_cache[value] = self._read_literal(value)
        return self._literal_cache[value]

    def _read_literal(self, value: str) -> Literal | _NoLiteral:
        node = self._producers.get(value)
        proto = None if node is None or node.op != CONSTANT else attribute(node.proto, "value")
        try:
            return _NO_LITERAL if proto is None else read_literal(proto)
        except NotALiteralError:
            return _NO_LITERAL


def live_values(model: Model, roots: Iterable[str]) -> set[str]:
    """Every value that one of `roots` depends on, itself included."""
    seen: set[str] = set()
    stack = list(roots)
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        node = model.producer(value)
        if node is not None:
            stack.extend(node.inputs)
            if node.callee is not None:
                stack.append(node.callee)
    return seen
