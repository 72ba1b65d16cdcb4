"""The values of a graph as arguments of its nodes: what is known of each, read from the message and bounded there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, NotALiteralError, attribute, read_tensor
from attnfuse.ir.operators.arguments import COMPUTED, NONE, Argument, Arguments, Known, Signature, constant
from attnfuse.ir.operators.columns import Hands, Role
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.operators.table import operator
from attnfuse.ir.types import Special, TensorType, ValueType, declared_type, is_complex, stored_tensor_type
from attnfuse.mindir.schema import AttributeProto, TensorProto, ValueInfoProto

_A = AttributeProto
_WHOLE = frozenset({_A.INT8, _A.INT16, _A.INT32, _A.INT64, _A.UINT8, _A.UINT16, _A.UINT32, _A.UINT64})
_MONADS = frozenset({_A.UMONAD, _A.IOMONAD})
_MOST_ELEMENTS = 64
"""Elements of a constant vector that is read: axes and sizes have no more."""

UNKNOWN = Argument(None)
"""A value of which nothing is known."""
_MONAD = Argument(Special.MONAD)
_FUNCTION = Argument(Special.FUNCTION)


_DEEPEST = 4
"""How far tuples of tuples are followed back to what made them."""


class Values:
    """Every value of a model as an argument. Whoever goes through the nodes in order may `put` what is inferred."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._known: dict[str, Argument] = {}
        self.known: Callable[[str], Argument | None] = self._known.get
        """What is known of a value so far; None for one that nothing has told of yet."""
        self.put: Callable[[str, Argument], None] = self._known.__setitem__
        """Tell what is known of a node's value."""
        self._primitives: dict[str, tuple[Signature, Callable[[str], Argument | None]]] = {}

    def of(self, model: Model, gone: Set[str]) -> Values:
        """What is known of these, of another model; of what is `gone`, nothing."""
        other = Values(model)
        other._known.update(self._known)
        for name in gone & self._known.keys():
            del other._known[name]
        return other

    def leaves(self) -> list[tuple[str, Argument]]:
        """Inputs, parameters and functions."""
        found = []
        for graph in self.model.graphs:
            found += [(parameter.name, weight_argument(parameter)) for parameter in graph.parameter]
            found += [(value.name, Argument(input_type(value))) for value in graph.input]
        return found + [(function.name, _FUNCTION) for function in self.model.proto.functions]

    def argument(self, name: str, depth: int = 0) -> Argument:
        """The value as the file declares it, its constants read; `UNKNOWN` for one that nothing defines."""
        found = self._known.get(name)
        if found is None:
            found = self._read(name, depth)
            if depth == 0:
                self._known[name] = found
        return found

    def _read(self, name: str, depth: int) -> Argument:
        node = self.model.producer(name)
        if node is None:
            return self._read_leaf(name)
        if node.op == CONSTANT:
            return read_constant(attribute(node.proto, "value"))
        if node.op != CALL and depth < _DEEPEST:
            row = operator(node.op)
            if row.role is Role.TUPLE and row.value.hands is Hands.JOINED:
                return tuple_of(tuple(self.argument(name, depth + 1) for name in node.inputs))
        known = self.model.type_of(name)  # which is kept from pass to pass
        return Argument(declared_type(attribute(node.proto, "shape")) if known is None else known)

    def _read_leaf(self, name: str) -> Argument:
        parameter, given = self.model.parameter(name), self.model.input(name)
        if parameter is not None:
            return weight_argument(parameter)
        if given is not None:
            return Argument(input_type(given))
        return _FUNCTION if self.model.is_function(name) else UNKNOWN

    def arguments(self, node: Node) -> Arguments:
        """The node's arguments, by the names of its operator's row."""
        return self.bind(node, [self.argument(name) for name in node.inputs])

    def bind(self, node: Node, inputs: Sequence[Argument]) -> Arguments:
        """The inputs by the names of the operator's row, and the attributes of its primitive."""
        reference = node.proto.op_type
        found = self._primitives.get(reference)
        if found is None:
            entry = self.model.primitives.get(reference)
            attributes = {} if entry is None else {a.name: read_constant(a) for a in entry.attribute}
            signature = operator(node.op).signature.with_attributes(frozenset(attributes))
            self._primitives[reference] = found = signature, attributes.get
        signature, attribute_of = found
        return Arguments(signature, inputs, attribute_of)

    def infer(self, node: Node) -> ValueType:
        """ValueType of the node's result as its operator infers it, None where it is not known. Raises TypeMismatch."""
        return operator(node.op).result(self.arguments(node))


