"""The axes of masks and biases, told from those of the scores they are added to."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT16
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, seeded
from tests.support.masks import (
    RUNTIMES,
    added_constant,
)
from tests.support.sites import Site

# --- axes


@pytest.mark.parametrize(
    ("batch", "rows", "term"),
    [
        (4, 4, (1, 1, 1, 4, 5)),  # more axes than the scores with their heads told apart
        (1, 4, (2, 4, 5)),
        (4, 1, (4, 3, 5)),
        (4, 4, (4, 4, 6)),
        (6, 4, (4, 1, 4, 5)),
        (6, 4, (1, 4, 4, 5)),
        (6, 4, (2, 2, 4, 5)),
        (-1, 4, (1, 1, 4, 5)),  # nothing says how many of an unknown number are heads
    ],
)
def test_a_mask_that_is_larger_than_the_scores(batch: int, rows: int, term: tuple[int, ...]) -> None:
    """MindSpore's inference lets it pass beside Baddbmm's product."""
    g = GraphBuilder()
    q, k, v = (g.input(n, (batch, *d), FLOAT16) for n, d in (("q", (rows, 16)), ("k", (16, 5)), ("v", (5, 16))))
    weights = g.softmax(g.baddbmm(g.input("bias", term, FLOAT16), q, k))
    g.output(g.node("BatchMatMulExt", [weights, v], TensorType((batch, rows, 16), FLOAT16)))
    (site,) = fuse(g.model())
    assert (site.status, site.code) == ("missed", "structure.mask")


def test_an_empty_mask_is_none() -> None:
    assert Site(scores=added_constant(np.zeros((4, 5)))).fused().mask is None


def attended(g: GraphBuilder, scores: str, lead: tuple[int, ...]) -> str:
    """softmax(scores) · V."""
    v = g.input("v", (*lead, 5, 16), FLOAT16)
    return g.matmul_ext(g.softmax(scores), v)


def same_numbers(g: GraphBuilder, runtime: str = "mindspore") -> SiteRecord:
    proto = g.build()
    after = Model(type(proto).FromString(proto.SerializeToString()))
    (site,) = fuse(after, runtime)
    assert site.status == "fused", site.reason
    made = {value.name.rsplit(":", 1)[-1]: tuple(value.tensor[0].dims) for value in proto.graph.input}
    inputs = {name: seeded(name, dims).astype(np.float64) for name, dims in made.items()}
    np.testing.assert_allclose(oracle.run(after, inputs)[0], oracle.run(Model(proto), inputs)[0], atol=1e-6)
    return site


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "term",
    [
        (2, 1, 4, 5),
        (2, 3, 4, 5),
        (1, 3, 4, 5),
        (1, 1, 4, 5),
        (6, 1, 4, 5),
        (1, 6, 4, 5),
        (2, 1, 1, 5),
        (6, 1, 1, 5),
        (3, 1, 4, 5),
        (6, 4, 5),
        (1, 4, 5),
        (4, 5),
    ],
    ids=str,
)
def test_a_bias_of_batch_and_heads_beside_a_product_that_folds_them(term: tuple[int, ...], runtime: str) -> None:
    """mindone leaves the mask of Baddbmm with a head axis of its own."""
    g = GraphBuilder()
    q, k = g.input("q", (6, 4, 16), FLOAT16), g.input("k", (6, 16, 5), FLOAT16)
    g.output(attended(g, g.baddbmm(g.input("bias", term, FLOAT16), q, k), (6,)))
    assert same_numbers(g, runtime).mask == "additive"


def test_a_bias_times_zero_is_none() -> None:
    g = GraphBuilder()
    q, k = g.input("q", (6, 4, 16), FLOAT16), g.input("k", (6, 16, 5), FLOAT16)
    g.output(attended(g, g.baddbmm(g.input("bias", (6, 4, 5), FLOAT16), q, k, beta=0.0), (6,)))
    assert same_numbers(g).mask is None


def test_attention_without_any_batch() -> None:
    g = GraphBuilder()
    scores = g.matmul_ext(g.input("q", (4, 16), FLOAT16), g.input("k", (16, 5), FLOAT16))
    g.output(attended(g, g.add(scores, g.input("bias", (4, 5), FLOAT16)), ()))
    assert same_numbers(g).query_shape == (1, 4, 16)
