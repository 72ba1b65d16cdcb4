"""Small float32 models of which one attention's scores overflow float16, and what tunes them in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attnfuse.compiler import CompileRequest, loaded
from attnfuse.incremental import Incremental
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.progress import Silent
from attnfuse.targets import Target
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tuning import jobs
from attnfuse.tuning.result import Tuning
from tests.support.graphs import GraphBuilder, transformer

FAST_ALONE = Target("lite", "ascend310p")
"""A SoC whose fused node has its scores in float16 and nothing else."""
LENGTH = 64


def overflowing(*, sites: int = 4, at: Sequence[int] = (1,), length: int = LENGTH, heads: int = 4) -> GraphBuilder:
    """Alternately self and cross attention in float32; at these the scores are far above 65504, query and key below."""
    g = transformer(sites=sites, length=length, heads=heads, dtype=FLOAT32)
    for parameter in g.graph.parameter:
        for site in at:
            for operand, gain in (("to_q", 3000.0), ("to_k", 30.0)):
                if parameter.name.endswith(f":blocks.{site // 2}.attn{site % 2 + 1}.{operand}.weight"):
                    values = np.frombuffer(parameter.raw_data, np.float32) * np.float32(gain)
                    parameter.raw_data = values.tobytes()
    return g


def tune(
    source: Path,
    budget: float,
    work: Path,
    *,
    target: Target = FAST_ALONE,
    cache: Path | None = None,
    data: Sequence[Path] = (),
    said: list[str] | None = None,
    component: str | None = None,
    dtype: str | None = None,
    shapes: ShapeOptions | None = None,
) -> Tuning:
    """What `attnfuse tune` finds of a graph, or of a component of a pipeline."""
    values = work / "values"
    values.mkdir(parents=True)
    request = CompileRequest(
        source=str(source),
        target=target,
        components=() if component is None else (component,),
        dtype=dtype,
        shapes=shapes or ShapeOptions(),
        cache=cache,
    )
    with loaded(request, work, Silent()) as opened:
        return jobs.tune(
            opened.components,
            jobs.Request(
                target=target,
                passes=opened.passes,
                budget=budget,
                seed=0,
                data=dict.fromkeys(opened.names, data) if data else {},
                known=Incremental(cache),
                work=values,
                tell=([] if said is None else said).append,
                progress=Silent(),
            ),
        )
