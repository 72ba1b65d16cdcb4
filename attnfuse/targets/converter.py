"""Whether a node arrives whole in CANN's graph by way of MindSpore Lite: the converter's view, as a check.

Lite hands a graph to MindSpore's converter, which finds an adapter by the operator's name and puts arguments and
attributes where the adapter says. What the adapter cannot place is lost without a word, or ends in an exception. The
rules were found by running both converters (Lite of July 2025, MindSpore 2.7.1) on small graphs, without a device.

Types written on nodes are checked against those inferred by `attnfuse.ir.check`, and not looked at again here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from attnfuse.ir.graph import CONSTANT, Model, Node, NotALiteralError, attribute, read_literal
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.operators.table import operator
from attnfuse.ir.questions import keeps_order, orders_effects, role, takes_element
from attnfuse.ir.types import TensorType
from attnfuse.mindir.schema import AttributeProto, PrimitiveProto
from attnfuse.targets.composites import COMPOSITE_OPERATORS
from attnfuse.targets.facts import Refusal
from attnfuse.targets.ge import Adapter, Kernels, Port, Prototype, tables
from attnfuse.targets.limits import Target
from attnfuse.targets.operators import OPERATORS
from attnfuse.targets.ports import place
from attnfuse.targets.support import unsupported_reason

CONVERTER = "MindSpore Lite's and MindSpore 2.7.1's converters"
CUSTOM = "Custom"

_A = AttributeProto
_SEQUENCES = (_A.TUPLE, _A.LIST)
_KINDS: dict[str, tuple[int, ...]] = {
    "int": (_A.INT64,),
    "float": (_A.FLOAT,),
    "bool": (_A.BOOL,),
    "str": (_A.STRING, _A.INT64),  # MindSpore has numbers for the words it knows
    "listint": _SEQUENCES,
    "listfloat": _SEQUENCES,
    "listbool": _SEQUENCES,
}
"""By GE's kind of an attribute, how a primitive may hold it. Anything else is cast without asking, and that raises."""
_ANY_KIND = (_A.INT64, _A.FLOAT, _A.BOOL, _A.STRING, *_SEQUENCES)
_EPSILON, _DEFAULT_EPSILON = 3, 1e-6
"""Where RmsNorm has it, counted from 1, and what CANN takes without it."""
_IN_PLACE = "IdentityN"
"""What tuples and dependencies become, and the engine takes away."""


def converted_type(target: Target, dtype: str) -> str | None:
    """The type that an input of the graph has in the converted model; None where nothing converts it."""
    if target.runtime != "lite":
        return None
    return "int32" if dtype == "int64" else dtype


def converter_refusals(target: Target, model: Model, node: Node) -> tuple[Refusal, ...]:
    """Everything of the node that the converter does not carry over, or stops at; () where nothing is lost.

    Constants are data. The runtime mindspore has no such converter.
    """
    if target.runtime != "lite" or node.op == CONSTANT:
        return ()
    if node.op == CUSTOM:
        return tuple(_custom(model, node))
    adapter = tables().adapters.get(node.op)
    taken = OPERATORS.get(node.op)
    if taken is not None and taken.accepted_by != "GE adapter":
        return ()
    if adapter is None or taken is None:
        return (Refusal("converter.adapter", "operators with an adapter", _why(target, model, node), CONVERTER),)
    prototype = tables().prototypes[adapter.ge]
    return (
        *_limits(target, model, node),
        *_ports(model, node, adapter, prototype),
        *_attributes(model, node, adapter, prototype),
        *_dtypes(target, model, node, adapter, prototype),
        *_result(model, node, adapter),
        *_bias(model, node, adapter),
    )


def _why(target: Target, model: Model, node: Node) -> str:
    return f"{node.op}: {unsupported_reason(target, model, node)}"


def _limits(target: Target, model: Model, node: Node) -> Iterator[Refusal]:
    """The limits of the operator's row in `operators`; of a composite those told here."""
    if node.op == "RmsNorm":
        yield from _epsilon(model, node)
    elif node.op in OPERATORS and (why := unsupported_reason(target, model, node)) is not None:
        yield Refusal("converter.limit", "what arrives as it is written", why, CONVERTER)


