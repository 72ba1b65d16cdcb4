"""The examples of identities, programs in the text form (`attnfuse.ir.text.program`), as graphs and in numbers.

An example is about the node that makes its result. Its type is inferred, unless it is written; so are those of all
others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.text import infer, parse_program
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from tests.support import oracle


@dataclass(frozen=True, slots=True)
class Program:
    """A parsed example and the node that it is about."""

    text: str
    model: Model
    node: Node

    def values(self) -> dict[str, Any]:
        """Every value in float64, by name, on made-up inputs, always the same.

        Floats are normal values, and with them NaN and infinity where the program tests for these; integers are 1.
        """
        random = np.random.default_rng(len(self.text))
        is_tested = any(node.op in ("IsNan", "IsNaN", "IsInf") for node in self.model.nodes)
        inputs = {}
        for value in self.model.proto.graph.input:
            tensor_type = self.model.type_of(value.name)
            if tensor_type is not None:
                made = _numbers(tensor_type, random)
                if is_tested and tensor_type.dtype.is_float:
                    made.flat[:2] = np.nan, np.inf
                inputs[value.name.partition(":")[2]] = made
        return oracle.values(self.model, inputs)


def parse(text: str) -> Program:
    """The program's graph. Raises TextError, for a type that is neither written nor inferred too."""
    model = Model(parse_program(text, infer=infer))
    (output,) = model.proto.graph.output
    node = model.producer(output.name)
    if model.proto.graph.parameter and node is not None:
        node = model.producer(node.inputs[0])  # the result is tied to the reading of weights
    assert node is not None, f"{text!r} has no node"
    return Program(text, model, node)


def _numbers(tensor_type: TensorType, random: np.random.Generator) -> Any:
    if tensor_type.dtype is dtypes.BOOL:
        return random.random(tensor_type.dims) < 0.5
    if not tensor_type.dtype.is_float:
        return np.ones(tensor_type.dims, tensor_type.dtype.numpy)
    return np.asarray(random.standard_normal(tensor_type.dims)).astype(tensor_type.dtype.numpy).astype(np.float64)
