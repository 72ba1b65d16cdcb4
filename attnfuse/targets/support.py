"""Whether the target takes a node as it stands: its operator, and the limits the operator's row states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, NotALiteralError
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.operators.table import operator
from attnfuse.ir.questions import keeps_order, orders_effects, role
from attnfuse.ir.types import TensorType
from attnfuse.mindir.schema import PrimitiveProto
from attnfuse.targets.limits import Target
from attnfuse.targets.operators import OPERATORS, REFUSED, Limit, LimitKind, accepts


def unsupported_reason(target: Target, model: Model, node: Node) -> str | None:
    """Why the target does not take the node as it stands, or None where it does.

    Constants are data, not operators: every runtime takes them. What is not known (a type this project does not
    compute with, a shape) is no proof that a limit is kept, and refused.
    """
    if node.op == CONSTANT or target.runtime != "lite":
        return None
    if not accepts(target, node.op):
        refused = REFUSED.get(node.op)
        return "no adapter is known for it" if refused is None else refused.why
    for limit in OPERATORS[node.op].limits:
        message = _CHECKS[limit.kind](model, node, limit)
        if message is not None:
            return message
    return None


def unsupported_type(target: Target, model: Model, node: Node) -> str | None:
    """Why the SoC does not compute the node, of whatever runtime: it takes or gives a type that is not there.

    What moves nothing (tuples, order) has no kernel, and constants are data.
    """
    if node.op in (CALL, CONSTANT) or role(node) is Role.TUPLE or keeps_order(node) or orders_effects(node):
        return None
    for value in (*node.inputs, node.name):
        types = model.types_of(value)
        for tensor_type in types if isinstance(types, tuple) else (types,):
            if tensor_type is not None and target.lacks(tensor_type.dtype.name):
                return target.cure_of(tensor_type.dtype.name)
    return None


def _constant(model: Model, node: Node, limit: Limit) -> str | None:
    for name, value in _arguments(model, node, limit):
        if not model.is_literal(value):
            return f"its argument {name} is computed, and MindSpore Lite drops it"
    return None


def _only(model: Model, node: Node, limit: Limit) -> str | None:
    for name, value in _arguments(model, node, limit):
        try:
            literal = model.literal(value)
        except NotALiteralError:
            literal = None
        # Numbers of a file are float32: 1e-6 is read back as 9.99999997e-07.
        same = isinstance(literal, bool | int | float) and np.float32(literal) == np.float32(limit.value)  # type: ignore[arg-type]
        if not same:
            return f"MindSpore Lite loses its argument {name}, which is not {limit.value}"
    return None


def _only_of_a_function(model: Model, node: Node, limit: Limit) -> str | None:
    is_function = model.primitives[node.proto.op_type].prim_type == PrimitiveProto.PRIMITIVE_FUNCTION
    return _only(model, node, limit) if is_function else _constant(model, node, limit)


def _no_empty_list(model: Model, node: Node, limit: Limit) -> str | None:
    for name, value in _arguments(model, node, limit):
        if model.is_literal(value) and np.size(np.asarray(model.literal(value), dtype=object)) == 0:
            return f"its argument {name} is an empty list, which MindSpore and CANN read differently"
    return None


def _no_empty_tensor(model: Model, node: Node, limit: Limit) -> str | None:
    return _no_tensor(model, node, limit, "a tensor without elements", lambda tensor_type: 0 in tensor_type.dims)


def _no_bool(model: Model, node: Node, limit: Limit) -> str | None:
    return _no_tensor(model, node, limit, "a boolean tensor", lambda tensor_type: tensor_type.dtype.name == "bool")


def _no_tensor(model: Model, node: Node, limit: Limit, what: str, is_one: Callable[[TensorType], bool]) -> str | None:
    for name, value in _arguments(model, node, limit):
        types = model.types_of(value)
        for tensor_type in types if isinstance(types, tuple) else (types,):
            if tensor_type is not None and is_one(tensor_type):
                return f"its argument {name} holds {tensor_type}, {what}"
    return None


def _no_minus_one(model: Model, node: Node, limit: Limit) -> str | None:
    for name, value in _arguments(model, node, limit):
        if not model.is_literal(value):
            return f"its argument {name} is computed, and MindSpore Lite drops it"
        if -1 in np.asarray(model.literal(value)).ravel().tolist():
            return f"its argument {name} holds -1, which CANN does not resolve"
    return None


def _made_by(model: Model, node: Node, limit: Limit) -> str | None:
    for name, value in _arguments(model, node, limit):
        producer = model.producer(value)
        if producer is None or producer.op != limit.value:
            return f"its argument {name} is not made by {limit.value}, and MindSpore Lite does not take it apart"
    return None


def _rank(model: Model, node: Node, limit: Limit) -> str | None:
    for name, value in _arguments(model, node, limit):
        tensor_type = model.type_of(value)
        if tensor_type is None or not isinstance(limit.value, tuple) or tensor_type.rank not in limit.value:
            return f"its argument {name} is of rank {'?' if tensor_type is None else tensor_type.rank}"
    return None


def _joins(model: Model, node: Node, limit: Limit) -> str | None:
    """Of four axes it arrives as channels last: harmless only where CANN takes it into the convolution before it.

    Of that operator, without a bias, read by nothing else, of sizes known before run time; what is added is learned.
    """
    values = [value for _, value in _arguments(model, node, limit)]
    types = [model.type_of(value) for value in values]
    if len(values) != 2 or types[0] is None or types[0].rank != 4:
        return None
    (value, bias), (tensor_type, added) = values, types
    assert tensor_type is not None
    before = model.producer(value)
    joined = before is not None and before.op == limit.value and len(before.inputs) == 2 and tensor_type.is_static
    readers = [use for use in model.uses(value) if use.node is None or not orders_effects(use.node)]
    if joined and len(readers) == 1 and added is not None and added.rank == 1 and _is_learned(model, bias):
        return None
    return f"its format is lost, and CANN takes it into no {limit.value} before it"


def _is_learned(model: Model, value: str) -> bool:
    """A weight, or a constant: what is Const in CANN's graph."""
    producer = model.producer(value)
    while producer is not None and (keeps_order(producer) or producer.op in ("Load", "Cast")):
        value = producer.inputs[0]
        producer = model.producer(value)
    return model.is_parameter(value) or (producer is not None and producer.op == CONSTANT)


