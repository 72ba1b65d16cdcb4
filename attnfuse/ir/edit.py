"""Changes to a graph, gathered and then applied at once: nodes before, in place of, or instead of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeAlias

from attnfuse.ir.graph import Model, tensor_type
from attnfuse.ir.index import Change
from attnfuse.ir.operators.arguments import COMPUTED, Argument
from attnfuse.ir.values import Values, applied, read_constant
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.edits import EditedWeight, NotEditableError, WeightEdits, edited_weight
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import AttributeProto, NodeProto, PrimitiveProto, TensorProto

_OTHER_VALUES = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_Signature: TypeAlias = tuple[str, int, tuple[bytes, ...]]


def _signature(op: str, kind: int, attributes: Iterable[AttributeProto]) -> _Signature:
    """What tells one entry of the primitive table from another; attributes in any order."""
    return op, kind, tuple(sorted(a.SerializeToString(deterministic=True) for a in attributes))


def _plain(argument: Argument) -> tuple[object, ...] | None:
    """The argument's type and constant, where they say all that is known; None where it has elements besides."""
    value = argument.value
    if value is COMPUTED and argument.elements is not None:
        return None
    return argument.value_type, value


def _is_wider(wanted: DType | None, own: DType) -> bool:
    """Whether a float type holds every number of the other."""
    return wanted is not None and wanted.is_float and own.is_float and wanted.itemsize > own.itemsize


@dataclass(slots=True)
class Edit:
    """Changes to a model, gathered and then applied in one go.

    `before[name]` are nodes to stand just before the node that makes `name`; `replace[name]` is a new definition of the
    value `name`, at the old one's place; `remove` are values whose nodes go; every use of a value in `rename` becomes a
    use of the other; `arguments[name, position]` is what the node that makes `name`, if it stays, reads there;
    `drop_primitives` are keys of the primitive table.
    """

    model: Model
    before: dict[str, list[NodeProto]] = field(default_factory=dict)
    replace: dict[str, NodeProto] = field(default_factory=dict)
    remove: set[str] = field(default_factory=set)
    rename: dict[str, str] = field(default_factory=dict)
    arguments: dict[tuple[str, int], str] = field(default_factory=dict)
    drop_primitives: set[str] = field(default_factory=set)
    new_primitives: dict[str, PrimitiveProto] = field(default_factory=dict)
    new_weights: dict[str, TensorProto] = field(default_factory=dict)
    """By name; those that nothing written reads are left out."""
    constant_bytes: int = 0
    """Of the constant tensors made for these changes, those for nodes that came to nothing with them."""
    _references: dict[_Signature, str] = field(default_factory=dict)
    """Keys of the primitive table by what an entry is."""
    literals: dict[str, tuple[AttributeProto, Argument]] = field(default_factory=dict)
    """Constants by how Python writes their values: their messages, to be copied, and what is known of them."""
    _inferred: dict[tuple[object, ...], Argument] = field(default_factory=dict)

    @property
    def values(self) -> Values:
        """What is known of the model's values before the changes, read once for all who make nodes."""
        return self.model.remembered(Values)

    def applied(self, op: str, inputs: Sequence[Argument], attributes: Sequence[AttributeProto]) -> Argument:
        """What is known of the result of an operator that is given these.

        It is inferred once for equal arguments: what is written for one block of a model is written for the next.
        Raises TypeMismatch for arguments that the operator does not take.
        """
        key = op, *map(_plain, inputs), *[a.SerializeToString(deterministic=True) for a in attributes]
        found = None if None in key else self._inferred.get(key)
        if found is None:
            found = applied(op, inputs, {a.name: read_constant(a) for a in attributes})
            if None not in key:
                self._inferred[key] = found
        return found

    @property
    def is_empty(self) -> bool:
        changes = (self.before, self.replace, self.remove, self.rename, self.arguments, self.drop_primitives)
        return not any(changes)

    def primitive(self, op: str, kind: PrimitiveProto.PrimType, attributes: Sequence[AttributeProto] = ()) -> str:
        """The `op_type` of operator `op`, entered in the primitive table where it is not there yet.

        `kind` is PrimitiveProto.PRIMITIVE or PRIMITIVE_FUNCTION. An existing entry is used only if it carries the same
        attributes: with others it may be a variant (an in-place one, say), so each set of attributes has an entry.
        """
        if not self._references:
            for reference, entry in self.model.primitives.items():
                self._references.setdefault(_signature(entry.op_type, entry.prim_type, entry.attribute), reference)
        signature = _signature(op, kind, attributes)
        if signature not in self._references:
            number, name = 1, f"{op}:attnfuse"
            while f"REF::{name}" in self.model.primitives or f"REF::{name}" in self.new_primitives:
                number += 1
                name = f"{op}:attnfuse_{number}"
            primitive = PrimitiveProto(name=name, op_type=op, instance_name="", prim_type=kind)
            primitive.attribute.extend(attributes)
            self.new_primitives[f"REF::{name}"] = primitive
            self._references[signature] = f"REF::{name}"
        return self._references[signature]

    def weight(self, value: str, edits: WeightEdits) -> TensorProto:
        """The weight made of weight `value` by the edits, entered among the graph's weights where it is not there yet.

        The other stays as it is, for whoever reads it. Raises NotEditableError where the weight is of no known type or
        does not take the edits, where another element type would round it, where its values stand in the message
        otherwise than as bytes, and where the name is that of another weight.
        """
        parameter = self.new_weights.get(value) or self.model.parameter(value)
        kind = None if parameter is None else tensor_type(parameter)
        if parameter is None or kind is None or not kind.is_static:
            raise NotEditableError("is no weight of a known type")
        if any(len(getattr(parameter, name)) for name in _OTHER_VALUES):
            raise NotEditableError("has its values otherwise than as bytes")
        own, prefix = parameter_name(parameter), parameter.name.removesuffix(parameter_name(parameter))
        made = edited_weight(own, self.model.sources) or EditedWeight(own, WeightEdits())
        source = self.model.parameter(prefix + made.source)
        if source is None:
            raise NotEditableError("is made of one that the graph does not have")
        if edits.dtype not in (None, kind.dtype) and not _is_wider(edits.dtype, kind.dtype):
            raise NotEditableError(f"of {kind.dtype} cannot be {edits.dtype} without being rounded")
        whole = made.edits.then(edits, tuple(source.dims))
        name = whole.name(made.source)
        if prefix + name == value:
            return parameter
        if name in self.model.sources:
            raise NotEditableError(f"would be called {name}, as another is")
        known = self.new_weights.get(prefix + name) or self.model.parameter(prefix + name)
        if known is not None:
            return known
        added = TensorProto(
            name=prefix + name,
            ref_key=name,
            dims=whole.dims(tuple(source.dims)),
            compression_type=source.compression_type,
        )
        added.data_type = source.data_type if whole.dtype is None else whole.dtype.wire
        self.new_weights[added.name] = added
        return added

    def apply(self) -> None:
        """Write the changes into the message and its index. Raises as `Model` does."""
        if self.is_empty:
            return
        called, read = set[str](), set[str]()
        for message in chain(*self.before.values(), self.replace.values()):
            if self.new_primitives:
                called.add(message.op_type)
            if self.new_weights:
                read.update(message.input)
        self.model.change(
            Change(
                before=self.before,
                replace=self.replace,
                remove=self.remove,
                rename=self.rename,
                arguments=self.arguments,
                added_primitives=[entry for reference, entry in self.new_primitives.items() if reference in called],
                added_weights=[weight for name, weight in self.new_weights.items() if name in read],
                drop_primitives=self.drop_primitives,
            )
        )
