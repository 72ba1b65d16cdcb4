"""An indexed view over a MindIR message: who makes a value, who uses it, of what type it is.

The message stays the only store of truth: nothing here copies the graph, order and unknown fields survive, and an
unchanged model serialises to the bytes it was read from. It is changed through an `Edit` (`edit.py`), after which the
index is new.

What the format means (seen in MindSpore 2.7.1 exports): every node has one output, whose name is unique in the file;
constants are nodes of the top graph that functions may use too; a parameter of a function is an input of its
graph; an `op_type` of `REF::x`, where x is a value or a function instead of an entry of the primitive table, calls x.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from attnfuse import collector
from attnfuse.errors import SourceError
from attnfuse.ir.types import UNKNOWN_DIM, UNKNOWN_RANK, Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    PrimitiveProto,
    TensorProto,
)

T = TypeVar("T")

CONSTANT = "Constant"
CALL = "<call>"
MAX_RANK = 32
"""Axes that NumPy takes; MindSpore's operators stop at 8."""
MAX_BYTES = 1 << 50
"""Bytes of a tensor past which a declared shape is damage: no machine holds a petabyte, and no product of sizes below
it leaves 64 bits."""


class NotALiteralError(Exception):
    """The attribute is not a plain value (a monad, a closure, a kind of tensor this project does not read)."""


@dataclass(slots=True, eq=False)
class Node:
    """One application in one graph. `op` is the operator's real name, `Constant`, or `<call>`."""

    proto: NodeProto
    graph: GraphProto
    op: str
    index: int
    """Position in its graph's node list."""
    name: str
    """Name of the node's one output."""
    inputs: list[str]
    """Copied from the message, as is the name: reading them there at every use cost most of a pass's time."""

    @property
    def scope(self) -> str:
        """Module scope as MindSpore recorded it; unreliable on CPU traces, so never used for proofs."""
        return self.proto.domain

    def __repr__(self) -> str:
        return f"<{self.op} {short_name(self.name)}>"


class Use(NamedTuple):
    """One use of a value: input `position` of `node`, or a graph output (`node` is None)."""

    node: Node | None
    position: int


def short_name(value: str) -> str:
    """A value's name without the graph prefix, for people: `CNode_12:7` of `..._construct_144:CNode_12:7`."""
    return value.split(":", 1)[1] if value.count(":") >= 2 else value


def attribute(node: NodeProto, name: str) -> AttributeProto | None:
    """The node's attribute of that name."""
    for candidate in node.attribute:
        if candidate.name == name:
            return candidate
    return None


def tensor_type(proto: TensorProto) -> TensorType | None:
    """Type of a tensor message; None for an element type this project does not compute with, an unknown rank and a
    shape that is none (see `shape_fault`)."""
    dtype = dtypes.from_wire(proto.data_type)
    dims = tuple(proto.dims)
    if dtype is None or dims == (UNKNOWN_RANK,) or shape_fault(dims, dtype) is not None:
        return None
    return TensorType(dims, dtype)


def shape_fault(dims: Sequence[int], dtype: DType | None) -> str | None:
    """Why those dimensions are none that a tensor can have; None where one can."""
    if not dims:
        return None
    if min(dims) < UNKNOWN_DIM:
        return None if tuple(dims) == (UNKNOWN_RANK,) else f"a dimension of {min(dims)}"
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


def _twice(named: Iterable[GraphProto | PrimitiveProto]) -> str:
    """The name that most of them have."""
    return Counter(one.name for one in named).most_common(1)[0][0]


