"""Small float32 models of which one attention's scores overflow float16, and what tunes them in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attnfuse.compiler import CompileRequest
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.policy import Policy
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
    for site in at:
        scale(g, site, to_q=3000.0, to_k=30.0)
    return g


def scale(g: GraphBuilder, site: int, **gains: float) -> None:
    """Make weights of an attention so many times as large."""
    for parameter in g.graph.parameter:
        for operand, gain in gains.items():
            if parameter.name.endswith(f":blocks.{site // 2}.attn{site % 2 + 1}.{operand}.weight"):
                values = np.frombuffer(parameter.raw_data, np.float32) * np.float32(gain)
                parameter.raw_data = values.tobytes()


def overflowing_on_large_inputs() -> GraphBuilder:
    """Of drawn inputs all scores are small; on inputs that are some hundred times as large those of the second
    attention are beyond float16, and no other's."""
    g = transformer(sites=4, length=LENGTH, dtype=FLOAT32)
    for site in (0, 2, 3):
        scale(g, site, to_q=1e-4)
    return g


def tune(
    source: Path,
    budget: float,
    *,
    target: Target = FAST_ALONE,
    cache: Path | None = None,
    data: Path | None = None,
    said: list[str] | None = None,
    component: str | None = None,
    dtype: str | None = None,
    shapes: ShapeOptions | None = None,
    policy: Policy | None = None,
) -> Tuning:
    """What `attnfuse tune` finds of a graph, or of a component of a pipeline."""
    request = CompileRequest(
        source=str(source),
        target=target,
        components=() if component is None else (component,),
        dtype=dtype,
        shapes=shapes or ShapeOptions(),
        cache=cache,
        policy=policy or Policy(),
    )
    return jobs.tune_source(
        request,
        budget=budget,
        seed=0,
        data=data,
        tell=([] if said is None else said).append,
        progress=Silent(),
    )
