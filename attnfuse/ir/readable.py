"""Whether what a file declares can be read at all: sizes a tensor can have, and bytes that are as many as they say.

The first thing a source is held to, before anything is computed from its numbers. What agrees with what is the
operators' matter: see `attnfuse.ir.check`. May import `attnfuse.graph` and `attnfuse.mindir`.
"""

from __future__ import annotations

from collections.abc import Iterator

from attnfuse.graph import CONSTANT, Model, Node, attribute, shape_fault, short_name
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import AttributeProto, TensorProto


def unreadable(model: Model) -> Iterator[str]:
    """What is wrong with the shapes and constants of the file, a sentence each that names the value."""
    for graph in model.graphs:
        for parameter in graph.parameter:
            yield from _told(f"parameter {_leaf(parameter.name)}", parameter)
        for what, values in (("input", graph.input), ("output", graph.output)):
            for value in values:
                for tensor in (*value.tensor, *_tensors(value.attr_info)):
                    yield from _told(f"{what} {_leaf(value.name)}", tensor)
    for node in model.nodes:
        yield from _of_node(node)


def _leaf(name: str) -> str:
    """The name of a leaf without its graph's, which precedes it."""
    return short_name(name.partition(":")[2] or name)


def _of_node(node: Node) -> Iterator[str]:
    where = f"{node.op} {short_name(node.name)}"
    shape = attribute(node.proto, "value" if node.op == CONSTANT else "shape")
    if shape is None:
        return
    for tensor in _tensors(shape):
        yield from _told(where, tensor)
        if node.op == CONSTANT and (problem := _wrong_bytes(tensor)) is not None:
            yield f"{where} {problem}."


def _told(where: str, tensor: TensorProto) -> Iterator[str]:
    fault = shape_fault(tensor.dims, dtypes.from_wire(tensor.data_type))
    if fault is not None:
        yield f"{where} is declared a tensor of {fault}."


def _wrong_bytes(tensor: TensorProto) -> str | None:
    dtype = dtypes.from_wire(tensor.data_type)
    if dtype is None or not tensor.raw_data or any(dim < 0 for dim in tensor.dims):
        return None
    wanted = dtype.itemsize
    for dim in tensor.dims:
        wanted *= dim
    if wanted == len(tensor.raw_data):
        return None
    return f"is declared {dtype}{list(tensor.dims)}, which takes {wanted} bytes, and holds {len(tensor.raw_data)}"


def _tensors(declared: AttributeProto) -> Iterator[TensorProto]:
    """Of a type or constant, and of its elements."""
    yield from declared.tensors
    for element in declared.values:
        yield from _tensors(element)
