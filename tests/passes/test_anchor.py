"""How far a site that is not fused got: what looks like attention is missed, what is none says so."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.graph import TensorType
from attnfuse.mindir.dtypes import BOOL, FLOAT16, FLOAT32
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder
from tests.support.sites import Change, Site


def both(*changes: Change) -> Change:
    def change(g: GraphBuilder, value: str) -> str:
        for each in changes:
            value = each(g, value)
        return value

    return change


def to_float16(g: GraphBuilder, value: str) -> str:
    return g.cast(value, FLOAT16)


def as_output(g: GraphBuilder, value: str) -> str:
    g.output(value)
    return value


def halved(g: GraphBuilder, value: str) -> str:
    return g.muls(value, 0.5)


def folded(g: GraphBuilder, value: str) -> str:
    """Another layout and back, as some exports have it."""
    return g.reshape(g.reshape(value, (4, 4, 5)), (2, 2, 4, 5))


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        (halved, "structure.weights_changed"),
        (both(halved, to_float16), "structure.weights_changed"),
        (both(halved, to_float16, folded), "structure.weights_changed"),
        (both(lambda g, p: g.op("Tanh", p), to_float16), "structure.weights_changed"),
        (as_output, "safety.weights_escape"),
        (both(as_output, to_float16), "safety.weights_escape"),
        (both(to_float16, as_output, folded), "safety.weights_escape"),
    ],
)
def test_attention_whose_weights_are_more_than_weights_is_missed(weights: Change, code: str) -> None:
    """Whatever stands between them and the product: nobody may take it for a softmax of another kind."""
    case = Site(scores=lambda g, s: g.cast(s, FLOAT32), weights=both(weights, to_float16_if_not))
    _, sites = case.run(case.proto(), "mindspore")
    assert [(site.status, site.code) for site in sites] == [("missed", code)]


def to_float16_if_not(g: GraphBuilder, value: str) -> str:
    return value if g.type_of(value).dtype == FLOAT16 else g.cast(value, FLOAT16)


def test_weights_that_never_meet_a_product_are_no_attention() -> None:
    g = GraphBuilder()
    q, k = g.input("q", (2, 4, 16), FLOAT16), g.input("k", (2, 16, 5), FLOAT16)
    g.output(g.op("Log", g.cast(g.muls(g.softmax(g.bmm(q, k)), 0.5), FLOAT16)))
    case = Site(builder=g)
    _, sites = case.run(g.build(), "mindspore")
    assert [(site.status, site.code) for site in sites] == [("not_attention", "anchor.no_product")]


def test_weights_that_only_a_nan_test_reads_are_no_attention() -> None:
    g = GraphBuilder("tested")
    q, k = (g.input(name, (2, 4, 8, 16)) for name in ("query", "key"))
    weights = g.softmax(g.matmul_ext(q, g.transpose(k, (0, 1, 3, 2))))
    g.output(g.node("IsNan", [weights], TensorType(g.dims(weights), BOOL)))
    (record,) = fuse(g.model())
    assert (record.status, record.code) == ("not_attention", "anchor.no_product")


@pytest.mark.parametrize("guard", [True, False])
def test_a_nan_test_that_others_read_makes_weights_escape(guard: bool) -> None:
    """With a guard or without one: the test has to be computed, and for it the weights."""

    def tested(g: GraphBuilder, p: str) -> str:
        kind = g.type_of(p)
        test = as_output(g, g.node("IsNan", [p], TensorType(kind.dims, BOOL)))
        return g.select(test, np.zeros((), np.float16), p) if guard else p

    assert Site(weights=tested).refused() == "safety.weights_escape"


def test_one_query_without_any_sign_of_heads_is_fused() -> None:
    g = GraphBuilder("one_row")
    q, k = g.input("query", (8, 1, 16)), g.input("key", (8, 5, 16))
    g.output(g.bmm(g.softmax(g.bmm(q, g.transpose(k, (0, 2, 1)))), k))
    (record,) = fuse(g.model())
    assert (record.status, record.layout, record.query, record.key) == ("fused", "BSH", (8, 1, 16), (8, 5, 16))
