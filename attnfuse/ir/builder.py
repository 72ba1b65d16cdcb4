"""Makes nodes for one site: each method appends one node, with its type, and returns its value.

Encodings are those of MindSpore 2.7.1's own exports of the same primitives (arguments as inputs, scalars as Constant
nodes). Names come from the site and a running number inside it, so equal inputs give equal bytes.

May import `graph`, `edit`, `types` of this package, and `attnfuse.mindir`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import Model, Node, short_name
from attnfuse.ir.types import UNKNOWN_DIM, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.schema import AttributeProto, NodeProto, PrimitiveProto, TensorProto

_BUILT = re.compile(r"attnfuse_(.+)_\d+(?:_[A-Za-z]\w*:0)?")
"""Names as `Builder` gives them: the site between `attnfuse_` and the last number."""


class NotWritableError(Exception):
    """A node that has no type: an operand is no tensor of a known type, or does not go with the others.

    `at` is the value where it shows, `found` completes `found …`. What stands there stays as it is.
    """

    def __init__(self, at: str, found: str) -> None:
        super().__init__(f"{short_name(at)} is {found}")
        self.at = at
        self.found = found


FUNCTION = PrimitiveProto.PRIMITIVE_FUNCTION
Literal = bool | int | float | tuple[int, ...] | None


def _value_attribute(value: Literal) -> AttributeProto:
    a = AttributeProto(name="value")
    if value is None:
        a.type = AttributeProto.NONE
    elif isinstance(value, bool):
        a.type, a.i = AttributeProto.BOOL, int(value)
    elif isinstance(value, int):
        a.type, a.i = AttributeProto.INT64, value
    elif isinstance(value, float):
        a.type, a.f = AttributeProto.FLOAT, value
    else:
        a.type = AttributeProto.TUPLE
        for element in value:
            a.values.add(type=AttributeProto.INT64).ints.append(element)
    return a


def _tensors(kind: TensorType) -> AttributeProto:
    a = AttributeProto(type=AttributeProto.TENSORS)
    a.tensors.add(data_type=kind.dtype.wire).dims.extend(kind.dims)
    return a


def broadcast_dims(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...] | None:
    """The shape of two that broadcast, None where they do not. A size that is not known goes with any other."""
    rank = max(len(left), len(right))
    pairs = zip((*(1,) * (rank - len(left)), *left), (*(1,) * (rank - len(right)), *right), strict=True)
    dims = [a if b == 1 else b if a in (1, b, UNKNOWN_DIM) else a if b == UNKNOWN_DIM else None for a, b in pairs]
    known = tuple(dim for dim in dims if dim is not None)
    return known if len(known) == rank else None


def sites_built(model: Model) -> set[str]:
    """The sites whose nodes a builder made before: a result that is compiled again has them already."""
    matches = (_BUILT.fullmatch(short_name(node.name)) for node in model.nodes)
    return {match.group(1) for match in matches if match is not None}


def unused(site: str, taken: set[str]) -> str:
    """The site's name, with a number where it is taken; from now on it is."""
    free, number = site, 1
    while free in taken:
        number += 1
        free = f"{site}-{number}"
    taken.add(free)
    return free


