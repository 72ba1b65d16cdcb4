"""Scores scaled in place, as MindSpore 2.10 writes `scores *= c`: fused if nobody else reads what was changed."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import ModelProto
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import PRIMITIVE, GraphBuilder, operators, seeded

DIMS = (2, 4, 16, 16)


class InPlace:
    """softmax(scores)·V, where an in-place operator gets a number before a Load reads its result."""

    def __init__(self, op: str = "InplaceMuls", number: float = 0.25, *, on_query: bool = False) -> None:
        self.g = g = GraphBuilder("unet")
        query, key, value = (g.input(name, DIMS, FLOAT16) for name in ("query", "key", "value"))
        # A query of the graph's own, so that what is changed in place belongs to nobody outside.
        query = g.mul(query, query)
        if on_query:
            scores = g.batch_matmul(self._changed(query, op, number), key, transpose_b=True)
        else:
            scores = self._changed(g.batch_matmul(query, key, transpose_b=True), op, number)
        g.output(g.batch_matmul(g.softmax(scores), value))

    def _changed(self, buffer: str, op: str, number: float) -> str:
        g = self.g
        self.buffer = buffer
        self.result = g.node(op, [buffer, g.constant(number), g.monad()], g.type_of(buffer))
        self.state = g.node("UpdateState", [g.monad(), self.result], None, primitive=PRIMITIVE)
        return self.load(self.result)

    def load(self, value: str) -> str:
        """Read the value after the effect."""
        return self.g.node("Load", [value, self.state], self.g.type_of(value), primitive=PRIMITIVE)


def numbers(proto: ModelProto) -> list[oracle.Array]:
    inputs = {name: seeded(name, DIMS, FLOAT16).astype(np.float64) for name in ("query", "key", "value")}
    return oracle.run(Model(proto), inputs)


def copied(proto: ModelProto) -> Model:
    copy = ModelProto()
    copy.CopyFrom(proto)
    return Model(copy)


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
@pytest.mark.parametrize(("op", "number", "scale"), [("InplaceMuls", 0.25, 0.25), ("InplaceDivs", 8.0, 0.125)])
def test_scores_scaled_in_place_are_fused(op: str, number: float, scale: float, runtime: str) -> None:
    proto = InPlace(op, number).g.build()
    model = copied(proto)
    (site,) = fuse(model, runtime)
    assert (site.status, site.scale) == ("fused", scale), (site.code, site.reason)
    assert {op, "Softmax", "Load"}.isdisjoint(operators(model))
    np.testing.assert_allclose(numbers(model.proto), numbers(proto), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("read", ["buffer", "result"])
def test_scores_somebody_else_reads_are_not_fused(read: str) -> None:
    """The other reader sees what was changed, so the change has to stay."""
    case = InPlace()
    value = case.buffer if read == "buffer" else case.result
    case.g.output(case.load(value))
    proto = case.g.build()
    model = copied(proto)
    (site,) = fuse(model)
    assert (site.status, site.code) == ("missed", "safety.scores_escape")
    assert model.proto == proto


def test_a_query_scaled_in_place_is_read_after_the_change() -> None:
    """The Load ends the way back: the change stays, and the fused node gets what it leaves."""
    proto = InPlace(on_query=True).g.build()
    model = copied(proto)
    (site,) = fuse(model)
    assert (site.status, site.scale) == ("fused", 1.0), (site.code, site.reason)
    assert [n for n in operators(model) if n in ("InplaceMuls", "Load")] == ["InplaceMuls", "Load"]
    np.testing.assert_allclose(numbers(model.proto), numbers(proto), rtol=1e-5, atol=1e-5)