def _primitive(model: Model, node: Node) -> PrimitiveProto:
    return model.primitives[node.proto.op_type]


def _stored(model: Model, node: Node) -> dict[str, AttributeProto]:
    """The attributes of the node's primitive."""
    return model.remembered(_attributes_of)[node.reference]


def _attributes_of(model: Model) -> dict[str, dict[str, AttributeProto]]:
    """Those of all primitives, by their keys."""
    return {reference: {a.name: a for a in primitive.attribute} for reference, primitive in model.primitives.items()}


def _epsilon(model: Model, node: Node) -> Iterator[Refusal]:
    """RmsNorm's epsilon arrives as third input of a primitive that is no function; anywhere else it is lost."""
    stored = _stored(model, node).get("epsilon")
    if stored is None and len(node.inputs) < _EPSILON:
        return
    try:
        epsilon = model.literal(node.inputs[_EPSILON - 1]) if stored is None else read_literal(stored)
    except NotALiteralError:
        epsilon = None
    is_function = _primitive(model, node).prim_type == PrimitiveProto.PRIMITIVE_FUNCTION
    arrives = stored is None and not is_function and epsilon is not None
    is_default = isinstance(epsilon, float) and np.float32(epsilon) == np.float32(_DEFAULT_EPSILON)
    if not (arrives or is_default):
        wanted = "a constant epsilon as third input of a primitive that is no function, or 1e-6"
        yield Refusal("converter.attribute", wanted, "a computed one" if epsilon is None else str(epsilon), CONVERTER)


def _parameter(node: Node, position: int) -> str:
    """The operator table's name of an argument; "" where it has none. Positions count from 1."""
    inputs = operator(node.op).signature.inputs
    return inputs[position - 1].name if position <= len(inputs) else ""


def _given(model: Model, node: Node, position: int) -> bool:
    """Whether there is an argument where the adapter looks, and it is not None."""
    at = place(model, node, position)
    if at is None or at > len(node.inputs):
        return False
    producer = model.producer(node.inputs[at - 1])
    value = None if producer is None or producer.op != CONSTANT else attribute(producer.proto, "value")
    return value is None or value.type not in (_A.NONE, _A.UMONAD, _A.IOMONAD)


def _ports(model: Model, node: Node, adapter: Adapter, prototype: Prototype) -> Iterator[Refusal]:
    """Required inputs that nothing reaches."""
    stored = _stored(model, node)
    placed = {ge: name for name, ge in adapter.attribute_inputs.items()}
    for port in prototype.inputs:
        position = adapter.inputs.get(port.name) or adapter.dynamic_inputs.get(port.name)
        names = {placed.get(port.name), None if position is None else _parameter(node, position)}
        reached = (position is not None and _given(model, node, position)) or names & stored.keys()
        if port.required and not reached:
            yield Refusal("converter.input", f"a value for {adapter.ge}'s input {port.name}", "none", CONVERTER)


def _attributes(model: Model, node: Node, adapter: Adapter, prototype: Prototype) -> Iterator[Refusal]:
    """Required attributes that nothing reaches, those of composites whose default differs, and those of a wrong kind.

    CANN's defaults of a composite's attributes are not MindSpore's, or none of them would ask for: all are written.
    """
    stored = _stored(model, node)
    sources = {ge: name for name, ge in adapter.attributes.items()}
    wanted = set(prototype.required)
    if node.op in COMPOSITE_OPERATORS:
        wanted |= {*adapter.input_attributes, *sources} - ({"epsilon"} if node.op == "RmsNorm" else set())
    for name in sorted(wanted):
        position = adapter.input_attributes.get(name)
        # A rotation's mode is read as an argument only.
        from_stored = (
            {sources.get(name)}
            if node.op == "RotaryPositionEmbedding"
            else {
                sources.get(name),
                None if position is None else _parameter(node, position),
            }
        )
        given = position is not None and _given(model, node, position)
        if not given and not from_stored & stored.keys() and not (name == "N" and adapter.dynamic_inputs):
            yield Refusal("converter.attribute", f"a value for {adapter.ge}'s attribute {name}", "none", CONVERTER)
    for ge, name in {**sources, **{ge: _parameter(node, at) for ge, at in adapter.input_attributes.items()}}.items():
        kinds = _KINDS.get(prototype.attributes.get(ge, ""), _ANY_KIND)
        for found in filter(None, (stored.get(name), _constant(model, node, adapter.input_attributes.get(ge)))):
            if found.type not in (*kinds, _A.NONE) and ge != "N":
                message = _A.AttributeType.Name(found.type)
                yield Refusal("converter.attribute_type", f"{ge} as {_names(kinds)}", message, CONVERTER)


