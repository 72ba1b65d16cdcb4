"""Keys and values that are no computed values: caches that the graph writes, inputs that export made constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BOOL, FLOAT16
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

    def write(self, cache: str, value: str) -> str:
        leaf, tensor_type = f"{self.g.prefix}:{cache}", self.g.type_of(value)
        return self.after(self.g.node("Assign", [leaf, value, self.state], tensor_type, primitive=PRIMITIVE))

    def read(self, cache: str, tensor_type: TensorType = WHOLE) -> str:
        leaf = f"{self.g.prefix}:{cache}"
        return self.after(self.g.node("Load", [leaf, self.state], tensor_type, primitive=PRIMITIVE))

    def copy(self, buffer: str, value: str) -> str:
        """Into memory that is no weight."""
        inputs = [buffer, value, self.g.constant(False), self.state]
        return self.after(self.g.node("InplaceCopy", inputs, WHOLE, primitive=PRIMITIVE))

    def after(self, value: str) -> str:
        self.state = self.g.node("UpdateState", [self.state, value], None, primitive=PRIMITIVE)
        return value

    def scores(self, key: str) -> str:
        return self.g.muls(self.g.batch_matmul(self.inputs["q"], key, transpose_b=True), 0.25)

    def proto(self, scores: str, value: str) -> ModelProto:
        return self.ending(self.g.matmul_ext(self.g.softmax(scores), value))

    def ending(self, result: str) -> ModelProto:
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


def given_by_the_last_writer() -> ModelProto:
    c = Cached()
    c.write("k_cache", c.inputs["v"])
    return c.proto(c.scores(c.write("k_cache", c.inputs["k"])), c.inputs["v"])


def given_by_a_writer() -> ModelProto:
    """What an Assign gives is the memory that the next one changes."""
    c = Cached()
    scores = c.scores(c.write("k_cache", c.inputs["k"]))
    c.write("k_cache", c.inputs["v"])
    return c.proto(scores, c.inputs["v"])


def given_by_a_writer_of_an_input() -> ModelProto:
    c = Cached()
    buffer = c.g.input("buffer", DIMS, FLOAT16)
    scores = c.scores(c.copy(buffer, c.inputs["k"]))
    c.copy(buffer, c.inputs["v"])
    return c.proto(scores, c.inputs["v"])


def beside_the_scores(dims: tuple[int, ...], op: str, *, later: bool) -> ModelProto:
    """A mask or a temperature that is a buffer of the model."""
    c, kind = Cached(), TensorType(dims, FLOAT16)
    c.g.weight("buffer", dims, FLOAT16)
    given = c.g.input("given", dims, FLOAT16)
    scores = c.scores(c.inputs["k"])
    if not later:
        c.write("buffer", given)
    scores = c.g.op(op, scores, c.read("buffer", kind))
    if later:
        c.write("buffer", given)
    return c.proto(scores, c.inputs["v"])


def in_parts(*, later: bool) -> ModelProto:
    """Keys of a cache beside others: joined, they are read where the attention is written."""
    c = Cached()
    g, keys, values = c.g, (c.write("k_cache", c.inputs["k"]), c.inputs["v"]), (c.inputs["v"], c.inputs["k"])
    weights = g.softmax(g.concat([c.scores(key) for key in keys], -1))
    if later:
        c.write("k_cache", c.inputs["v"])
    parts = [g.matmul_ext(g.op("Narrow", weights, -1, 8 * i, 8), value) for i, value in enumerate(values)]
    return c.ending(g.add(*parts))


def filled_in_parts(*, later: bool) -> ModelProto:
    """A mask that is a buffer, of the scores of one part."""
    c = Cached()
    g, kind = c.g, TensorType((2, 1, 8, 8), BOOL)
    g.weight("buffer", kind.dims, BOOL)
    given = g.input("given", kind.dims, BOOL)
    scores = c.scores(c.inputs["k"])
    scores = g.masked_fill(scores, c.write("buffer", given), np.array(-np.inf, np.float16))
    weights = g.softmax(g.concat([scores, c.scores(c.inputs["v"])], -1))
    if later:
        c.write("buffer", g.op("LogicalNot", given))
    parts = [g.matmul_ext(g.op("Narrow", weights, -1, 8 * i, 8), c.inputs[name]) for i, name in enumerate("vk")]
    return c.ending(g.add(*parts))


def scattered(*, later: bool) -> ModelProto:
    """A cache in whose places ScatterNdUpdate writes: what that gives is the memory."""
    c = Cached()
    where = c.g.constant(np.array([[1], [0]], np.int32))
    cache = f"{c.g.prefix}:k_cache"
    c.write("k_cache", c.inputs["v"])

    def scatter(updates: str) -> str:
        return c.after(c.g.node("ScatterNdUpdate", [cache, where, updates, c.state], WHOLE, primitive=PRIMITIVE))

    scores = c.scores(scatter(c.inputs["k"]))
    if later:
        scatter(c.inputs["v"])
    return c.proto(scores, c.inputs["v"])


@pytest.mark.parametrize("make", [in_parts, filled_in_parts, scattered], ids=lambda make: make.__name__)
def test_memory_that_is_read_at_another_place_is_not_written_later(make: Callable[..., ModelProto]) -> None:
    _, (site,) = run(make(later=False), "mindspore")
    assert site.status == "fused", site.reason
    proto = make(later=True)
    model, (site,) = run(proto, "mindspore")
    assert site.status == "missed"
    assert model.proto == proto


BESIDE = pytest.mark.parametrize(("dims", "op"), [((2, 1, 8, 8), "Add"), ((1, 4, 1, 1), "Mul")])


@BESIDE
def test_what_meets_the_scores_is_read_behind_every_write(dims: tuple[int, ...], op: str) -> None:
    _, (site,) = run(beside_the_scores(dims, op, later=False), "mindspore")
    assert site.status == "fused", site.reason
    _, (site,) = run(beside_the_scores(dims, op, later=True), "mindspore")
    assert (site.status, site.code) == ("missed", "safety.mutated")


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize(
    "make", [written_then_read, written_twice, copied, given_by_the_last_writer], ids=lambda make: make.__name__
)
def test_a_cache_that_is_read_behind_every_write_is_a_key(make: Make, runtime: str) -> None:
    proto = make()
    model, (site,) = run(proto, runtime)
    assert (site.status, site.code) == ("fused", "fused"), site.reason
    inputs = {name: seeded(name, DIMS).astype(np.float64) for name in ("q", "k", "v")}
    (after,), (before,) = oracle.run(model, inputs), oracle.run(Model(proto), inputs)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        read_then_written,
        value_read_then_written,
        read_between,
        read_whenever,
        given_by_a_writer,
        given_by_a_writer_of_an_input,
    ],
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
