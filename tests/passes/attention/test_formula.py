"""How far a site that is not fused got: what looks like attention is missed, what is none says so."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BOOL, FLOAT16, FLOAT32
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, seeded
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
        tensor_type = g.type_of(p)
        test = as_output(g, g.node("IsNan", [p], TensorType(tensor_type.dims, BOOL)))
        return g.select(test, np.zeros((), np.float16), p) if guard else p

    assert Site(weights=tested).refused() == "safety.weights_escape"


def test_one_query_without_any_sign_of_heads_is_fused() -> None:
    g = GraphBuilder("one_row")
    q, k = g.input("query", (8, 1, 16)), g.input("key", (8, 5, 16))
    g.output(g.bmm(g.softmax(g.bmm(q, g.transpose(k, (0, 2, 1)))), k))
    (record,) = fuse(g.model())
    assert (record.status, record.layout) == ("fused", "BSH")
    assert (record.query_shape, record.key_shape) == ((8, 1, 16), (8, 5, 16))


def test_scores_that_the_graph_returns_escape() -> None:
    """Named among the outputs themselves, and not through a tuple of them."""
    case = Site()
    proto = case.proto()
    (scores,) = (node.inputs[0] for node in Model(proto).nodes if node.op == "Softmax")
    proto.graph.output.add(name=scores)
    (site,) = fuse(Model(proto))
    assert (site.code, site.failure and site.failure.found) == ("safety.scores_escape", "an output of the graph")


@pytest.mark.parametrize("axis", [4, 7, -5])
def test_a_softmax_over_an_axis_that_is_not_there(axis: int) -> None:
    """The first of the four there are is not attention's, the others that are asked for are none at all."""
    assert Site(softmax=lambda g, s: g.op("Softmax", s, (-4,))).refused() == "structure.softmax_axis"
    assert Site(softmax=lambda g, s: g.op("Softmax", s, (axis,), like=s)).refused() == "facts.softmax_axis"


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
@pytest.mark.parametrize(
    ("factors", "holds"),
    [
        ((1e-37,), True),
        ((1e-38,), False),  # times 0.25, no normal number
        ((1e-44,), False),
        ((1e-30, 1e-30), False),
        ((1e30, 1e30), False),
        ((1e30, 1e-30), True),
        ((float("inf"),), False),
        ((float("nan"),), False),
        ((0.0,), False),
        ((-1.0, -1.0), True),
    ],
)
def test_the_scale_is_one_that_float32_holds(factors: tuple[float, ...], holds: bool, runtime: str) -> None:
    """A product of literals may be none: the argument of the fused node would be 0 or infinite."""

    def scaled(g: GraphBuilder, scores: str) -> str:
        for factor in factors:
            scores = g.muls(scores, factor)
        return scores

    case = Site(scores=scaled)
    _, (site,) = case.run(case.proto(), runtime)
    assert (site.status == "fused") == holds
    finite = all(map(math.isfinite, factors))
    assert holds or site.code == ("facts.scale" if finite else "structure.scores")


@pytest.mark.parametrize("alpha", [1.0, 2.0, 0.5])
def test_alpha_is_a_factor_of_the_scale(alpha: float) -> None:
    g = GraphBuilder()
    q, k, v = (g.input(n, d, FLOAT16) for n, d in (("q", (4, 3, 16)), ("k", (4, 16, 5)), ("v", (4, 5, 16))))
    scores = g.baddbmm(g.input("bias", (4, 3, 5), FLOAT16), q, k, alpha=alpha)
    g.output(g.bmm(g.softmax(scores), v))
    (site,) = fuse(g.model())
    assert (site.scale, site.scale_factors) == (alpha, () if alpha == 1.0 else (alpha,))


@pytest.mark.parametrize("value_turned", [False, True])
@pytest.mark.parametrize("weights_turned", [False, True])
@pytest.mark.parametrize("weights_left", [False, True])
def test_the_second_product_in_every_turn(weights_left: bool, weights_turned: bool, value_turned: bool) -> None:
    """weights · value, or valueᵀ · weightsᵀ, each stored as it is or turned: the same numbers out of each."""
    g = GraphBuilder()
    q, k = g.input("q", (2, 3, 4, 16), FLOAT16), g.input("k", (2, 3, 5, 16), FLOAT16)
    weights = g.softmax(g.batch_matmul(q, k, transpose_b=True))
    # As the left operand weights are [rows, keys] unless turned, as the right one [keys, rows].
    if weights_left == weights_turned:
        weights = g.transpose(weights, (0, 1, 3, 2))
    value = g.input("v", (2, 3, 5, 16) if weights_left != value_turned else (2, 3, 16, 5), FLOAT16)
    if weights_left:
        product = g.batch_matmul(weights, value, weights_turned, value_turned)
    else:
        product = g.batch_matmul(value, weights, value_turned, weights_turned)
    g.output(product)
    proto = g.build()
    after = Model(type(proto).FromString(proto.SerializeToString()))
    (site,) = fuse(after)
    assert site.status == "fused", site.reason
    inputs = {
        name: seeded(name, dims).astype(np.float64) for name, dims in (("q", (2, 3, 4, 16)), ("k", (2, 3, 5, 16)))
    }
    inputs["v"] = seeded("v", g.dims(value)).astype(np.float64)
    np.testing.assert_allclose(oracle.run(after, inputs)[0], oracle.run(Model(proto), inputs)[0], atol=1e-9)


SHARED: dict[str, Change] = {
    "broadcast": lambda g, p: g.broadcast_to(p, (3, 2, 4, 5)),
    "tiled": lambda g, p: g.tile(p, (3, 1, 1, 1)),
    "interleaved": lambda g, p: g.repeat_interleave(p, 3, 0),
    "broadcast over an axis of its own": lambda g, p: g.broadcast_to(g.expand_dims(p, 0), (3, 1, 2, 4, 5)),
}


@pytest.mark.parametrize("runtime", ["mindspore", "lite"])
@pytest.mark.parametrize("where", ["scores", "weights"])
@pytest.mark.parametrize("how", SHARED)
def test_weights_of_one_image_used_for_several(how: str, where: str, runtime: str) -> None:
    """Repeated over the batch that value has, or that a mask has, before the second product."""
    own = how == "broadcast over an axis of its own"
    dims = (3, 1, 2, 5, 16) if own else (3, 2, 5, 16)
    values = Site(batch=1, value=lambda g, v: g.input("values", dims, FLOAT16), **{where: SHARED[how]})  # type: ignore[arg-type]
    assert values.refused(runtime) == "structure.value_batch"


def test_scores_repeated_for_a_mask_of_several() -> None:
    def scores(g: GraphBuilder, s: str) -> str:
        return g.masked_fill(SHARED["broadcast"](g, s), g.input("m", (3, 1, 1, 5), BOOL), np.array(-np.inf, np.float16))

    case = Site(batch=1, scores=scores, value=lambda g, v: g.input("values", (3, 2, 5, 16), FLOAT16))
    assert case.refused() == "structure.value_batch"


def test_heads_that_share_the_scores_of_one() -> None:
    case = Site(
        heads=1, weights=lambda g, p: g.tile(p, (1, 3, 1, 1)), value=lambda g, v: g.input("w", (2, 3, 5, 16), FLOAT16)
    )
    assert case.refused() == "structure.value_batch"