class Model:
    """A MindIR message and its index. Values are found by name, over all graphs of the file."""

    def __init__(self, proto: ModelProto) -> None:
        """Index the message.

        Raises SourceError where it is inconsistent: a value, a function or a primitive defined twice, a value without a
        name, an input that nothing defines, a node without exactly one output, nodes out of topological order, a call
        of a function with another number of arguments than it has, calls that never end.
        """
        self.proto = proto
        with collector.paused():
            self.index()
        self.sources = frozenset(map(parameter_name, self.parameters()))
        """The names of the weights that the message had when it was read, without the graph's: what passes add is made
        of those (see `attnfuse.mindir.edits`)."""

    def index(self) -> None:
        """Read the message again, after a change of it. Raises as `Model` does."""
        proto = self.proto
        self.graphs: tuple[GraphProto, ...] = (proto.graph, *proto.functions)
        self.primitives: dict[str, PrimitiveProto] = {"REF::" + p.name: p for p in proto.primitives}
        if len(self.primitives) != len(proto.primitives):
            raise SourceError(f"the graph is damaged: primitive {_twice(proto.primitives)!r} is defined twice.")
        functions = {g.name: len(g.input) for g in self.graphs}
        if len(functions) != len(self.graphs):
            raise SourceError(f"the graph is damaged: function {_twice(self.graphs)!r} is defined twice.")
        self.nodes: list[Node] = []
        self._producers: dict[str, Node] = {}
        self._leaves: dict[str, TensorProto | None] = {}
        self._leaf_messages: dict[str, TensorProto | None] = {}
        self._uses: dict[str, list[Use]] = {}
        self._type_cache: dict[str, TensorType | tuple[TensorType | None, ...] | None] = {}
        self._literal_cache: dict[str, Literal | NotALiteralError] = {}
        self._remembered: dict[object, object] = {}
        uses, producers, leaves = self._uses, self._producers, self._leaves
        operators = {reference: primitive.op_type for reference, primitive in self.primitives.items()}
        for graph in self.graphs:
            for parameter in graph.parameter:
                self._define_leaf(graph, parameter.name, parameter, parameter)
            for value in graph.input:
                self._define_leaf(graph, value.name, None, value.tensor[0] if len(value.tensor) == 1 else None)
        for graph in self.graphs:
            for index, message in enumerate(graph.node):
                outputs, inputs, op_type = message.output, list(message.input), message.op_type
                if len(outputs) != 1:
                    raise SourceError(f"the graph is damaged: node {message.name!r} has {len(outputs)} outputs.")
                made = outputs[0]
                if not made:
                    place = f"node {index} of {graph.name!r}, {message.name!r},"
                    raise SourceError(f"the graph is damaged: {place} gives a value without a name.")
                callee: str | None = None
                if op_type == CONSTANT:
                    op = CONSTANT
                elif (primitive := operators.get(op_type)) is not None:
                    op = primitive
                else:
                    op, callee = CALL, op_type.removeprefix("REF::")
                node = Node(message, graph, op, index, made, inputs)
                self.nodes.append(node)
                for position, name in enumerate(inputs):
                    if name not in producers and name not in leaves and name not in functions:
                        raise SourceError(
                            f"the graph is damaged: {short_name(made)} uses "
                            f"{short_name(name) or 'a value without a name'}, which nothing before it defines."
                        )
                    uses.setdefault(name, []).append(Use(node, position))
                if callee is not None:
                    if callee not in producers and callee not in functions:
                        raise SourceError(
                            f"the graph is damaged: node {short_name(made)} refers to operator "
                            f"{callee!r}, which is not in the primitive table."
                        )
                    if len(inputs) != functions.get(callee, len(inputs)):
                        raise SourceError(
                            f"the graph is damaged: node {short_name(made)} calls {callee} with {len(inputs)} "
                            f"arguments, which takes {functions[callee]}."
                        )
                    uses.setdefault(callee, []).append(Use(node, -1))
                if made in producers or made in leaves or made in functions:
                    raise SourceError(f"the graph is damaged: value {made!r} is defined twice.")
                producers[made] = node
            for position, output in enumerate(graph.output):
                if output.name not in producers and output.name not in leaves:
                    place = f"output {output.name!r} of {graph.name!r}"
                    raise SourceError(f"the graph is damaged: {place} is not defined.")
                uses.setdefault(output.name, []).append(Use(None, position))
        if len(functions) > 1:
            self._check_calls_end()

    def _check_calls_end(self) -> None:
        """A loop hands its functions on as values, and one is called or not; a call by name is always made."""
        callers: dict[str, list[str]] = {graph.name: [] for graph in self.graphs}
        calls: dict[str, list[str]] = {graph.name: [] for graph in self.graphs}
        for graph in self.graphs:
            for use in self.uses(graph.name):
                if use.position == -1 and use.node is not None:
                    callers[graph.name].append(use.node.graph.name)
                    calls[use.node.graph.name].append(graph.name)
        waiting = {name: len(called) for name, called in calls.items()}
        done = [name for name in calls if not waiting[name]]
        for name in done:  # it grows: each graph once all that it calls are there
            for caller in callers[name]:
                waiting[caller] -= 1
                if not waiting[caller]:
                    done.append(caller)
        endless = [name for name in calls if waiting[name]]
        if endless:
            seen, at = set[str](), endless[0]
            while at not in seen:
                seen.add(at)
                at = next(callee for callee in calls[at] if waiting[callee])
            raise SourceError(f"the graph is damaged: {at!r} calls itself, or what it calls does, without an end.")

    def _define_leaf(
        self, graph: GraphProto, name: str, parameter: TensorProto | None, message: TensorProto | None
    ) -> None:
        if not name:
            what = "an input" if parameter is None else "a parameter"
            raise SourceError(f"the graph is damaged: {what} of {graph.name!r} has no name.")
        if name in self._leaves:
            raise SourceError(f"the graph is damaged: value {name!r} is defined twice.")
        self._leaves[name] = parameter
        self._leaf_messages[name] = message

    # --- reading

    def remembered(self, read: Callable[[Model], T]) -> T:
        """What `read`, a function of a module, tells of the graph: it is asked once until the graph changes."""
        if read not in self._remembered:
            self._remembered[read] = read(self)
        return self._remembered[read]  # type: ignore[return-value]  # it is what `read` gave

    def producer(self, value: str) -> Node | None:
        """The node that makes the value; None for an input, a parameter or a function."""
        return self._producers.get(value)

    def uses(self, value: str) -> list[Use]:
        """Every use of the value, in file order."""
        return self._uses.get(value, [])

    def is_parameter(self, value: str) -> bool:
        """Whether the value is a weight of the file."""
        return self._leaves.get(value) is not None

    def is_input(self, value: str) -> bool:
        """Whether the value is an input of some graph (weights enter functions as inputs)."""
        return value in self._leaves and self._leaves[value] is None

    def parameter(self, value: str) -> TensorProto | None:
        """The weight's declaration; None for a value that is no weight."""
        return self._leaves.get(value)

    def parameters(self) -> Iterator[TensorProto]:
        """All weights of the file."""
        for graph in self.graphs:
            yield from graph.parameter

    def type_of(self, value: str) -> TensorType | None:
        """Type of a tensor value; None for tuples, monads, closures and unknown element types."""
        value_type = self.types_of(value)
        return value_type if isinstance(value_type, TensorType) else None

    def types_of(self, value: str) -> TensorType | tuple[TensorType | None, ...] | None:
        """Type of a value; a tuple of types for a value of several outputs."""
        if value in self._type_cache:
            return self._type_cache[value]
        node = self._producers.get(value)
        value_type: TensorType | tuple[TensorType | None, ...] | None = None
        if (leaf := self._leaf_messages.get(value)) is not None:
            value_type = tensor_type(leaf)
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
        try:
            self.literal(value)
        except NotALiteralError:
            return False
        return True

    def literal(self, value: str) -> Literal:
        """The value of a Constant node: a Python scalar, a tuple, or an array. Raises NotALiteralError otherwise."""
        cached = self._literal_cache.get(value, self)
        if cached is self:
            node = self._producers.get(value)
            try:
                if node is None or node.op != CONSTANT:
                    raise NotALiteralError(value)
                proto = attribute(node.proto, "value")
                if proto is None:
                    raise NotALiteralError(value)
                cached = read_literal(proto)
            except NotALiteralError as error:
                cached = error
            self._literal_cache[value] = cached
        if isinstance(cached, NotALiteralError):
            raise cached
        return cached  # type: ignore[return-value]  # `self` is only the marker of an empty cache


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
            stack.extend(node.proto.input)
            if node.op == CALL:
                stack.append(node.proto.op_type.removeprefix("REF::"))
    return seen
