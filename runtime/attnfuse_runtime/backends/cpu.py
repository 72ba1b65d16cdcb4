"""The executor that attnfuse verifies with: onnxruntime on this machine's CPU, in the types the graph declares.

It says what the graph means, not how a device runs it: a fused node is computed as its documentation says, and float16
as float32 rounded after each operator. Weights are read from where they lie, each when it is needed. Needs
attnfuse[verify], which is imported when the first graph is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attnfuse_runtime.binding import Run
from attnfuse_runtime.errors import BackendError
from attnfuse_runtime.manifest import Component
from attnfuse_runtime.noise import Array


class CpuBackend:
    """Runs graphs of known sizes."""

    def __init__(self, *, exact: bool = False) -> None:
        """`exact` computes in float64 whatever types a graph declares, and gives float64: what it comes to without
        rounding, from inputs that are rounded to the graph's types."""
        self._exact = exact

    def load(self, component: Component) -> Run:
        """Raises BackendError where attnfuse[verify] is missing, or has no meaning for something in the graph."""
        if any(-1 in one.shape for one in component.inputs):
            raise BackendError(
                f"{component.name} is of sizes left open, which the backend 'cpu' does not run; bind it."
            )
        try:
            from attnfuse.errors import AttnfuseError
            from attnfuse.ir.graph import Model
            from attnfuse.mindir import codec
            from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError, lower
            from attnfuse.verify.names import leaf_name
            from attnfuse.verify.numbers.execution import Executable
            from attnfuse.verify.numbers.weights import stored_weights
        except ImportError as error:
            raise BackendError(
                f"the backend 'cpu' needs attnfuse[verify] (Python 3.11), and there is no {error.name}; install it."
            ) from None
        failures = (AttnfuseError, UnsupportedOpError)
        try:
            model = Model(codec.parse(codec.read_bytes(component.graph), str(component.graph)))
            executable = Executable(lower(model, Arithmetic.EXACT if self._exact else Arithmetic.NATIVE))
            weights = stored_weights(model.proto, component.graph)
        except failures as error:
            raise _failed(component, error) from None
        types = {leaf_name(value.name): (value.name, model.type_of(value.name)) for value in model.proto.graph.input}

        def run(inputs: Mapping[str, Array]) -> list[Array]:
            values: dict[str, Array] = {}
            for name, value in inputs.items():
                own, tensor_type = types[name]
                assert tensor_type is not None  # it was lowered
                values[own] = value.astype(tensor_type.dtype.numpy)
            try:
                results = executable.run(values, weights)
            except failures as error:
                raise _failed(component, error) from None
            if self._exact:
                return list(results)
            return [_as_told(one, wanted.dtype) for one, wanted in zip(results, component.outputs)]

        return run


def _as_told(value: Array, dtype: str) -> Array:
    """In the type the graph declares, of which it holds the numbers; bfloat16 stays in float32."""
    return value if dtype == "bfloat16" else value.astype(np.dtype(dtype))


def _failed(component: Component, error: Any) -> BackendError:
    return BackendError(f"{component.name} cannot be run by the backend 'cpu': {error}")
