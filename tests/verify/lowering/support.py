"""Operators in graphs of one node, run by onnxruntime in either arithmetic; arrays that they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT32, DType
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.weights import stored_weights
from tests.support.graphs import GraphBuilder, fill_literal, seeded

EXACT, NATIVE = Arithmetic.EXACT, Arithmetic.NATIVE
LOWEST = float(np.finfo(np.float32).min)
Floats: TypeAlias = npt.NDArray[np.float64]
Case: TypeAlias = "tuple[str, list[Array | Literal], Array, DType]"
"""Operator, arguments, what NumPy makes of them, element type of the result."""

TOLERANCES = {EXACT: 1e-13, NATIVE: 3e-6}


def execute(model: Model, inputs: Mapping[str, Array], arithmetic: Arithmetic = EXACT) -> list[npt.NDArray[Any]]:
    """Inputs by their own names."""
    named = {value.name: inputs[value.name.split(":")[1]] for value in model.proto.graph.input}
    return run(lower(model, arithmetic), named, stored_weights(model.proto, Path("/none/x.mindir")))


def one(
    op: str,
    arguments: Sequence[Array | Literal],
    dims: Sequence[int],
    dtype: DType = FLOAT32,
    arithmetic: Arithmetic = EXACT,
    attributes: dict[str, Literal] | None = None,
) -> npt.NDArray[Any]:
    """One operator: arrays become inputs, everything else constants."""
    g = GraphBuilder("one")
    inputs: dict[str, Array] = {}
    values = []
    for i, argument in enumerate(arguments):
        if isinstance(argument, np.ndarray):
            kind = dtypes.of_array(argument)
            values.append(g.input(f"a{i}", argument.shape, kind))
            inputs[f"a{i}"] = argument
        else:
            values.append(g.constant(argument))
    g.output(g.node(op, values, TensorType(tuple(dims), dtype)))
    for name, value in (attributes or {}).items():
        fill_literal(g.proto.primitives[-1].attribute.add(name=name), value)
    return execute(g.model(), inputs, arithmetic)[0]


def check(case: Case, arithmetic: Arithmetic) -> None:
    """The operator alone is what NumPy says, in float64 and at its own types."""
    op, arguments, expected, dtype = case
    expected = np.asarray(expected)
    got = one(op, arguments, expected.shape, dtype, arithmetic)
    assert got.shape == expected.shape
    tolerance = TOLERANCES[arithmetic]
    np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64), rtol=tolerance, atol=tolerance)


def f(*dims: int, name: str = "x", scale: float = 1.0) -> npt.NDArray[np.float32]:
    return seeded(name, dims, FLOAT32, scale).astype(np.float32)


def b(*dims: int) -> npt.NDArray[np.bool_]:
    return np.greater(f(*dims, name="b"), 0)


X, Y, P = f(3, 4), f(3, 4, name="y"), np.abs(f(3, 4)) + np.float32(0.5)
N = np.array([[1, 2, 0], [2, 1, 3]], np.int64)
C3 = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