def _names(kinds: tuple[int, ...]) -> str:
    return " or ".join(_A.AttributeType.Name(kind) for kind in kinds)


def _constant(model: Model, node: Node, position: int | None) -> AttributeProto | None:
    """The value of an argument that is a constant and no tensor."""
    if position is None or not _given(model, node, position):
        return None
    at = place(model, node, position)
    producer = None if at is None else model.producer(node.inputs[at - 1])
    value = None if producer is None or producer.op != CONSTANT else attribute(producer.proto, "value")
    return None if value is None or value.type == _A.TENSORS else value


def _dtypes(target: Target, model: Model, node: Node, adapter: Adapter, prototype: Prototype) -> Iterator[Refusal]:
    """Tensors of types that neither the prototype lists nor a kernel of the SoC.

    Nothing checks a graph against the prototype's list when it is loaded (run), so a kernel that has the type takes it.
    """
    if adapter.ge == _IN_PLACE:
        return
    kernels = tables().kernels.get((adapter.ge, target.soc))
    for port in (*prototype.inputs, *prototype.dynamic):
        at = place(model, node, adapter.inputs.get(port.name) or adapter.dynamic_inputs.get(port.name))
        if at is not None and at <= len(node.inputs):
            listed = frozenset() if kernels is None else _listed_by(kernels, kernels.inputs, 0, port)
            yield from _listed(adapter, port, listed, model.types_of(node.inputs[at - 1]))
    made = model.types_of(node.name)
    for port, tensor_type in zip(prototype.outputs, made if isinstance(made, tuple) else (made,), strict=False):
        first = 0 if kernels is None else len(kernels.inputs)
        listed = frozenset() if kernels is None else _listed_by(kernels, kernels.outputs, first, port)
        yield from _listed(adapter, port, listed, tensor_type)


@lru_cache(1 << 12)
def _listed_by(kernels: Kernels, ports: tuple[str, ...], first: int, port: Port) -> frozenset[str]:
    """The types that kernels list for one of these ports, whose columns begin at `first`."""
    if kernels.combinations is None or port.name not in ports:
        return frozenset()
    at = first + ports.index(port.name)
    return frozenset(combination[at] for combination in kernels.combinations)


def _listed(
    adapter: Adapter, port: Port, more: frozenset[str], types: TensorType | tuple[TensorType | None, ...] | None
) -> Iterator[Refusal]:
    for tensor_type in types if isinstance(types, tuple) else (types,):
        if tensor_type is not None and port.dtypes and tensor_type.dtype.name not in port.dtypes | more:
            wanted = f"{port.name} of {adapter.ge} in {', '.join(sorted(port.dtypes | more))}"
            yield Refusal("converter.dtype", wanted, tensor_type.dtype.name, tables().sources["prototypes"])
            return


def _result(model: Model, node: Node, adapter: Adapter) -> Iterator[Refusal]:
    """What an operator of one output and one of several are declared, and how the latter are read."""
    if adapter.ge not in (_IN_PLACE, "Shape"):  # a graph's own tuples, and a shape's
        count = None if adapter.has_dynamic_output else adapter.outputs
        yield from _taken_apart(model, node, count)