class Builder:
    """Nodes of one site, in order, to stand before the node they replace."""

    PRIMITIVE = PrimitiveProto.PRIMITIVE

    def __init__(self, edit: Edit, anchor: Node, site: str) -> None:
        self._edit = edit
        self._anchor = anchor
        self._site = site
        self._scope = anchor.scope.rsplit("/", 1)[0]
        self._nodes: list[NodeProto] = []
        self._types: dict[str, TensorType] = {}
        self._constants: dict[object, str] = {}
        self.casts = 0
        self.ops: list[str] = []
        """The operators of the nodes made, constants aside."""

    def type_of(self, value: str) -> TensorType:
        """Type of a value of the graph or of this site. Raises NotWritableError where none is known."""
        kind = self._types.get(value) or self._edit.model.type_of(value)
        if kind is None:
            raise NotWritableError(value, "no tensor of a known type")
        return kind

    # --- constants

    def constant(self, value: Literal) -> str:
        """A literal argument."""
        key = (type(value).__name__, value)
        if key not in self._constants:
            self._constants[key] = self._constant(_value_attribute(value))
        return self._constants[key]

    def tensor(self, array: npt.NDArray[np.generic], dtype: DType) -> str:
        """A constant tensor."""
        kind = TensorType(tuple(array.shape), dtype)
        a = AttributeProto(name="value", type=AttributeProto.TENSORS)
        with np.errstate(over="ignore"):  # what the type cannot hold is an infinity in it, as an operator would give
            data = np.ascontiguousarray(array.astype(dtype.numpy))
        a.tensors.append(TensorProto(dims=kind.dims, data_type=dtype.wire, name="value0", raw_data=data.tobytes()))
        name = self._constant(a)
        self._types[name] = kind
        return name

    def _constant(self, attribute: AttributeProto) -> str:
        node = NodeProto(name=f"attnfuse_{self._site}_{len(self._nodes)}", op_type="Constant")
        node.output.append(node.name)
        node.attribute.append(attribute)
        self._nodes.append(node)
        return node.name

    # --- nodes

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        kind: TensorType | Sequence[TensorType],
        prim_type: PrimitiveProto.PrimType = FUNCTION,
        attributes: Sequence[AttributeProto] = (),
    ) -> str:
        """One application; `kind` is its output's type, or the types of a tuple output."""
        self.ops.append(op)
        name = f"{self._anchor.graph.name}:attnfuse_{self._site}_{len(self._nodes)}_{op}:0"
        node = NodeProto(name=name, op_type=self._edit.primitive(op, prim_type, attributes))
        # Loaders make the domain the node's full name, and MindSpore Lite finds tensors by it: no two may be the same.
        node.domain = f"{self._scope}/{op}-attnfuse_{self._site}_{len(self._nodes)}"
        node.output.append(name)
        node.input.extend(inputs)
        if isinstance(kind, TensorType):
            shape = _tensors(kind)
            self._types[name] = kind
        else:
            shape = AttributeProto(type=AttributeProto.TUPLE)
            shape.values.extend(_tensors(element) for element in kind)
            shape.seq_info.is_dyn_len = False
        shape.name = "shape"
        node.attribute.append(shape)
        self._nodes.append(node)
        return name

    def cast(self, value: str, dtype: DType) -> str:
        """The value in another element type; nothing where it has it already."""
        kind = self.type_of(value)
        if kind.dtype == dtype:
            return value
        self.casts += 1
        return self.node("Cast", (value, self.constant(dtype.type_id)), TensorType(kind.dims, dtype))

    def reshape(self, value: str, dims: Sequence[int]) -> str:
        """The value regrouped; nothing where it has that shape already. At most one dimension may be -1."""
        kind = self.type_of(value)
        if kind.dims == tuple(dims) and list(dims).count(-1) <= 1:
            return value
        return self.node("Reshape", (value, self.constant(tuple(dims))), TensorType(tuple(dims), kind.dtype))

    def transpose(self, value: str, order: Sequence[int]) -> str:
        """Axis i of the result is axis `order[i]`; nothing where that is no change."""
        if list(order) == list(range(len(order))):
            return value
        kind = self.type_of(value)
        dims = tuple(kind.dims[i] for i in order)
        return self.node("Transpose", (value, self.constant(tuple(order))), TensorType(dims, kind.dtype))

    def broadcast(self, value: str, dims: Sequence[int]) -> str:
        """Axes of one element repeated to `dims`; nothing where none is."""
        kind = self.type_of(value)
        if kind.dims == tuple(dims):
            return value
        return self.node("BroadcastTo", (value, self.constant(tuple(dims))), TensorType(tuple(dims), kind.dtype))

    def pad_last(self, value: str, count: int) -> str:
        """`count` zeros behind the last axis."""
        if count == 0:
            return value
        kind = self.type_of(value)
        mode = AttributeProto(name="mode", type=AttributeProto.STRING, s=b"constant")
        contiguous = AttributeProto(name="paddings_contiguous", type=AttributeProto.BOOL, i=1)
        paddings = self.tensor(np.array([0, count]), dtypes.INT64)
        zero = self.tensor(np.array(0.0), kind.dtype)
        padded = TensorType((*kind.dims[:-1], kind.dims[-1] + count), kind.dtype)
        return self.node("PadV3", (value, paddings, zero), padded, PrimitiveProto.PRIMITIVE, (mode, contiguous))

    def take_last(self, value: str, count: int) -> str:
        """The first `count` elements of the last axis."""
        kind = self.type_of(value)
        if kind.dims[-1] == count:
            return value
        rank = kind.rank
        every = (1 << rank) - 1
        arguments: list[Literal] = [
            (0,) * rank,
            (*(0,) * (rank - 1), count),
            (1,) * rank,
            every,  # begin_mask: each axis from its start
            every >> 1,  # end_mask: all but the last axis to their end
            0,
            0,
            0,
        ]
        inputs = [value, *(self.constant(argument) for argument in arguments)]
        return self.node("StridedSlice", inputs, TensorType((*kind.dims[:-1], count), kind.dtype))

    def scaled(self, value: str, factor: float) -> str:
        """factor · value, in the value's type.

        A factor that the type does not hold is applied in float32: rounded, it would scale every score alike, which
        no rounding of the formula does.
        """
        if factor == 1.0:
            return value
        kind = self.type_of(value)
        if kind.dtype.is_low_precision and float(np.array(factor).astype(kind.dtype.numpy)) != factor:
            return self.cast(self.scaled(self.cast(value, dtypes.FLOAT32), factor), kind.dtype)
        return self.node("Mul", (value, self.tensor(np.array(factor), kind.dtype)), kind)

    def elementwise(self, op: str, *values: str, dtype: DType | None = None) -> str:
        """An element-wise operator over tensors that broadcast to each other; NotWritableError where they do not."""
        kinds = [self.type_of(value) for value in values]
        dims = kinds[0].dims
        for value, kind in zip(values, kinds, strict=True):
            together = broadcast_dims(dims, kind.dims)
            if together is None:
                raise NotWritableError(value, f"{kind}, which does not go with {list(dims)}")
            dims = together
        return self.node(op, values, TensorType(dims, dtype or kinds[-1].dtype))

    def reduce_last(self, op: str, value: str, axis: int) -> str:
        """ReduceAll, ReduceMean, … over one axis, which stays with one element. `axis` counts from the end."""
        kind = self.type_of(value)
        dims = tuple(1 if i == kind.rank + axis else d for i, d in enumerate(kind.dims))
        return self.node(op, (value, self.constant((axis,)), self.constant(True)), TensorType(dims, kind.dtype))

    # --- the end

    def finish(self, value: str) -> None:
        """Let `value`, the site's last node, take the replaced node's name and place."""
        last = self._nodes.pop()
        if last.output[0] != value:
            raise ValueError(f"{value} is not the last node of site {self._site}")
        last.name = last.output[0] = self._anchor.name
        self._edit.before[self._anchor.name] = self._nodes
        self._edit.replace[self._anchor.name] = last

    def give_way(self) -> None:
        """Let the site's nodes take the replaced node's place, and nothing its name: all who read it read them."""
        self._edit.before[self._anchor.name] = self._nodes
        self._edit.remove.add(self._anchor.name)

    def made(self, value: str) -> bool:
        """Whether `value` is one of this site's nodes."""
        return any(node.output[0] == value for node in self._nodes)
