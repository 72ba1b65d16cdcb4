"""A graph with open sizes (-1), bound to some: the same nodes, with the types that MindSpore infers at those sizes.

Which open sizes are one and the same the file does not say. So a few plans are tried on the original, and those that
MindSpore's inference takes are used: one row and two rows where the first axis is open, another size for every other
axis each time, and one where the first input differs from the others. What the graph computes of its own shapes is
then a constant, and so are the types of what MindSpore itself computed on the way, which are worked out here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import CONSTANT, Model, Node, attribute
from attnfuse.ir.questions import makes_tuple, takes_element
from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir.schema import AttributeProto, ModelProto, NodeProto
from attnfuse.verify.inference import inferred_types
from attnfuse.verify.names import leaf_name

_FIRST = (8, 16)
"""Sizes tried first, with one row and with two: UNets halve them three times."""
_OTHERS = (64, 32, 77, 128, 256)
"""Sizes tried where the graph takes none of the first."""
MOST = 3
"""How many plans that fit are used: the graph is run whole on each."""

_SCALARS: dict[str, Callable[[int, int], int]] = {
    "ScalarAdd": lambda a, b: a + b,
    "ScalarSub": lambda a, b: a - b,
    "ScalarMul": lambda a, b: a * b,
    "ScalarFloorDiv": lambda a, b: a // b,
    "ScalarMod": lambda a, b: a % b,
    "ScalarMax": max,
    "ScalarMin": min,
}
_FILLED = {"FillV2": 0, "FillScalar": 0, "Ones": 0, "Zeros": 0, "BroadcastTo": 1, "Reshape": 1}
"""Operator → position of the shape of its result."""

_Dims = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """Both graphs at sizes that `label` tells. `sets` are positions of the sets of inputs that have these."""

    label: str
    sets: tuple[int, ...]
    _graphs: tuple[Model, Model]
    _dims: _Dims
    _types: tuple[Mapping[int, inferred_types.Types], ...]

    def graphs(self) -> tuple[Model, Model]:
        """The two graphs, made when they are asked for: each is a copy, weights that stand in it included."""
        before, after = (
            _typed(_with_inputs(graph, self._dims), types)
            for graph, types in zip(self._graphs, self._types, strict=True)
        )
        return before, after


def is_open(model: Model) -> bool:
    """Whether a size of an input is not known before run time."""
    types = (model.type_of(value.name) for value in model.proto.graph.input)
    return any(tensor_type is not None and not tensor_type.is_static for tensor_type in types)


def bind(
    before: Model, after: Model, sets: Sequence[Mapping[str, Array]], name: str, work: Path, most: int = MOST
) -> list[Bound]:
    """Both graphs at the sizes of each set of inputs (by the original's names), or else at sizes that fit the original.

    `most` is how many sizes are wanted, of those that fit.
    Raises VerificationError where none fits, or where MindSpore rejects a graph at the sizes of a set.
    """
    given: dict[_Dims, list[int]] = {}
    for number, inputs in enumerate(sets):
        given.setdefault(tuple(inputs[v.name].shape for v in before.proto.graph.input), []).append(number)
    bare = _bare(before), _bare(after)
    for tried in [list(given)] if given else _plans(before):
        models = {
            f"{i}{side}": _with_inputs(graph, dims)
            for i, dims in enumerate(tried)
            for side, graph in zip("of", bare, strict=True)
        }
        types = inferred_types.types_of_all(models, name, work)
        fitting = []
        for i, dims in enumerate(tried):
            label, known, made = _label(before, dims), types[f"{i}o"], types[f"{i}f"]
            if isinstance(known, str):
                if given:
                    raise VerificationError(f"MindSpore rejects the original of {name} at {label}: {known}.")
                continue
            if isinstance(made, str):
                raise VerificationError(
                    f"MindSpore rejects the result for {name} at {label}, and takes the original: {made}."
                )
            fitting.append(Bound(label, tuple(given.get(dims, ())), (before, after), dims, (known, made)))
        if fitting:
            return fitting if given else fitting[:most]
    raise VerificationError(
        f"{name} leaves sizes of its inputs open, and none that were tried fit: give inputs with --data, or use "
        "--verify static."
    )


# --- sizes


def _plans(model: Model) -> list[list[_Dims]]:
    """Sizes of all inputs to try together, in the order in which they are tried."""
    types = [model.type_of(value.name) for value in model.proto.graph.input]
    declared = [tensor_type.dims if tensor_type is not None else () for tensor_type in types]
    first = [_filled(declared, rows, [size] * len(declared)) for rows, size in zip((1, 2), _FIRST, strict=True)]
    apart = _filled(declared, 2, [_FIRST[0] + 4, *[_FIRST[0]] * (len(declared) - 1)])
    others = [_filled(declared, rows, [size] * len(declared)) for size in _OTHERS for rows in (1, 2)]
    return [[*dict.fromkeys((*first, apart))], [*dict.fromkeys(others)]]


def _filled(declared: Sequence[tuple[int, ...]], rows: int, sizes: Sequence[int]) -> _Dims:
    """`rows` for an open first axis, the input's own size for every other one."""
    return tuple(
        tuple((rows if axis == 0 else size) if dim < 0 else dim for axis, dim in enumerate(dims))
        for dims, size in zip(declared, sizes, strict=True)
    )


def _label(model: Model, dims: _Dims) -> str:
    """The inputs whose sizes are open, as they are bound."""
    bound_sizes = []
    for value, bound in zip(model.proto.graph.input, dims, strict=True):
        tensor_type = model.type_of(value.name)
        if tensor_type is not None and not tensor_type.is_static:
            bound_sizes.append(f"{leaf_name(value.name)} {list(bound)}")
    return ", ".join(bound_sizes)


# --- types


def _bare(model: Model) -> Model:
    """A copy without the weights that stand in the file."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for graph in (proto.graph, *proto.functions):
        for parameter in graph.parameter:
            parameter.ClearField("raw_data")
    return Model(proto)


def _with_inputs(model: Model, dims: _Dims) -> Model:
    """A copy whose inputs are of these sizes, and nothing else."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for value, bound in zip(proto.graph.input, dims, strict=True):
        value.tensor[0].dims[:] = bound
    return Model(proto)


def _typed(model: Model, known: Mapping[int, inferred_types.Types]) -> Model:
    """The graph with those types, by position in its nodes, and what follows from them as constants; in place."""
    _Binder(model, known).bind()
    return Model(model.proto)


@dataclass(slots=True)
class _Binder:
    model: Model
    known: Mapping[int, inferred_types.Types]
    types: dict[str, TensorType] = field(default_factory=dict)
    values: dict[str, Literal] = field(default_factory=dict)

    def bind(self) -> None:
        for position, node in enumerate(self.model.nodes):
            if node.op == CONSTANT:
                continue
            folded = self._folded(node)
            if folded is not None:
                self.values[node.name] = folded
                _make_constant(node.proto, folded)
                continue
            self._write(node, self.known.get(position))
        for output in self.model.proto.graph.output:
            tensor_type = self._type_of(output.name)
            if tensor_type is not None and len(output.tensor) == 1:
                output.tensor[0].dims[:] = tensor_type.dims

    def _type_of(self, value: str) -> TensorType | None:
        return self.types.get(value) or self.model.type_of(value)

    def _literal(self, value: str) -> Literal:
        if value in self.values:
            return self.values[value]
        node = self.model.producer(value)
        if node is not None and makes_tuple(node):
            return tuple(self._literal(element) for element in node.inputs)
        return self.model.literal(value) if self.model.is_literal(value) else None

    def _folded(self, node: Node) -> Literal:
        """What the node gives where that follows from shapes; None where it does not."""
        if node.op in ("Shape", "TensorShape"):
            tensor_type = self._type_of(node.inputs[0])
            return tensor_type.dims if tensor_type is not None and tensor_type.is_static else None
        if takes_element(node):
            elements, index = self.values.get(node.inputs[0]), self._literal(node.inputs[1])
            return elements[index] if isinstance(elements, tuple) and isinstance(index, int) else None
        if node.op in _SCALARS:
            a, b = (self._literal(value) for value in node.inputs[:2])
            return _SCALARS[node.op](a, b) if isinstance(a, int) and isinstance(b, int) else None
        return None

    def _write(self, node: Node, known: inferred_types.Types) -> None:
        """Put the type that MindSpore found into the node, or the one worked out for what it computed itself."""
        shape = attribute(node.proto, "shape")
        declared = self.model.types_of(node.name)
        if shape is None or declared is None:
            return
        if isinstance(known, TensorType) and shape.type == AttributeProto.TENSORS:
            self._take(node.name, shape, known)
        elif isinstance(known, tuple) and len(known) == len(shape.values):
            for element, tensor_type in zip(shape.values, known, strict=True):
                if tensor_type is not None and len(element.tensors) == 1:
                    element.tensors[0].dims[:] = tensor_type.dims
        elif isinstance(declared, TensorType) and not declared.is_static:
            dims = self._worked_out(node, declared)
            if dims is not None:
                self._take(node.name, shape, TensorType(dims, declared.dtype))

    def _take(self, value: str, shape: AttributeProto, tensor_type: TensorType) -> None:
        shape.tensors[0].dims[:] = tensor_type.dims
        self.types[value] = tensor_type

    def _worked_out(self, node: Node, declared: TensorType) -> tuple[int, ...] | None:
        """The shape of what depends on no input: ranges, fills, and what is made of them element by element."""
        if node.op == "Arange":
            start, end, step = (self._literal(value) for value in node.inputs[:3])
            if isinstance(start, int) and isinstance(end, int) and isinstance(step, int) and step:
                return (max(0, math.ceil((end - start) / step)),)
            return None
        if node.op in _FILLED:
            target = self._literal(node.inputs[_FILLED[node.op]])
            sizes = target if isinstance(target, tuple) else (target,)
            known = tuple(size for size in sizes if isinstance(size, int) and size >= 0)
            return known if len(known) == len(sizes) else None
        types = [tensor_type for value in node.inputs if (tensor_type := self._type_of(value)) is not None]
        if not all(tensor_type.is_static for tensor_type in types) or not types:
            return None
        if node.op == "ExpandDims":
            axis = self._literal(node.inputs[1])
            if not isinstance(axis, int):
                return None
            expanded = list(types[0].dims)
            expanded.insert(axis if axis >= 0 else axis + len(expanded) + 1, 1)
            return tuple(expanded)
        if node.op == "Transpose":
            axes = self._literal(node.inputs[1])
            return (
                tuple(types[0].dims[axis] for axis in axes if isinstance(axis, int))
                if isinstance(axes, tuple)
                else None
            )
        try:
            dims = np.broadcast_shapes(*(tensor_type.dims for tensor_type in types))
        except ValueError:
            return None
        agrees = len(dims) == declared.rank and all(b in (a, -1) for a, b in zip(dims, declared.dims, strict=True))
        return tuple(dims) if agrees else None


def _make_constant(message: NodeProto, value: Literal) -> None:
    """Turn the node into a Constant of that whole number, or tuple of them."""
    del message.input[:]
    del message.attribute[:]
    message.op_type = CONSTANT
    _fill(message.attribute.add(name="value"), value, element=False)


def _fill(target: AttributeProto, value: Literal, *, element: bool) -> None:
    """As MindSpore writes it: a number alone stands in `i`, an element of a tuple in `ints`."""
    if isinstance(value, tuple):
        target.type = AttributeProto.TUPLE
        for item in value:
            _fill(target.values.add(), item, element=True)
        return
    assert isinstance(value, int)  # nothing else is folded
    target.type = AttributeProto.INT64
    if element:
        target.ints.append(value)
    else:
        target.i = value
