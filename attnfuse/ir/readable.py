"""Whether what a file declares can be read at all: sizes a tensor can have, and bytes that are as many as they say.

The first check of a source, before anything is computed from its numbers. What agrees with what is the
operators' matter: see `attnfuse.ir.check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from itertools import chain

from attnfuse.ir.graph import CONSTANT, Model, Node, attribute, shape_fault, short_name
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import AttributeProto, TensorProto


def unreadable_leaves(model: Model, touched: Set[str] | None = None) -> Iterator[str]:
    """What is wrong with the shapes of inputs, outputs and weights, a sentence each that names the value.

    With `touched`, of weights only those.
    """
    weights = model.parameters() if touched is None else model.weights_among(touched)
    for parameter in weights:
        if (message := _fault(parameter)) is not None:
            yield f"parameter {_leaf(parameter.name)} {message}."
    for graph in model.graphs:
        for what, values in (("input", graph.input), ("output", graph.output)):
            for value in values:
                for tensor in (*value.tensor, *(_tensors(value.attr_info) if value.HasField("attr_info") else ())):
                    if (message := _fault(tensor)) is not None:
                        yield f"{what} {_leaf(value.name)} {message}."


def unreadable_node(node: Node) -> str | None:
    """What is wrong with the type of the node's result, or with a constant's value: a sentence without its subject."""
    declared = attribute(node.proto, "value" if node.op == CONSTANT else "shape")
    if declared is None:
        return None
    for tensor in _tensors(declared):
        message = _fault(tensor) or (_wrong_bytes(tensor) if node.op == CONSTANT else None)
        if message is not None:
            return message
    return None


def _leaf(name: str) -> str:
    """The name of a leaf without its graph's, which precedes it."""
    return short_name(name.partition(":")[2] or name)


def _fault(tensor: TensorProto) -> str | None:
    fault = shape_fault(tuple(tensor.dims), dtypes.from_wire(tensor.data_type))
    return None if fault is None else f"is declared a tensor of {fault}"


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


def _tensors(declared: AttributeProto) -> Iterable[TensorProto]:
    """Of a type or constant, and of its elements."""
    return chain(declared.tensors, *map(_tensors, declared.values)) if len(declared.values) else declared.tensors
