"""Makes nodes for one site: each method appends one node and returns its value.

    column = b.reshape(x, (4, 1))
    product = b.op("Mul", column, y)

The type of a node is the one that the operator table infers from its arguments: no caller hands it over. A node whose
operator does not take its arguments is not written; nor is one whose type cannot be inferred (an operator without a
row, a shape that is computed), unless the caller declares it, and a declaration must not contradict what is inferred.

Encodings are those of MindSpore 2.7.1's own exports of the same primitives (arguments as inputs, scalars as Constant
nodes). Names come from the site and a running number inside it, so equal inputs give equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import CONSTANT, Model, Node, attribute, shape_fault, short_name, tensor_type
from attnfuse.ir.operators.arguments import Argument, TypeMismatch
from attnfuse.ir.operators.inference import broadcast
from attnfuse.ir.questions import reads_memory
from attnfuse.ir.types import TensorType, ValueType, agree, declaration, declared_type, describe
from attnfuse.ir.values import read_constant
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.edits import NotEditableError, WeightEdits
from attnfuse.mindir.schema import AttributeProto, NodeProto, PrimitiveProto, TensorProto

_MARK = "attnfuse_"
_PLACED = re.compile(rf".*-{_MARK}(.+)_\d+")
"""Scopes as `Builder` gives them, which a node keeps that took another one's name."""
_BUILT = re.compile(_MARK + r"(.+)_\d+(?:_[A-Za-z]\w*:0)?")
"""Names as `Builder` gives them: the site between `attnfuse_` and the last number."""


class NotWritableError(Exception):
    """A node that cannot be written. What stands in its place stays as it is.

    `at` is the value where it shows. `op` is the operator and `arguments` are their types as people read them; of a
    value that has no type, no node was tried, and they are empty. `found` completes `found …`.
    """

    def __init__(self, at: str, sentence: str, op: str = "", arguments: Sequence[ValueType] = ()) -> None:
        """`sentence` goes on behind the operator and its arguments (`has operands of …`), or else behind the value."""
        self.at = at
        self.op = op
        self.arguments = tuple(map(describe, arguments))
        self.sentence = sentence
        self.found = f"{op}({', '.join(self.arguments)}), which {sentence}" if op else sentence
        subject = f"{op}({', '.join(self.arguments)})" if op else f"{short_name(at)} is"
        super().__init__(f"{subject} {sentence}")


FUNCTION = PrimitiveProto.PRIMITIVE_FUNCTION
Literal = bool | int | float | tuple[int, ...] | None


def value_attribute(value: Literal) -> AttributeProto:
    """The attribute `value` of a constant that is no tensor."""
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


@lru_cache(1 << 12)
def _shape_attribute(value_type: ValueType) -> AttributeProto | None:
    """The attribute that declares a node's type, to be copied; None where a node of that type is not written."""
    shape = declaration(value_type)
    if shape is not None:
        shape.name = "shape"
    return shape


def broadcast_dims(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...] | None:
    """The shape of two that broadcast, None where they do not. A size that is not known goes with any other."""
    try:
        return broadcast(tuple(left), tuple(right))
    except TypeMismatch:
        return None


def sites_built(model: Model) -> set[str]:
    """The sites whose nodes a builder made before: a result that is compiled again has them already."""
    built = {_site_built(node.name) for node in model.nodes if _MARK in node.name}
    return {site for site in built if site is not None}


@lru_cache(1 << 14)
def _site_built(name: str) -> str | None:
    """The site of a node of that name; None where a builder made none so called. Every pass asks again."""
    match = _BUILT.fullmatch(short_name(name))
    return None if match is None else match.group(1)


