"""One attention in a graph of its own, plain except for what a test puts at its scores or weights.

It is fused or refused where a test asks:

    case = Site(scores=lambda g, s: g.add(s, g.input("bias", (4, 5), FLOAT16)))
    record = case.fused("lite", bias=np.zeros((4, 5)))
    assert case.refused() == "facts.fully_masked_rows"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnfuse.decisions import Precision, SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import FLOAT16, DType
from attnfuse.mindir.schema import ModelProto
from attnfuse.policy import CastName
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, seeded

Change = Callable[[GraphBuilder, str], str]


def unchanged(g: GraphBuilder, value: str) -> str:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """softmax(0.25 · Q Kᵀ) V over [B, N, S, D], with changes of the scores (after the scale), weights and result."""

    scores: Change = unchanged
    weights: Change = unchanged
    result: Change = unchanged
    query: Change = unchanged
    key: Change = unchanged
    value: Change = unchanged
    softmax: Change = lambda g, s: g.softmax(s)
    dtype: DType = FLOAT16
    batch: int = 2
    heads: int = 2
    query_length: int = 4
    key_length: int = 5
    head_dim: int = 16
    value_head_dim: int = 16
    cast: CastName = "float16"
    no_fully_masked_rows: bool = False
    precision: Precision | None = None
    soc: str = "ascend910b"
    builder: GraphBuilder = field(default_factory=lambda: GraphBuilder("site"))

    def proto(self) -> ModelProto:
        """The graph. Call it once."""
        g, lead = self.builder, (self.batch, self.heads)
        q = self.query(g, g.input("query", (*lead, self.query_length, self.head_dim), self.dtype))
        k = self.key(g, g.input("key", (*lead, self.key_length, self.head_dim), self.dtype))
        v = self.value(g, g.input("value", (*lead, self.key_length, self.value_head_dim), self.dtype))
        scores = self.scores(g, g.muls(g.batch_matmul(q, k, transpose_b=True), 0.25))
        weights = self.weights(g, self.softmax(g, scores))
        g.output(self.result(g, g.matmul_ext(weights, v)))
        return g.build()

    def run(self, proto: ModelProto, runtime: str) -> tuple[Model, list[SiteRecord]]:
        """A copy of the graph with its sites fused, and their records."""
        copy = ModelProto()
        copy.CopyFrom(proto)
        model = Model(copy)
        return model, fuse(
            model,
            runtime,
            self.soc,
            cast=self.cast,
            no_fully_masked_rows=self.no_fully_masked_rows,
            precision=self.precision,
        )

    def fused(self, runtime: str = "mindspore", within: float = 1e-5, **inputs: Any) -> SiteRecord:
        """The record of the one site, which is fused and gives the formula's numbers on these and made-up inputs."""
        proto = self.proto()
        for value in proto.graph.input:
            name = value.name.rsplit(":", 1)[-1]
            if name not in inputs:
                inputs[name] = seeded(name, tuple(value.tensor[0].dims), FLOAT16).astype(np.float64)
        model, (site,) = self.run(proto, runtime)
        assert site.status == "fused", (site.code, site.reason)
        for after, before in zip(oracle.run(model, inputs), oracle.run(Model(proto), inputs), strict=True):
            np.testing.assert_allclose(after, before, rtol=within, atol=within, equal_nan=True)
        return site

    def refused(self, runtime: str = "mindspore") -> str:
        """The code of the one site, which is not fused, in a graph that stays as it was."""
        proto = self.proto()
        model, sites = self.run(proto, runtime)
        assert [site.status != "fused" for site in sites] == [True] * len(sites)
        assert model.proto == proto
        return sites[0].code
