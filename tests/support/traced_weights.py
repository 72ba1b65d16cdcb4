"""Stands in for the tracing of models: graphs that take weights of a checkpoint, from where they are said to lie."""

from __future__ import annotations

from pathlib import Path

from attnfuse.mindir import dtypes
from attnfuse.tracing.contract import ComponentPlan, StoredWeight, TensorSpec, TracedComponent
from attnfuse.tracing.original import tensors_of
from tests.support.graphs import GraphBuilder


def trace(plan: ComponentPlan, work: Path) -> TracedComponent:
    """Stands for `runner.trace_component`: the sum of some weights, each in the type of the plan."""
    dtype = dtypes.from_name(plan.dtype)
    found = sorted(tensors_of(plan).items())
    tensors = dict(found[:: max(1, len(found) // 12)])
    g = GraphBuilder(plan.name, weights=False)
    total = g.input("x", (1,), dtype)
    for name, one in tensors.items():
        total = g.add(total, g.op("ReduceSum", g.weight(name, one.shape, dtype), (), False))
    g.output(total)
    graph = work.resolve() / "graph.mindir"
    graph.write_bytes(g.build().SerializeToString(deterministic=True))
    weights = tuple(
        StoredWeight(name, one.file.resolve(), one.key, plan.dtype, one.shape, one.taken)
        for name, one in tensors.items()
    )
    outputs = (TensorSpec("total", (1,), plan.dtype),)
    return TracedComponent(plan, graph, weights, outputs, {"mindspore": "2.7.1"}, 1.0, 2**20)
