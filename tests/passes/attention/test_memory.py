"""Keys and values that are no computed values: caches that the graph writes, inputs that export made constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import ModelProto
from tests.support import oracle
from tests.support.graphs import PRIMITIVE, GraphBuilder, seeded
from tests.support.written import refused, run

DIMS = (2, 4, 8, 16)
WHOLE = TensorType(DIMS, FLOAT16)
Make = Callable[[], ModelProto]


class Cached:
    """Attention over caches of keys and values. The state is that behind all reads and writes so far."""

    def __init__(self) -> None:
        self.g = GraphBuilder("cached")
        self.inputs = {name: self.g.input(name, DIMS, FLOAT16) for name in ("q", "k", "v")}
        for name in ("k_cache", "v_cache"):
            self.g.weight(name, DIMS, FLOAT16)
        self.state = self.g.monad()

    def write(self, cache: str, value: str) -> None:
        leaf = f"{self.g.prefix}:{cache}"
        written = self.g.node("Assign", [leaf, value, self.state], WHOLE, primitive=PRIMITIVE)
        self.after(written)

    def read(self, cache: str) -> str:
        read = self.g.node("Load", [f"{self.g.prefix}:{cache}", self.state], WHOLE, primitive=PRIMITIVE)
        self.after(read)
        return read

    def after(self, value: str) -> None:
        self.state = self.g.node("UpdateState", [self.state, value], None, primitive=PRIMITIVE)

    def scores(self, key: str) -> str:
        return self.g.muls(self.g.batch_matmul(self.inputs["q"], key, transpose_b=True), 0.25)

    def proto(self, scores: str, value: str) -> ModelProto:
        result = self.g.matmul_ext(self.g.softmax(scores), value)
        self.g.output(self.g.node("Depend", [result, self.state], WHOLE, primitive=PRIMITIVE))
        return self.g.build()


def written_then_read() -> ModelProto:
    c = Cached()
    c.write("k_cache", c.inputs["k"])
    c.write("v_cache", c.inputs["v"])
    return c.proto(c.scores(c.read("k_cache")), c.read("v_cache"))


def written_twice() -> ModelProto:
    c = Cached()
    c.write("k_cache", c.inputs["v"])
    c.write("k_cache", c.g.muls(c.inputs["k"], 0.5))
    c.write("v_cache", c.inputs["v"])
    value = c.read("v_cache")
    return c.proto(c.scores(c.read("k_cache")), value)


def copied() -> ModelProto:
    c = Cached()
    c.write("k_cache", c.inputs["k"])
    return c.proto(c.scores(c.g.op("TensorMove", c.read("k_cache"))), c.inputs["v"])


def read_then_written() -> ModelProto:
    c = Cached()
    scores = c.scores(c.read("k_cache"))
    c.write("k_cache", c.inputs["k"])
    return c.proto(scores, c.inputs["v"])


def value_read_then_written() -> ModelProto:
    c = Cached()
    value = c.read("v_cache")
    c.write("v_cache", c.inputs["v"])
    return c.proto(c.scores(c.inputs["k"]), value)


def read_between() -> ModelProto:
    c = Cached()
    c.write("k_cache", c.inputs["k"])
    scores = c.scores(c.read("k_cache"))
    c.write("k_cache", c.inputs["v"])
    return c.proto(scores, c.inputs["v"])


def read_whenever() -> ModelProto:
    """The memory itself, and not what a Load finds in it."""
    c = Cached()
    c.write("k_cache", c.inputs["k"])
    operands = [c.inputs["q"], f"{c.g.prefix}:k_cache", c.g.constant(False), c.g.constant(True)]
    return c.proto(c.g.node("BatchMatMul", operands, TensorType((2, 4, 8, 8), FLOAT16)), c.inputs["v"])


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize("make", [written_then_read, written_twice, copied], ids=lambda make: make.__name__)
def test_a_cache_that_is_read_behind_every_write_is_a_key(make: Make, runtime: str) -> None:
    proto = make()
    model, (site,) = run(proto, runtime)
    assert (site.status, site.code) == ("fused", "fused"), site.reason
    inputs = {name: seeded(name, DIMS).astype(np.float64) for name in ("q", "k", "v")}
    (after,), (before,) = oracle.run(model, inputs), oracle.run(Model(proto), inputs)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [read_then_written, value_read_then_written, read_between, read_whenever],
    ids=lambda make: make.__name__,
)
def test_a_cache_that_may_be_written_later_is_missed(make: Make) -> None:
    proto = make()
    model, (site,) = run(proto, "mindspore")
    assert (site.status, site.code) == ("missed", "safety.mutated")
    assert model.proto == proto


def frozen(query: Sequence[int], key: Sequence[int], *, same: bool = False) -> ModelProto:
    """Keys and values that are constants."""
    g = GraphBuilder("frozen")
    keys, values = (seeded(name, key, FLOAT16) for name in ("keys", "keys" if same else "values"))
    order = (*range(len(key) - 2), len(key) - 1, len(key) - 2)
    scores = g.muls(g.matmul_ext(g.input("q", query, FLOAT16), g.transpose(g.constant(keys), order)), 0.25)
    g.output(g.matmul_ext(g.softmax(scores), g.constant(values)))
    return g.build()


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize(
    ("query", "key"), [((2, 4, 8, 16), (2, 4, 10, 16)), ((2, 8, 16), (2, 10, 16)), ((8, 16), (10, 16))]
)
def test_constants_that_were_inputs_are_keys_and_values(query: Sequence[int], key: Sequence[int], runtime: str) -> None:
    proto = frozen(query, key)
    model, (site,) = run(proto, runtime)
    assert site.status == "fused", site.reason
    inputs = {"q": seeded("q", query).astype(np.float64)}
    (after,), (before,) = oracle.run(model, inputs), oracle.run(Model(proto), inputs)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("query", "same"), [((2, 8, 16), False), ((8, 16), True)], ids=["shared", "codebook"])
def test_constant_matrices_are_layers(query: Sequence[int], same: bool) -> None:
    _, (site,) = run(frozen(query, (10, 16), same=same), "mindspore")
    assert (site.status, site.code) == ("not_attention", "anchor.key_is_weight")


def test_a_weight_that_nothing_writes_is_a_layer() -> None:
    text = "q: float16[8, 16]; w: parameter float16[10, 16]; v: float16[10, 16]\n"
    made = text + "MatMulExt(Softmax(BatchMatMul(q, w, False, True), (-1,)), v)"
    assert refused(made) == ("not_attention", "anchor.key_is_weight")
