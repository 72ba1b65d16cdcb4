"""Which batch indices are heads, and which heads key and value share: read off the graph's own layouts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.mindir.schema import ModelProto
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, seeded

B, N, S, T, D = 2, 3, 4, 5, 16
Operand = Callable[[GraphBuilder, str, int], str]


def numbers(proto: ModelProto) -> dict[str, oracle.Array]:
    made: dict[str, oracle.Array] = {}
    for value in proto.graph.input:
        name, dims = value.name.rsplit(":", 1)[-1], tuple(value.tensor[0].dims)
        made[name] = seeded(name, dims).astype(np.float64)
        if value.tensor[0].data_type == dtypes.BOOL.wire:
            made[name] = made[name] > 1.2
    return made


def fused(g: GraphBuilder, runtime: str = "mindspore", within: float = 1e-5) -> SiteRecord:
    """The record of the only site, fused with the formula's numbers."""
    proto = g.build()
    after = ModelProto()
    after.CopyFrom(proto)
    model = Model(after)
    (site,) = fuse(model, runtime)
    assert site.status == "fused", site.reason
    inputs = numbers(proto)
    np.testing.assert_allclose(oracle.run(model, inputs)[0], oracle.run(Model(proto), inputs)[0], atol=within)
    return site


def attention(query: Operand, key: Operand, value: Operand | None = None, *, change: bool = False) -> GraphBuilder:
    """softmax(0.25 · Q Kᵀ) V of three operands; `change` takes the scores through [B, N, S, T] for a mask."""
    g = GraphBuilder()
    q, k, v = query(g, "q", S), key(g, "k", T), (value or key)(g, "v", T)
    scores = g.muls(g.batch_matmul(q, k, transpose_b=True), 0.25)
    if change:
        dims = g.dims(scores)
        masked = g.add(g.reshape(scores, (B, N, S, T)), g.input("mask", (S, T), FLOAT16))
        scores = g.reshape(masked, dims)
    g.output(g.matmul_ext(g.softmax(scores), v))
    return g


def bnsd(g: GraphBuilder, name: str, length: int) -> str:
    return g.input(name, (B, N, length, D), FLOAT16)


def folded(g: GraphBuilder, name: str, length: int) -> str:
    """[batch · heads, length, D], as the graph gets it."""
    return g.input(name, (B * N, length, D), FLOAT16)


def folded_late(g: GraphBuilder, name: str, length: int) -> str:
    """[batch, heads, length, D], folded on the way to the product."""
    return g.reshape(bnsd(g, name, length), (B * N, length, D))


def one_for_all_rows(g: GraphBuilder, name: str, length: int) -> str:
    return g.broadcast_to(g.input(name, (B * N, 1, D), FLOAT16), (B * N, length, D))


def one_for_the_whole_head(g: GraphBuilder, name: str, length: int) -> str:
    return g.broadcast_to(g.input(name, (B * N, length, 1), FLOAT16), (B * N, length, D))


def narrow(g: GraphBuilder, name: str, length: int) -> str:
    """A head of one element, which has no index."""
    return g.input(name, (B * N, length, 1), FLOAT16)


def from_projection(g: GraphBuilder, name: str, length: int) -> str:
    """[B, S, N·D], taken apart and folded by one transposition."""
    x = g.transpose(g.reshape(g.input(name, (B, length, N * D), FLOAT16), (B, length, N, D)), (0, 2, 1, 3))
    return g.reshape(x, (B * N, length, D))


def scaled_first(g: GraphBuilder, name: str, length: int) -> str:
    """The factor hides the layouts behind it, so only the source tells."""
    return g.muls(from_projection(g, name, length), 0.5)


def from_sequence_first(g: GraphBuilder, name: str, length: int) -> str:
    """[S, B, N·D]: batch and heads stand between rows and head size alike."""
    x = g.transpose(g.reshape(g.input(name, (length, B, N * D), FLOAT16), (length, B * N, D)), (1, 0, 2))
    return g.muls(x, 0.5)


@pytest.mark.parametrize(
    ("graph", "layout", "lead"),
    [
        (lambda: attention(bnsd, bnsd), "BNSD", (B, N)),
        (lambda: attention(from_projection, folded), "BNSD", (B, N)),
        (lambda: attention(folded_late, folded), "BNSD", (B, N)),
        (lambda: attention(scaled_first, folded), "BNSD", (B, N)),
        (lambda: attention(folded, folded, change=True), "BNSD", (B, N)),
        (lambda: attention(folded, folded), "BSH", (B * N,)),
        (lambda: attention(one_for_all_rows, folded), "BSH", (B * N,)),
        (lambda: attention(one_for_the_whole_head, folded), "BSH", (B * N,)),
        (lambda: attention(narrow, narrow), "BSH", (B * N,)),
        (lambda: attention(folded, from_projection), "BSH", (B * N,)),
        (lambda: attention(from_sequence_first, folded), "BNSD", (1, B * N)),
    ],
    ids=[
        "4-D",
        "query's layout",
        "query's own",
        "query's source",
        "scores",
        "nothing",
        "one row",
        "one column",
        "narrow",
        "key alone",
        "sequence first",
    ],
)
@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
def test_where_heads_show(graph: Callable[[], GraphBuilder], layout: str, lead: tuple[int, ...], runtime: str) -> None:
    site = fused(graph(), runtime, 0.01)
    assert site.layout == layout
    assert site.query_shape is not None
    assert site.query_shape[: len(lead)] == lead


