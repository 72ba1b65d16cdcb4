"""Types made to agree: every node is declared what its operator infers from what it is given, as far as it does.

So an edit goes through the graph as it would have gone through MindSpore, and the passes meet it.
"""

from __future__ import annotations

from attnfuse.errors import SourceError
from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, attribute
from attnfuse.ir.operators.arguments import TypeMismatch
from attnfuse.ir.types import TensorType, ValueType, declared_type
from attnfuse.ir.types import agree as types_agree
from attnfuse.ir.values import Values
from attnfuse.mindir import dtypes, external
from attnfuse.mindir.schema import AttributeProto, ModelProto
from tools.fuzz.seeds import WEIGHTS

LARGEST = 1 << 24
"""Bytes of a tensor that is given some."""


def agree(message: ModelProto) -> list[str]:
    """Declare what is inferred; how many nodes that changed, in a line, or nothing."""
    try:
        model = Model(message)
    except SourceError:
        return []
    _fill(message)
    values = Values(model)
    changed = sum(_declare(values, node) for node in model.nodes if node.op not in (CONSTANT, CALL))
    changed += sum(_declare_output(model, index) for index in range(len(message.graph.output)))
    return [f"{changed} types made to agree"] if changed else []


def _fill(message: ModelProto) -> None:
    """Give tensors as many bytes as their types say, zeros where some are missing."""
    held = [p for g in (message.graph, *message.functions) for p in g.parameter if p.raw_data]
    held += [t for n in message.graph.node if n.op_type == CONSTANT for a in n.attribute for t in a.tensors]
    for tensor in held:
        size = external.byte_size(tensor)
        if size is not None and size <= LARGEST and tensor.raw_data:
            tensor.raw_data = tensor.raw_data[:size].ljust(size, b"\0")


def lay_weights(message: ModelProto, known: int) -> int:
    """Give weights beside the graph new places, as far as they may be; the bytes of the file."""
    parameters = list(external.parameters(message))
    sizes = [external.byte_size(parameter) for parameter in parameters]
    if not known or any(size is None or size > LARGEST for size in sizes):
        return known
    return external.lay_out(message, WEIGHTS)


def _declare(values: Values, node: Node) -> bool:
    shape = attribute(node.proto, "shape")
    try:
        value_type = values.infer(node)
    except TypeMismatch:
        return False
    if shape is None or types_agree(value_type, declared_type(shape)):
        return False
    made = AttributeProto(name="shape")
    if not fill_type(made, value_type):
        return False
    shape.CopyFrom(made)
    return True


def _declare_output(model: Model, index: int) -> bool:
    output = model.proto.graph.output[index]
    node = model.producer(output.name)
    shape = None if node is None else attribute(node.proto, "shape")
    given = [leaf.tensor for leaf in model.proto.graph.input if leaf.name == output.name]
    tensors = given[0] if given else [] if shape is None else shape.tensors
    if len(tensors) != 1 or len(output.tensor) != 1 or output.tensor[0] == tensors[0]:
        return False
    output.tensor[0].CopyFrom(tensors[0])
    return True


def fill_type(attribute: AttributeProto, value_type: ValueType) -> bool:
    """Write a tensor's type, or those of a tuple of tensors; False for anything else."""
    if isinstance(value_type, TensorType):
        if value_type.dtype not in dtypes.ALL:
            return False
        attribute.type = AttributeProto.TENSORS
        attribute.tensors.add(data_type=value_type.dtype.wire).dims.extend(value_type.dims)
        return True
    if not isinstance(value_type, tuple):
        return False
    attribute.type = AttributeProto.TUPLE
    return all(fill_type(attribute.values.add(), element) for element in value_type)