def _one_shape(model: Model, node: Node, limit: Limit) -> str | None:
    types = [model.type_of(value) for _, value in _arguments(model, node, limit)]
    if any(
        tensor_type is None or not tensor_type.is_static or tensor_type.dims != _dims(types[0]) for tensor_type in types
    ):
        return f"CANN does not broadcast {', '.join(str(tensor_type) for tensor_type in types)}"
    return None


def _dims(tensor_type: TensorType | None) -> tuple[int, ...] | None:
    return None if tensor_type is None else tensor_type.dims


def _one_type(model: Model, node: Node, limit: Limit) -> str | None:
    types = [model.type_of(value) for _, value in _arguments(model, node, limit)]
    if any(tensor_type is None or types[0] is None or tensor_type.dtype != types[0].dtype for tensor_type in types):
        found = ", ".join(str(tensor_type or "a number") for tensor_type in types)
        return f"CANN wants one element type, and finds {found}"
    return None


def _float(model: Model, node: Node, limit: Limit) -> str | None:
    return _element(model, node, limit, lambda tensor_type: tensor_type.dtype.is_float)


def _whole(model: Model, node: Node, limit: Limit) -> str | None:
    return _element(
        model, node, limit, lambda tensor_type: not tensor_type.dtype.is_float and tensor_type.dtype.name != "bool"
    )


def _bool(model: Model, node: Node, limit: Limit) -> str | None:
    return _element(model, node, limit, lambda tensor_type: tensor_type.dtype.name == "bool")


def _no_bfloat16(model: Model, node: Node, limit: Limit) -> str | None:
    return _element(model, node, limit, lambda tensor_type: tensor_type.dtype.name != "bfloat16")


def _element(model: Model, node: Node, limit: Limit, holds: Callable[[TensorType], bool]) -> str | None:
    for name, value in _arguments(model, node, limit):
        tensor_type = model.type_of(value)
        if tensor_type is None or not holds(tensor_type):
            return f"its argument {name} is {tensor_type or 'of no known type'}, which CANN does not compute"
    return None


def _arguments(model: Model, node: Node, limit: Limit) -> list[tuple[str, str]]:
    """Name and value of those there are: others a primitive that is no function keeps as attributes, which arrive."""
    stored = frozenset(a.name for a in model.primitives[node.proto.op_type].attribute)
    signature = operator(node.op).signature.with_attributes(stored)
    positions = ((name, signature.positions[name]) for name in limit.arguments if name not in stored)
    return [(name, node.inputs[at]) for name, at in positions if at < len(node.inputs)]


_CHECKS: dict[LimitKind, Callable[[Model, Node, Limit], str | None]] = {
    "constant": _constant,
    "only": _only,
    "only of a function": _only_of_a_function,
    "no empty list": _no_empty_list,
    "no empty tensor": _no_empty_tensor,
    "no bool": _no_bool,
    "no -1": _no_minus_one,
    "no bfloat16": _no_bfloat16,
    "made by": _made_by,
    "rank": _rank,
    "joins": _joins,
    "one shape": _one_shape,
    "one type": _one_type,
    "float": _float,
    "whole": _whole,
    "bool": _bool,
}
