"""Types of results for graphs written as text: what `GraphBuilder` gives a value that its method makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attnfuse.ir.graph import read_literal, tensor_type
from attnfuse.ir.text import Argument
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import AttributeProto
from tests.support.graphs import GraphBuilder, fill_type

_Method = Callable[..., str]

_METHODS: Mapping[str, _Method] = {
    "BatchMatMul": GraphBuilder.batch_matmul,
    "BatchMatMulExt": GraphBuilder.bmm,
    "Baddbmm": GraphBuilder.baddbmm,
    "BroadcastTo": GraphBuilder.broadcast_to,
    "Cast": lambda g, x, number: g.cast(x, dtypes.from_type_id(number) or dtypes.FLOAT32),
    "ExpandDims": GraphBuilder.expand_dims,
    "MaskedFill": GraphBuilder.masked_fill,
    "MatMulExt": GraphBuilder.matmul_ext,
    "RepeatInterleaveInt": lambda g, x, repeats, axis, _size: g.repeat_interleave(x, repeats, axis),
    "Reshape": GraphBuilder.reshape,
    "Select": GraphBuilder.select,
    "Tile": GraphBuilder.tile,
    "Transpose": GraphBuilder.transpose,
}
_BINARY = ("Add", "Sub", "Mul", "Div", "Maximum", "Minimum", "RealDiv")
_COMPARISONS = ("Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "NotEqual")
_SAME = ("Abs", "Adds", "Contiguous", "Divs", "LogicalNot", "Muls", "Neg", "SiLU", "Softmax", "Tanh")


def infer(op: str, arguments: Sequence[Argument], _attributes: object) -> AttributeProto | None:
    """The type of an operator's result; None for an operator that this does not know, or arguments it does not."""
    g = GraphBuilder()
    given: list[Any] = []
    for index, argument in enumerate(arguments):
        kind = _tensor(argument)
        if kind is not None:
            given.append(g.input(f"x{index}", kind.dims, kind.dtype))
        elif argument.value is not None:
            given.append(read_literal(argument.value))
        else:
            return None
    if op in _METHODS:
        result = _METHODS[op](g, *given)
    elif op in _BINARY:
        result = g.binary(op, *given)
    elif op in _COMPARISONS:
        result = g.compare(op, *given)
    elif op in _SAME:
        result = given[0]
    else:
        return None
    proto = AttributeProto()
    fill_type(proto, g.type_of(result))
    return proto


def _tensor(argument: Argument) -> TensorType | None:
    kind = argument.type
    return tensor_type(kind.tensors[0]) if kind is not None and kind.type == AttributeProto.TENSORS else None