def _taken_apart(model: Model, node: Node, count: int | None) -> Iterator[Refusal]:
    """An operator of several outputs is a tuple, and read by TupleGetItem: else the converter raises.

    `count` is None where the node itself tells how many there are.
    """
    made = model.types_of(node.name)
    if count == 1:
        if isinstance(made, tuple):
            yield Refusal("converter.tuple", "one type on an operator of one output", _type_text(made), CONVERTER)
        return
    if not isinstance(made, tuple) or (count is not None and len(made) != count):
        wanted = f"a tuple of {count or 'its'} types on an operator of several outputs"
        yield Refusal("converter.tuple", wanted, _type_text(made), CONVERTER)
    for use in model.uses(node.name):
        reader = use.node
        if reader is None or not (takes_element(reader) or keeps_order(reader) or orders_effects(reader)):
            message = "a graph output" if reader is None else reader.op
            yield Refusal("converter.tuple", "several outputs read by TupleGetItem only", message, CONVERTER)


def _type_text(made: TensorType | tuple[TensorType | None, ...] | None) -> str:
    return f"({', '.join(map(str, made))})" if isinstance(made, tuple) else str(made)


def _bias(model: Model, node: Node, adapter: Adapter) -> Iterator[Refusal]:
    """The bias of a product: with more than two axes MatMul becomes BatchMatMul, which has no input for it."""
    position = adapter.inputs.get("bias")
    if role(node) is not Role.PRODUCT or position is None or not _given(model, node, position):
        return
    made = model.type_of(node.name)
    if made is None or made.rank != 2:
        yield Refusal("converter.bias", "a bias on a product of two axes", str(made), CONVERTER)


def _custom(model: Model, node: Node) -> Iterator[Refusal]:
    """A `Custom` names its GE operator, whose ports GE compares by name and order, all given ones being required."""
    stored = _stored(model, node)
    lost = sorted(name for name, a in stored.items() if a.type in (_A.DOUBLE, _A.NONE))
    if lost:
        yield Refusal("converter.attribute_type", "no DOUBLE and no NONE beside others", ", ".join(lost), CONVERTER)
    foreign = sorted({"type", "func_type", "func_name"} & stored.keys())
    if foreign:
        yield Refusal("converter.attribute", "only reg_op_name as the operator's name", ", ".join(foreign), CONVERTER)
    named = stored.get("reg_op_name")
    name = "" if named is None else named.s.decode("utf-8", "replace")
    prototype = tables().prototypes.get(name)
    if prototype is None:
        yield Refusal("converter.adapter", "a reg_op_name whose prototype is known", name or "none", CONVERTER)
        return
    given, made = (_texts(stored.get(key)) for key in ("input_names", "output_names"))
    required = tuple(port.name for port in prototype.inputs if port.required)
    if given != required or len(node.inputs) != len(required):
        yield Refusal("converter.input", f"the input_names {', '.join(required)}", ", ".join(given), CONVERTER)
    outputs = tuple(port.name for port in prototype.outputs)
    if made != outputs:
        yield Refusal("converter.tuple", f"the output_names {', '.join(outputs)}", ", ".join(made), CONVERTER)
    yield from _taken_apart(model, node, len(outputs))
    for missing in sorted(set(prototype.required) - stored.keys()):
        yield Refusal("converter.attribute", f"a value for {name}'s attribute {missing}", "none", CONVERTER)
    for ge, kind in prototype.attributes.items():
        found = stored.get(ge)
        if found is not None and found.type not in _KINDS.get(kind, _ANY_KIND):
            message = _A.AttributeType.Name(found.type)
            yield Refusal("converter.attribute_type", f"{ge} as {_names(_KINDS[kind])}", message, CONVERTER)


def _texts(found: AttributeProto | None) -> tuple[str, ...]:
    """The words of a list: MindSpore writes them into its elements' `strings`."""
    if found is None or found.type not in _SEQUENCES:
        return ()
    words = [word for value in found.values for word in (value.strings or [value.s])]
    return tuple(word.decode("utf-8", "replace") for word in words)
