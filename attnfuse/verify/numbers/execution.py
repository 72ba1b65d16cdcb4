"""Running a lowered graph in onnxruntime, with weights fed from where they lie.

Weights are inputs of the ONNX model in the type they are stored in and are converted inside it, each just before
its use: a float64 run of a large model needs its weights in float64 one at a time, not all at once. No optimiser
of onnxruntime runs: it fuses attention of its own accord, with a scale it assumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from attnfuse.errors import VerificationError
from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.verify.lowering import Lowered
from attnfuse.verify.lowering.arithmetic import onnx_type
from attnfuse.verify.names import leaf_name
from attnfuse.verify.numbers.weights import WeightProvider


class Executable:
    """A lowered graph as onnxruntime holds it, to be run any number of times."""

    def __init__(self, lowered: Lowered) -> None:
        """Raises VerificationError where onnxruntime does not take it."""
        self._feeds = lowered.feeds
        try:
            self._session = onnxruntime.InferenceSession(
                lowered.model.SerializeToString(), _options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _failed(error) from None

    def run(self, inputs: Mapping[str, Array], weights: WeightProvider) -> list[Array]:
        """The outputs, float32 or float64 where they are floating-point.

        `inputs` are by MindIR name. Raises VerificationError where a value is missing or onnxruntime fails.
        """
        feeds: dict[str, Any] = {}
        for feed in self._feeds:
            value = inputs.get(feed.value) if feed.parameter is None else weights(feed.parameter)
            if value is None:
                raise VerificationError(
                    f"{leaf_name(feed.value)} has no value to run with; export the model with weights."
                )
            feeds[feed.name] = _ort_value(value)
        try:
            results: list[Array] = self._session.run_with_ort_values(
                [o.name for o in self._session.get_outputs()], feeds
            )
            return [np.asarray(r.numpy()) for r in results]  # type: ignore[attr-defined]
        except Exception as error:
            raise _failed(error) from None


def run(lowered: Lowered, inputs: Mapping[str, Array], weights: WeightProvider) -> list[Array]:
    """The outputs of a graph that is run once, as `Executable.run` gives them; nothing of it is held afterwards."""
    return Executable(lowered).run(inputs, weights)


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # In the order the nodes were written. The default order goes back from the output, and converts every weight
    # before it computes anything: a float64 run would hold them all.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    # The arena keeps what it once took and grows by doubling; single tensors here are gigabytes.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # A buffer that a later value of the same size will use is otherwise kept until then: all sizes at their largest.
    options.enable_mem_reuse = False
    # Threads that wait would otherwise spin: for a graph of few nodes that costs more than the graph, and what runs
    # beside this process goes without.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # its message reaches the caller as an exception
    return options


def _failed(error: Exception) -> VerificationError:
    """onnxruntime's message as one sentence: its exceptions have no common base but Exception."""
    first = str(error).strip().splitlines()[0][:400]
    return VerificationError(f"onnxruntime cannot run the lowered graph: {first}")


def _ort_value(array: Array) -> onnxruntime.OrtValue:
    """Shares the array's memory where it is contiguous, as weights in a file are."""
    array = np.ascontiguousarray(array) if array.ndim else array
    if array.dtype == dtypes.BFLOAT16.numpy:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
            array.view(np.uint16), onnx_type(dtypes.BFLOAT16)
        )
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)