def shared(heads: int, *, tiled: bool = False, batch: int = B) -> Operand:
    """Key or value with fewer heads (or a batch of one), repeated to [B, N', T, D]."""

    def operand(g: GraphBuilder, name: str, length: int) -> str:
        x = g.input(name, (batch, heads, length, D), FLOAT16)
        if batch == 1:
            x = g.broadcast_to(x, (B, heads, length, D))
        if heads == 6:
            return x
        return g.tile(x, (1, 6 // heads, 1, 1)) if tiled else g.repeat_interleave(x, 6 // heads, 1)

    return operand


def six(g: GraphBuilder, name: str, length: int) -> str:
    return g.input(name, (B, 6, length, D), FLOAT16)


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
@pytest.mark.parametrize(
    ("key", "value", "kv_heads"),
    [
        (shared(6), shared(6), 6),
        (shared(2), shared(2), 2),
        (shared(3), shared(3), 3),
        (shared(1), shared(1), 1),
        (shared(1, tiled=True), shared(1, tiled=True), 1),  # one head is repeated alike either way
        (shared(2), shared(6), 6),  # value has heads of its own
        (shared(1), shared(2), 2),
        (shared(2, tiled=True), shared(2, tiled=True), 6),  # head h reads head h % 2: not what grouping means
        (shared(2, batch=1), shared(2), 2),  # key is one for the whole batch, and written out for it
    ],
)
def test_heads_of_key_and_value(key: Operand, value: Operand, kv_heads: int, runtime: str) -> None:
    site = fused(attention(six, key, value), runtime)
    assert site.query_shape is not None
    assert site.key_shape is not None
    assert site.query_shape[:2] == (B, 6)
    assert site.key_shape[:2] == (B, kv_heads)
    assert site.value_shape == site.key_shape


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
def test_groups_as_an_axis_of_their_own(runtime: str) -> None:
    """Query [B, key heads, group, S, D] against key [B, key heads, 1, D, T]: no repetition is ever written."""
    g = GraphBuilder()
    x = g.reshape(g.input("q", (B, S, 6 * D), FLOAT16), (B, S, 2, 3, D))
    q = g.transpose(x, (0, 2, 3, 1, 4))
    k, v = (g.input(name, (B, 2, 1, T, D), FLOAT16) for name in "kv")
    g.output(g.matmul_ext(g.softmax(g.batch_matmul(q, k, transpose_b=True)), v))
    site = fused(g, runtime)
    assert site.query_shape is not None
    assert site.key_shape is not None
    assert (site.query_shape[:2], site.key_shape[:2]) == ((B, 6), (B, 2))


def test_heads_that_are_grouped_in_two_ways_at_once() -> None:
    """3 · 2 and 2 · 3 have no common refinement: a failure, and no wrong guess."""
    proto = attention(six, shared(2, tiled=True), shared(2)).build()
    (site,) = fuse(Model(proto))
    assert site.code == "structure.batch"


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
def test_a_product_that_broadcasts_the_key_head(runtime: str) -> None:
    g = GraphBuilder()
    q, k, v = (g.input(n, (B, h, s, D), FLOAT16) for n, h, s in (("q", N, S), ("k", 1, T), ("v", 1, T)))
    g.output(g.matmul_ext(g.softmax(g.batch_matmul(q, k, transpose_b=True)), v))
    site = fused(g, runtime)
    assert site.key_shape is not None
    assert site.key_shape[:2] == (B, 1)


@pytest.mark.parametrize("guard", [-np.inf, -65504.0])
@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
def test_rows_without_keys_under_shared_heads(guard: float, runtime: str) -> None:
    """The mean that stands in for such a row is that of the query head's own key head."""
    g = GraphBuilder()
    q, k, v = six(g, "q", S), shared(2)(g, "k", T), shared(2)(g, "v", T)
    mask = g.input("mask", (B, 1, S, 1), dtypes.BOOL)
    scores = g.masked_fill(g.batch_matmul(q, k, transpose_b=True), mask, np.array(guard, np.float16))
    g.output(g.matmul_ext(g.softmax(scores), v))
    assert fused(g, runtime).fully_masked_rows == ("nan" if np.isinf(guard) else "mean")