def site_of(node: Node) -> str | None:
    """The site that a builder made the node for; None where it was made by none."""
    match = _PLACED.fullmatch(node.scope)
    return None if match is None else match.group(1)


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

    def __init__(self, edit: Edit, anchor: Node, site: str, *, share: bool = True) -> None:
        """`anchor` is the node to be replaced; with `share`, equal literals of the site are one constant."""
        self._edit = edit
        self._anchor = anchor
        self._site = site
        self._scope = anchor.scope.rsplit("/", 1)[0]
        self._nodes: list[NodeProto] = []
        self._made: dict[str, Argument] = {}
        """What is known of each value made."""
        self._constants: dict[str, str] | None = {} if share else None
        self.others: dict[str, str] = {}
        """What stands for other values of the graph than the replaced node, by these."""
        self.casts = 0
        self.ops: list[str] = []
        """The operators of the nodes made, constants aside."""
        self.reads: set[str] = set()
        """The values that nodes made read."""
        self.references: set[str] = set()
        """What they have as `op_type`: keys of the primitive table, and `Constant`."""

    def type_of(self, value: str) -> TensorType:
        """Type of a value of the graph or of this site. Raises NotWritableError where none is known."""
        made = self._made.get(value)
        value_type = self._edit.model.type_of(value) if made is None else made.value_type
        if not isinstance(value_type, TensorType):
            raise NotWritableError(value, "no tensor of a known type")
        return value_type

    # --- constants

    def constant(self, value: Literal) -> str:
        """A literal argument."""
        told = repr(value)  # which tells 1 from 1.0 and True, and 0.0 from -0.0
        shared = None if self._constants is None else self._constants.get(told)
        if shared is not None:
            return shared
        if told not in self._edit.literals:
            try:
                proto = value_attribute(value)
            except ValueError:  # of protobuf
                raise NotWritableError(self._anchor.name, f"given {value}, which int64 does not have") from None
            self._edit.literals[told] = proto, read_constant(proto)
        made = self._constant(*self._edit.literals[told])
        if self._constants is not None:
            self._constants[told] = made
        return made

    @property
    def constant_bytes(self) -> int:
        """Of all constant tensors that builders of this pass made up to now."""
        return self._edit.constant_bytes

    def tensor(self, array: npt.NDArray[np.generic], dtype: DType) -> str:
        """A constant tensor. Raises NotWritableError for numbers that whole numbers of that type do not reach."""
        tensor_type = TensorType(tuple(array.shape), dtype)
        if dtype.numpy.kind in "iu" and array.size:  # of such numbers each processor makes others
            limits = np.iinfo(dtype.name)
            least, most = array.min(), array.max()
            if not limits.min <= least <= most <= limits.max:
                odd = least if not limits.min <= least else most
                raise NotWritableError(self._anchor.name, f"given {odd}, which {dtype} does not have")
        a = AttributeProto(name="value", type=AttributeProto.TENSORS)
        with np.errstate(over="ignore"):  # what the type cannot hold is an infinity in it, as an operator would give
            data = np.ascontiguousarray(array.astype(dtype.numpy))
        self._edit.constant_bytes += data.nbytes
        a.tensors.append(
            TensorProto(dims=tensor_type.dims, data_type=dtype.wire, name="value0", raw_data=data.tobytes())
        )
        return self._constant(a, read_constant(a))

    def _constant(self, value: AttributeProto, known: Argument) -> str:
        node = NodeProto(name=f"attnfuse_{self._site}_{len(self._nodes)}", op_type="Constant")
        node.output.append(node.name)
        node.attribute.append(value)
        self._nodes.append(node)
        self._made[node.name] = known
        return node.name

    # --- weights

    def weight(self, value: str, edits: WeightEdits) -> str:
        """A weight with the edits, read as `value` reads it: a weight of the graph, or what Load gives of one.

        Nothing is computed at run time: the other values are written in place of the weight's, and who else reads the
        weight has its own as before. Raises NotWritableError where that cannot be: `value` is no weight, one of
        another graph than the top one, or of a type or shape that does not take the edits. A weight that the graph
        itself changes must not be asked for (`Effects.written`).
        """
        load = self._edit.model.producer(value)
        if self._anchor.graph is not self._edit.model.graphs[0] or (load is not None and not reads_memory(load)):
            raise NotWritableError(value, "no weight of the top graph")
        try:
            made = self._edit.weight(value if load is None else load.inputs[0], edits)
        except NotEditableError as error:
            raise NotWritableError(value, f"a weight that {error}") from error
        self._made[made.name] = Argument(tensor_type(made))
        if load is None:
            return made.name
        return self.op(load.op, made.name, *load.inputs[1:], prim_type=self.PRIMITIVE)

    # --- nodes

    def op(
        self,
        op: str,
        *inputs: str,
        prim_type: PrimitiveProto.PrimType = FUNCTION,
        attributes: Sequence[AttributeProto] = (),
        declare: ValueType = None,
    ) -> str:
        """One application of an operator, of the type that its row infers.

        `declare` is its type where the row leaves it open: the whole of it, or sizes that are not known before run
        time. Raises NotWritableError for arguments the operator does not take, a type left open and not declared, and
        one declared that contradicts the inferred.
        """
        made = self._infer(op, inputs, attributes, declare)
        shape = _shape_attribute(made.value_type)
        if shape is None:
            gives = "leaves its type open: it must be declared"
            if made.value_type is not None:
                gives = f"gives {describe(made.value_type)}, which is neither a tensor nor a tuple of tensors"
            raise self._refusal(op, inputs, gives)
        self.ops.append(op)
        name = f"{self._anchor.graph.name}:attnfuse_{self._site}_{len(self._nodes)}_{op}:0"
        reference = self._edit.primitive(op, prim_type, attributes)
        node = NodeProto(name=name, op_type=reference)
        self.references.add(reference)
        self.reads.update(inputs)
        # Loaders make the domain the node's full name, and MindSpore Lite finds tensors by it: no two may be the same.
        node.domain = f"{self._scope}/{op}-attnfuse_{self._site}_{len(self._nodes)}"
        node.output.append(name)
        node.input.extend(inputs)
        node.attribute.append(shape)
        self._nodes.append(node)
        self._made[name] = made
        return name

    def again(self, value: str, inputs: Sequence[str]) -> str:
        """The operator of the node that makes a value of the graph, with its attributes, over other inputs."""
        node = self._edit.model.producer(value)
        assert node is not None, f"no node makes {value}"
        primitive = self._edit.model.primitives[node.proto.op_type]
        return self.op(node.op, *inputs, prim_type=primitive.prim_type, attributes=list(primitive.attribute))

    def variant(self, message: NodeProto) -> str:
        """The replaced node itself, changed: a copy of its message with other arguments, another type or value.

        Raises NotWritableError where its declared type contradicts what its operator infers.
        """
        name, op = f"attnfuse_{self._site}_{len(self._nodes)}", self._anchor.op
        if op == CONSTANT:
            made = read_constant(attribute(message, "value"))
        else:
            name, declared = f"{self._anchor.graph.name}:{name}:0", declared_type(attribute(message, "shape"))
            primitive = self._edit.model.primitives[message.op_type]
            made = self._infer(op, message.input, primitive.attribute, declared)
        message.name = name
        message.output[:] = [name]
        self.references.add(message.op_type)
        self.reads.update(message.input)
        self._nodes.append(message)
        self._made[name] = made
        return name

    def _infer(
        self, op: str, inputs: Sequence[str], attributes: Sequence[AttributeProto], declare: ValueType
    ) -> Argument:
        """What is known of the result."""
        made_here, others = self._made, self._edit.values.argument
        given = [made_here.get(name) or others(name) for name in inputs]
        try:
            made = self._edit.applied(op, given, attributes)
        except TypeMismatch as error:
            raise self._refusal(op, inputs, str(error)) from error
        of = made.value_type
        if isinstance(of, TensorType) and (fault := shape_fault(of.dims, of.dtype)) is not None:
            raise self._refusal(op, inputs, f"makes a tensor of {fault}")
        if declare is None:
            return made
        if not agree(made.value_type, declare):
            raise self._refusal(op, inputs, f"is declared {describe(declare)} and gives {describe(made.value_type)}")
        return Argument(declare, elements=made.elements)

    def _argument(self, value: str) -> Argument:
        made = self._made.get(value)
        return self._edit.values.argument(value) if made is None else made

    def _refusal(self, op: str, inputs: Sequence[str], sentence: str) -> NotWritableError:
        types = [self._argument(name).value_type for name in inputs]
        return NotWritableError(inputs[0] if inputs else self._anchor.name, sentence, op, types)

    def cast(self, value: str, dtype: DType) -> str:
        """The value in another element type; nothing where it has it already."""
        if self.type_of(value).dtype == dtype:
            return value
        self.casts += 1
        return self.op("Cast", value, self.constant(dtype.type_id))

    def reshape(self, value: str, dims: Sequence[int]) -> str:
        """The value regrouped; nothing where it has that shape already. At most one dimension may be -1."""
        if self.type_of(value).dims == tuple(dims) and list(dims).count(-1) <= 1:
            return value
        return self.op("Reshape", value, self.constant(tuple(dims)))

    def transpose(self, value: str, order: Sequence[int]) -> str:
        """Axis i of the result is axis `order[i]`; nothing where that is no change."""
        if list(order) == list(range(len(order))):
            return value
        return self.op("Transpose", value, self.constant(tuple(order)))

    def broadcast(self, value: str, dims: Sequence[int]) -> str:
        """Axes of one element repeated to `dims`; nothing where none is."""
        if self.type_of(value).dims == tuple(dims):
            return value
        return self.op("BroadcastTo", value, self.constant(tuple(dims)))

    def pad_last(self, value: str, count: int) -> str:
        """`count` zeros behind the last axis."""
        if count == 0:
            return value
        mode = AttributeProto(name="mode", type=AttributeProto.STRING, s=b"constant")
        contiguous = AttributeProto(name="paddings_contiguous", type=AttributeProto.BOOL, i=1)
        paddings = self.tensor(np.array([0, count]), dtypes.INT64)
        zero = self.tensor(np.array(0.0), self.type_of(value).dtype)
        return self.op("PadV3", value, paddings, zero, prim_type=self.PRIMITIVE, attributes=(mode, contiguous))

    def take_last(self, value: str, count: int) -> str:
        """The first `count` elements of the last axis."""
        tensor_type = self.type_of(value)
        if tensor_type.dims[-1] == count:
            return value
        rank = tensor_type.rank
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
        return self.op("StridedSlice", value, *map(self.constant, arguments))

    def scaled(self, value: str, factor: float) -> str:
        """factor · value, in the value's type.

        A factor that the type does not hold is applied in float32: rounded, it would scale every score alike, which
        no rounding of the formula does. Raises NotWritableError for a factor that whole numbers do not hold.
        """
        if factor == 1.0:
            return value
        tensor_type = self.type_of(value)
        # A factor past the type's largest number is one that it does not hold, as is no number among whole ones.
        with np.errstate(over="ignore", invalid="ignore"):
            is_exact = float(np.array(factor).astype(tensor_type.dtype.numpy)) == factor
        if tensor_type.dtype.is_low_precision and not is_exact:
            return self.cast(self.scaled(self.cast(value, dtypes.FLOAT32), factor), tensor_type.dtype)
        if not (tensor_type.dtype.is_float or is_exact):
            raise self.refusal(f"{factor} times {tensor_type}")
        return self.op("Mul", value, self.tensor(np.array(factor), tensor_type.dtype))

    def reduce_last(self, op: str, value: str, axis: int) -> str:
        """ReduceAll, ReduceMean, … over one axis, which stays with one element. `axis` counts from the end."""
        return self.op(op, value, self.constant((axis,)), self.constant(True))

    # --- the end

    def finish(self, value: str) -> None:
        """Let `value`, the site's last node, take the replaced node's name and place.

        Raises NotWritableError where it is a tensor of another type than that node's.
        """
        last = self._nodes[-1]
        if last.output[0] != value:
            raise ValueError(f"{value} is not the last node of site {self._site}")
        self.check_stands_in(value)
        self._nodes.pop()
        last.name = last.output[0] = self._anchor.name
        self.stand_before()
        self._edit.replace[self._anchor.name] = last

    def take_over(self, value: str, made: str) -> None:
        """Let `made` stand for another value of the graph too. All that reads it must come behind the replaced node.

        Raises NotWritableError where it is of another type.
        """
        replaced, found = self._edit.model.type_of(value), self.type_of(made)
        if replaced is not None and not agree(found, replaced):
            raise NotWritableError(value, f"{replaced}, and what was to stand for it {found}")
        self.others[value] = made

    def refusal(self, found: str) -> NotWritableError:
        """The error that the replaced node cannot be written otherwise; `found` completes `it is …`."""
        return NotWritableError(self._anchor.name, found)

    def check_stands_in(self, value: str) -> None:
        """Raise NotWritableError where `value` is a tensor of another type than the replaced node's."""
        replaced, made = self._edit.model.type_of(self._anchor.name), self._made.get(value)
        value_type: ValueType = self._edit.model.types_of(value) if made is None else made.value_type
        if replaced is not None and not agree(value_type, replaced):
            raise self.refusal(f"{replaced}, and its replacement is {describe(value_type)}")

    def stand_before(self) -> None:
        """Let the site's nodes stand before the node, which stays."""
        self._edit.before[self._anchor.name] = self._nodes

    def replace_all_uses(self) -> None:
        """Let the site's nodes take the replaced node's place, and nothing its name: all who read it read them."""
        self.stand_before()
        self._edit.remove.add(self._anchor.name)

    def made(self, value: str) -> bool:
        """Whether `value` is one of this site's nodes."""
        return any(node.output[0] == value for node in self._nodes)