def weight_argument(parameter: TensorProto) -> Argument:
    """A weight as an argument: its type."""
    return Argument(stored_tensor_type(parameter))


def applied(op: str, inputs: Sequence[Argument], attributes: Mapping[str, Argument]) -> Argument:
    """What is known of the result of an operator that is given these, with what its primitive has as attributes.

    Raises TypeMismatch for arguments that the operator does not take.
    """
    row = operator(op)
    signature = row.signature.with_attributes(frozenset(attributes)) if attributes else row.signature
    return result_of(row, Arguments(signature, inputs, attributes.get), inputs)


def result_of(row: Operator, arguments: Arguments, inputs: Sequence[Argument]) -> Argument:
    """What is known of a node's result: its type, and of a tuple its elements too. Raises TypeMismatch."""
    value_type = row.result(arguments)
    if row.role is Role.TUPLE:
        if row.value.hands is Hands.JOINED:
            return tuple_of(tuple(inputs))
        elements = inputs[0].elements
        if elements is not None and value_type is not None:
            element = elements[arguments.integer("index")]
            value = COMPUTED if isinstance(element.value_type, TensorType) else element.value
            return Argument(value_type, value, elements=element.elements)
    return Argument(value_type)


def read_constant(proto: AttributeProto | None) -> Argument:
    """A constant's `value` attribute, or an attribute of a primitive, as an argument. Of no known type: unknown."""
    if proto is None:
        return UNKNOWN
    kind = proto.type
    if kind in _WHOLE:
        return constant(int(proto.ints[0]) if len(proto.ints) else int(proto.i))
    if kind in (_A.TUPLE, _A.LIST):
        elements = tuple(map(read_constant, proto.values))
        return tuple_of(elements)
    if kind == _A.TENSORS and len(proto.tensors) == 1:
        return _read_tensor(proto.tensors[0])
    if kind == _A.BOOL:
        return constant(bool(proto.i))
    if kind == _A.FLOAT:
        return constant(float(proto.floats[0]) if len(proto.floats) else float(proto.f))
    if kind == _A.DOUBLE:
        return constant(float(proto.doubles[0]) if len(proto.doubles) else float(proto.d))
    if kind == _A.STRING:
        text = proto.strings[0] if len(proto.strings) else proto.s
        return constant(text.decode("utf-8", "replace"))
    if kind == _A.NONE:
        return NONE
    return _MONAD if kind in _MONADS else UNKNOWN


def tuple_of(elements: tuple[Argument, ...]) -> Argument:
    """A tuple of arguments. Its value is known where that of every element is, and none is a tensor."""
    values = []
    for element in elements:
        value = COMPUTED if isinstance(element.value_type, TensorType) else element.value
        if value is COMPUTED:
            return Argument(tuple(e.value_type for e in elements), elements=elements)
        values.append(value)
    return Argument(tuple(e.value_type for e in elements), tuple(values), elements=elements)  # type: ignore[arg-type]


def _read_tensor(proto: TensorProto) -> Argument:
    tensor_type = stored_tensor_type(proto)
    if (
        tensor_type is None
        or len(tensor_type.dims) > 1
        or (tensor_type.dims and not 0 <= tensor_type.dims[0] <= _MOST_ELEMENTS)
    ):
        return Argument(tensor_type)
    if tensor_type.dtype.is_float or is_complex(tensor_type.dtype):
        return Argument(tensor_type)
    return Argument(tensor_type, read=lambda: _numbers(proto))


def _numbers(proto: TensorProto) -> Known:
    """Whole numbers of a short vector: a tuple; of a tensor without axes: a number."""
    try:
        with np.errstate(all="ignore"):
            found = read_tensor(proto)
    except (NotALiteralError, ValueError, OverflowError, TypeError):
        return COMPUTED
    if found.dtype.kind == "b":
        return bool(found) if found.ndim == 0 else COMPUTED
    return int(found) if found.ndim == 0 else tuple(int(number) for number in found)


def input_type(value: ValueInfoProto) -> ValueType:
    """ValueType of a graph's input, or of a function's parameter."""
    if len(value.tensor) == 1:
        return stored_tensor_type(value.tensor[0])
    return declared_type(value.attr_info) if value.HasField("attr_info") else None
