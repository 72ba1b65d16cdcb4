"""Graphs with a softmax that is no attention: nothing is fused, and each site says so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT16, INT64
from attnfuse.mindir.schema import ModelProto
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, seeded
from tests.support.sites import Change, Site

B, S, C, E = 2, 6, 16, 4
Graph = Callable[[GraphBuilder], str]


def sequence(g: GraphBuilder, name: str = "x") -> str:
    return g.input(name, (B, S, C), FLOAT16)


def classifier(g: GraphBuilder) -> str:
    """Probabilities of classes."""
    return g.softmax(g.dense(sequence(g), "head", 10))


def ctc_head(g: GraphBuilder) -> str:
    """Log-probabilities of symbols, over the last axis of a transposed sequence."""
    logits = g.transpose(g.dense(sequence(g), "ctc", 12), (1, 0, 2))
    return g.op("Log", g.softmax(logits))


def mixture_of_experts(g: GraphBuilder) -> str:
    """The k best of the router's probabilities, normalised, weigh the experts' outputs one by one."""
    x = sequence(g)
    probabilities = g.softmax(g.dense(x, "router", E))
    best = TensorType((B, S, 2), FLOAT16)
    chosen = g.node("TopK", [probabilities, g.constant(2)], (best, TensorType(best.dims, INT64)))
    weights = g.tuple_get_item(chosen, 0)
    first = g.strided_slice(weights, (0, 0, 0), (B, S, 1))
    return g.mul(g.dense(x, "expert.0", C), first)


def soft_mixture(g: GraphBuilder) -> str:
    """Every expert for every token: the weights are multiplied with the experts' outputs as a matrix product."""
    x = sequence(g)
    experts = g.reshape(g.dense(x, "experts", E * C), (B, S, E, C))
    weights = g.reshape(g.softmax(g.dense(x, "router", E)), (B, S, 1, E))
    return g.matmul_ext(weights, experts)


def router_of_a_weight(g: GraphBuilder) -> str:
    """As before, the router a bare product with a weight: it looks like Q·Kᵀ, but the key is a weight."""
    x = sequence(g)
    experts = g.reshape(g.dense(x, "experts", E * C), (B * S, E, C))
    scores = g.batch_matmul(g.reshape(x, (B * S, C)), g.weight("router.weight", (E, C), FLOAT16), transpose_b=True)
    return g.matmul_ext(g.reshape(g.softmax(scores), (B * S, 1, E)), experts)


def constant_codebook(g: GraphBuilder) -> str:
    """Distances to constant code words, which are read out again."""
    codes = seeded("codes", (E, C), FLOAT16)
    scores = g.batch_matmul(sequence(g), g.constant(codes), transpose_b=True)
    return g.matmul_ext(g.softmax(scores), g.constant(codes))


def linear_attention(g: GraphBuilder) -> str:
    """softmax(q) · (softmax(kᵀ) · v): no scores between positions are ever made."""
    x = sequence(g)
    q, k, v = (g.dense(x, name, C) for name in ("q", "k", "v"))
    context = g.bmm(g.transpose(g.softmax(k, 1), (0, 2, 1)), v)
    return g.bmm(g.softmax(q), context)


def efficient_attention(g: GraphBuilder) -> str:
    """The same, both softmaxes over the last axis, behind layout changes and a scale."""
    x = sequence(g)
    q, k, v = (g.transpose(g.reshape(g.dense(x, n, C), (B, S, 2, C // 2)), (0, 2, 1, 3)) for n in ("q", "k", "v"))
    keys = g.softmax(g.transpose(g.muls(k, 0.5), (0, 1, 3, 2)))
    return g.matmul_ext(g.softmax(g.muls(q, 0.5)), g.matmul_ext(keys, v))


def channel_softmax(g: GraphBuilder) -> str:
    """A softmax over the channels of an image weighs the image."""
    image = g.input("image", (B, C, 4, 4), FLOAT16)
    return g.mul(image, g.softmax(image, 1))


def gating(g: GraphBuilder) -> str:
    """A softmax gates another branch, element by element."""
    x = sequence(g)
    return g.dense(g.mul(g.softmax(g.dense(x, "gate", C)), g.dense(x, "up", C)), "down", C)


def squeeze_and_excite(g: GraphBuilder) -> str:
    """Channel weights of pooled features."""
    image = g.input("image", (B, C, 4, 4), FLOAT16)
    pooled = g.op("ReduceMean", image, (2, 3), False, dims=(B, C))
    weights = g.softmax(g.dense(g.dense(pooled, "squeeze", 4), "excite", C))
    return g.mul(image, g.reshape(weights, (B, C, 1, 1)))


def distribution_head(g: GraphBuilder) -> str:
    """A box edge as the mean of a distribution over bins: softmax times a constant vector."""
    bins = g.softmax(g.dense(sequence(g), "edges", 8))
    return g.matmul_ext(bins, g.constant(np.arange(8, dtype=np.float16).reshape(8, 1)))


def attention_pooling(g: GraphBuilder) -> str:
    """Weights of positions from one score each: one query, which is a weight of the scoring layer."""
    x = sequence(g)
    weights = g.softmax(g.dense(x, "score", 1), 1)
    return g.bmm(g.transpose(weights, (0, 2, 1)), x)


GRAPHS: list[Graph] = [
    classifier,
    ctc_head,
    mixture_of_experts,
    soft_mixture,
    router_of_a_weight,
    constant_codebook,
    linear_attention,
    efficient_attention,
    channel_softmax,
    gating,
    squeeze_and_excite,
    distribution_head,
    attention_pooling,
]


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.__name__)
def test_nothing_is_fused(graph: Graph, runtime: str) -> None:
    g = GraphBuilder(graph.__name__)
    g.output(graph(g))
    proto = g.build()
    before = ModelProto()
    before.CopyFrom(proto)
    sites = fuse(Model(proto), runtime)
    softmaxes = sum(node.op_type == "REF::Softmax:0" for node in before.graph.node)
    assert [site.status for site in sites] == ["not_attention"] * softmaxes, [(s.code, s.reason) for s in sites]
    assert proto == before


def unread(op: str, times: int) -> Change:
    """An operator nobody knows, so many times in a row."""

    def change(g: GraphBuilder, value: str) -> str:
        for _ in range(times):
            value = g.node(op, [value], g.type_of(value))
        return value

    return change


def in_a_tuple(g: GraphBuilder, scores: str) -> str:
    tensor_type = g.type_of(scores)
    both = g.node(
        "MakeTuple", [scores, g.input("bias", tensor_type.dims, tensor_type.dtype)], (tensor_type, tensor_type)
    )
    return g.node("AddN", [both], tensor_type)


@pytest.mark.parametrize(
    "site",
    [
        Site(scores=unread("Unheard", 1)),
        Site(scores=unread("Unheard", 3)),
        Site(scores=in_a_tuple),
        Site(weights=unread("Unheard", 1)),
        Site(weights=unread("Unheard", 3)),
    ],
    ids=["scores once", "scores three times", "scores in a tuple", "weights once", "weights three times"],
)
def test_attention_behind_operators_nobody_can_read_is_missed(site: Site) -> None:
    """It must not leave the census as no attention: `--require missed==0` would hold."""
    _, (record,) = site.run(site.proto(), "mindspore")
    assert record.status == "missed"
