"""Stands in for the tracing process: graphs made by hand, whose weights lie in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attnfuse.mindir.external import parameter_name, parameters
from attnfuse.tracing import runner
from attnfuse.tracing.contract import ComponentPlan, StoredWeight, TensorSpec, TracedComponent
from tests.support.graphs import transformer

Trace = Callable[..., TracedComponent]
"""Traces a plan in a folder: stands for `runner.trace_component`."""

_WEIGHTS = "diffusion_pytorch_model.safetensors"


def stand_in(patch: pytest.MonkeyPatch, trace: Trace) -> None:
    """Have `trace` trace; nothing is begun ahead of it."""
    patch.setattr(runner, "trace_component", lambda plan, work, among: trace(plan, work))
    patch.setattr(runner, "begin", lambda plan, work, among: None)


def write_weights(file: Path) -> None:
    """Write the checkpoint of a model that `Tracer` traces."""
    model = transformer("unet").build()
    values = {parameter_name(p): np.frombuffer(p.raw_data, np.float16).reshape(p.dims) for p in parameters(model)}
    save_file({name: value.copy() for name, value in values.items()}, file)


class Tracer:
    """A graph of two attentions for every plan, whose weights lie in the checkpoint.

    `spill` are parameters whose value it writes itself, as where mindone computes with it.
    """

    def __init__(self) -> None:
        self.traced: list[str] = []
        self.spill: list[str] = []

    def __call__(self, plan: ComponentPlan, work: Path) -> TracedComponent:
        self.traced.append(plan.name)
        work, folder = work.resolve(), plan.folder.resolve()
        model = transformer("unet", weights=False).build()
        names = {parameter_name(p): tuple(p.dims) for p in parameters(model)}
        graph, spilled = work / "graph.mindir", work / "spilled.safetensors"
        graph.write_bytes(model.SerializeToString(deterministic=True))
        if self.spill:
            values = load_file(folder / _WEIGHTS)
            save_file({name: values[name] + 1 for name in self.spill}, spilled)
        weights = [
            StoredWeight(name, spilled if name in self.spill else folder / _WEIGHTS, name, "float32", dims)
            for name, dims in names.items()
        ]
        outputs = (TensorSpec("sample", (2, 24, 64), "float16"),)
        return TracedComponent(plan, graph, tuple(weights), outputs, {"mindspore": "1.0"}, 1.0, 2**20)
