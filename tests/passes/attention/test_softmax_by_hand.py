"""Softmaxes written by hand: what they are read as, what only looks like one, and that none goes uncounted."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.targets import RUNTIMES
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, seeded
from tests.support.oracle import Array
from tests.support.sites import Change, Site
from tests.support.switched_off import assert_counted_without

G = GraphBuilder
DIMS = (2, 2, 4, 5)
ROWS = np.zeros((2, 1, 4, 5), bool)
ROWS[0, ..., 3:] = True
ROWS[1, :, 2] = True  # a row that keeps no key


def half(number: float) -> Array:
    with np.errstate(over="ignore"):
        return np.array(number, np.float16)


def largest(g: G, s: str, axis: int = -1) -> str:
    return g.op("ReduceMax", s, (axis,), True)


def total(g: G, e: str, axis: int = -1) -> str:
    return g.op("SumExt", e, (axis,), True, None)


def less_largest(g: G, s: str) -> str:
    return g.sub(s, largest(g, s))


def divided(g: G, e: str) -> str:
    return g.div(e, total(g, e))


def usual(g: G, s: str) -> str:
    return divided(g, g.op("Exp", less_largest(g, s)))


def bare(g: G, s: str) -> str:
    """Without anything subtracted."""
    return divided(g, g.op("Exp", s))


def in_float32(g: G, s: str) -> str:
    return g.cast(usual(g, g.cast(s, FLOAT32)), FLOAT16)


def summed_in_float32(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, g.cast(total(g, g.cast(e, FLOAT32)), FLOAT16))


def without_keepdims(g: G, s: str) -> str:
    top = g.expand_dims(g.tuple_get_item(g.op("MaxDim", s, -1, False), 0), -1)
    e = g.op("Exp", g.sub(s, g.op("StopGradient", top)))
    return g.div(e, g.expand_dims(g.op("ReduceSum", e, (3,), False, False), 3))


def of_the_whole_tensor(g: G, s: str) -> str:
    return divided(g, g.op("Exp", g.sub(s, g.op("Max", s))))


def with_place(g: G, s: str) -> str:
    top = g.tuple_get_item(g.op("ArgMaxWithValue", s, -1, True), 1)
    e = g.op("Exp", g.sub(s, top))
    return g.mul(e, g.op("Reciprocal", total(g, e)))


def clamped(g: G, s: str) -> str:
    return divided(g, g.op("Exp", g.sub(s, g.op("ClampScalar", largest(g, s), -1e4, None))))


def of_base_two(g: G, s: str) -> str:
    return divided(g, g.op("Exp2", less_largest(g, g.muls(s, math.log2(math.e)))))


def of_power(g: G, s: str) -> str:
    return divided(g, g.op("PowScalarTensor", 2.0, s, like=s))


def of_base_ten(g: G, s: str) -> str:
    return divided(g, g.op("Pow", half(10.0), s, like=s))


def log_softmax(g: G, s: str) -> str:
    return g.op("Exp", g.op("LogSoftmaxExt", s, -1, None))


def log_sum(g: G, s: str) -> str:
    return g.op("Exp", g.sub(s, g.op("LogSumExp", s, (-1,), True)))


def log_sum_written_out(g: G, s: str) -> str:
    top = largest(g, s)
    return g.op("Exp", g.sub(s, g.add(g.op("Log", total(g, g.op("Exp", g.sub(s, top)))), top)))


def log_sum_of_shifted(g: G, s: str) -> str:
    d = less_largest(g, s)
    return g.op("Exp", g.sub(d, g.op("Log", total(g, g.op("Exp", d)))))


def lost_in_rounding(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, g.add(total(g, e), half(1e-6)))


def never_reached(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, g.op("ClampScalar", total(g, e), 1e-9, None))


def normalised(g: G, e: str, order: float = 1.0) -> str:
    """As mint.nn.functional.normalize writes it."""
    length = g.op("LinalgVectorNorm", e, order, (-1,), True, None)
    return g.div(e, g.broadcast_to(g.op("ClampScalar", length, 1e-12, None), g.dims(e)))


def by_its_absolute_sum(g: G, s: str) -> str:
    return normalised(g, g.op("Exp", less_largest(g, s)))


SPELLINGS: dict[Callable[[G, str], str], float] = {
    usual: 1.0,
    bare: 1.0,
    in_float32: 1.0,
    summed_in_float32: 1.0,
    without_keepdims: 1.0,
    of_the_whole_tensor: 1.0,
    with_place: 1.0,
    clamped: 1.0,
    of_base_two: 1.0,
    of_power: math.log(2.0),
    of_base_ten: math.log(10.0),
    log_softmax: 1.0,
    log_sum: 1.0,
    log_sum_written_out: 1.0,
    log_sum_of_shifted: 1.0,
    lost_in_rounding: 1.0,
    never_reached: 1.0,
    by_its_absolute_sum: 1.0,
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("softmax", SPELLINGS, ids=lambda f: f.__name__)
def test_a_softmax_written_by_hand_is_one(softmax: Change, runtime: str) -> None:
    """One site, of the scale that the base accounts for; the float64 numbers are the formula's."""
    site = Site(softmax=softmax).fused(runtime, within=3e-6)
    assert site.scale == pytest.approx(0.25 * SPELLINGS[softmax], rel=1e-6)
    assert (site.mask, site.fully_masked_rows) == (None, None)
    assert any(proved.kind == "softmax" for proved in site.obligations)


def late(divide: Callable[[G, str, str], str]) -> tuple[Site, dict[str, str]]:
    """exp(S)·V, divided afterwards."""
    made: dict[str, str] = {}

    def softmax(g: G, s: str) -> str:
        made["e"] = g.op("Exp", less_largest(g, s))
        return made["e"]

    return Site(softmax=softmax, result=lambda g, o: divide(g, o, made["e"])), made


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_product_divided_by_the_sum(runtime: str) -> None:
    site, _ = late(lambda g, o, e: g.div(o, total(g, e)))
    assert site.fused(runtime).scale == 0.25
    site, _ = late(lambda g, o, e: g.cast(g.div(g.cast(o, FLOAT32), total(g, g.cast(e, FLOAT32))), FLOAT16))
    assert site.fused(runtime).scale == 0.25


# --- what only looks like one


def over_another_axis(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, total(g, e, -2))


def over_queries(g: G, s: str) -> str:
    e = g.op("Exp", g.sub(s, largest(g, s, -2)))
    return g.div(e, total(g, e, -2))


def over_both(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, g.op("SumExt", e, (-2, -1), True, None))


def partial_sum(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, total(g, g.strided_slice(e, (0, 0, 0, 0), (2, 2, 4, 4))))


def sum_of_others(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, total(g, g.op("Exp", s)))


def masked_behind_the_sum(g: G, s: str) -> str:
    return g.mul(usual(g, s), g.input("keep", DIMS, FLOAT16))


def masked_before_the_product_only(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(g.mul(e, g.input("keep", DIMS, FLOAT16)), total(g, e))


def one_more(g: G, s: str) -> str:
    """Softmax with a one in its denominator."""
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, g.add(total(g, e), half(1.0)))


def epsilon_that_counts(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, g.add(total(g, e), half(0.01)))


def epsilon_beside_a_small_sum(g: G, s: str) -> str:
    """Nothing is subtracted, so the sum may be as small as the epsilon."""
    e = g.op("Exp", s)
    return g.div(e, g.add(total(g, e), half(1e-6)))


def floor_above_one(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, g.op("ClampScalar", total(g, e), 2.0, None))


def shifted_by_columns(g: G, s: str) -> str:
    """The largest number of each key over the queries: a bias that differs from key to key."""
    return divided(g, g.op("Exp", g.sub(s, largest(g, s, -2))))


def twice_the_sum(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.mul(e, g.div(half(2.0), total(g, e)))


def root_of_the_sum(g: G, s: str) -> str:
    e = g.op("Exp", less_largest(g, s))
    return g.div(e, g.op("Sqrt", total(g, e)))


def log_sum_of_another_base(g: G, s: str) -> str:
    return g.op("Exp2", g.sub(s, g.op("Log", total(g, g.op("Exp", s)))))


def base_below_one(g: G, s: str) -> str:
    """Weighs the lowest scores most."""
    return divided(g, g.op("PowScalarTensor", 0.5, s, like=s))


def by_its_length(g: G, s: str) -> str:
    return normalised(g, g.op("Exp", less_largest(g, s)), order=2.0)


def by_a_floor_beside_a_small_sum(g: G, s: str) -> str:
    """Nothing is subtracted, so the sum may be smaller than the floor."""
    return normalised(g, g.op("Exp", s))


LOOK_ALIKES: dict[Callable[[G, str], str], str] = {
    over_another_axis: "structure.softmax",
    over_queries: "structure.value_axis",
    over_both: "facts.softmax_axis",
    partial_sum: "structure.softmax",
    sum_of_others: "structure.softmax",
    masked_behind_the_sum: "structure.weights_changed",
    masked_before_the_product_only: "structure.softmax",
    one_more: "structure.softmax",
    epsilon_that_counts: "structure.softmax",
    epsilon_beside_a_small_sum: "structure.softmax",
    floor_above_one: "structure.softmax",
    shifted_by_columns: "structure.softmax",
    twice_the_sum: "structure.softmax",
    root_of_the_sum: "structure.softmax",
    log_sum_of_another_base: "structure.softmax",
    base_below_one: "facts.scale",
    by_its_length: "structure.softmax",
    by_a_floor_beside_a_small_sum: "structure.softmax",
}


@pytest.mark.parametrize("softmax", LOOK_ALIKES, ids=lambda f: f.__name__)
def test_what_only_looks_like_a_softmax_stays(softmax: Change) -> None:
    assert Site(softmax=softmax).refused() == LOOK_ALIKES[softmax]


@pytest.mark.parametrize(
    "divide",
    [
        lambda g, o, e: g.div(o, total(g, g.op("Square", e))),
        lambda g, o, e: g.div(o, g.add(total(g, e), half(0.01))),
        lambda g, o, e: g.div(g.add(o, half(1.0)), total(g, e)),
    ],
    ids=["by a sum of squares", "by more", "with something added"],
)
def test_a_product_divided_by_something_else_stays(divide: Callable[[G, str, str], str]) -> None:
    site, _ = late(divide)
    assert site.refused() == "structure.softmax"


# --- masks


def filled(number: float) -> Change:
    return lambda g, s: g.masked_fill(s, g.input("mask", ROWS.shape, dtypes.BOOL), half(number))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("softmax", [usual, bare, clamped, log_softmax, log_sum], ids=lambda f: f.__name__)
def test_a_row_without_a_key_is_no_number(softmax: Change, runtime: str) -> None:
    site = Site(scores=filled(-np.inf), softmax=softmax).fused(runtime, mask=ROWS)
    assert (site.mask, site.fully_masked_rows) == ("bool", "nan")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_row_of_the_smallest_number_means_what_the_softmax_makes_of_it(runtime: str) -> None:
    """The mean where its largest is subtracted, as in a Softmax; 0 / 0 where nothing is; not told where a clamp is."""
    lowest = filled(-65504.0)
    for known in (usual, log_softmax):
        assert Site(scores=lowest, softmax=known).fused(runtime, mask=ROWS).fully_masked_rows == "mean"
    assert Site(scores=lowest, softmax=bare).fused(runtime, mask=ROWS).fully_masked_rows == "nan"
    for unclear in (clamped, log_sum):
        assert Site(scores=lowest, softmax=unclear).refused(runtime) == "facts.fully_masked_rows"
        Site(scores=lowest, softmax=unclear, no_fully_masked_rows=True).fused(
            runtime, mask=ROWS & ~ROWS.all(-1, keepdims=True)
        )


@pytest.mark.parametrize("softmax", [usual, bare, log_sum], ids=lambda f: f.__name__)
def test_a_fill_that_scores_may_reach_is_a_score(softmax: Change) -> None:
    assert Site(scores=filled(-4.0), softmax=softmax).refused() in ("facts.fill", "facts.fully_masked_rows")


def test_behind_what_is_subtracted_only_minus_infinity_hides_a_key() -> None:
    def masked_late(number: float) -> Change:
        return lambda g, s: divided(g, g.op("Exp", filled(number)(g, less_largest(g, s))))

    assert Site(softmax=masked_late(-np.inf)).fused(mask=ROWS).status == "fused"
    assert Site(softmax=masked_late(-1e4)).refused() == "facts.fill"


def test_a_row_that_a_guard_of_the_largest_and_of_the_sum_make_zero() -> None:
    """Where no key is left, the largest is put to 0, the sum is its floor, and 0 / floor is 0."""

    def softmax(g: G, s: str) -> str:
        top = largest(g, s)
        infinite = g.op("IsInf", top)
        e = g.op("Exp", g.sub(s, g.select(infinite, g.op("ZerosLike", top), top)))
        return g.div(e, g.op("ClampScalar", total(g, e), 1e-6, None))

    assert Site(scores=filled(-np.inf), softmax=softmax).fused(mask=ROWS).fully_masked_rows == "zero"


def test_a_bias_that_may_lower_a_whole_row() -> None:
    """Of any numbers at run time: what is not shifted gives 0 / 0 where a Softmax gives the mean."""

    def biased(g: G, s: str) -> str:
        return g.add(s, g.input("bias", DIMS, FLOAT16))

    assert Site(scores=biased, softmax=bare).refused() == "facts.fully_masked_rows"
    assert Site(scores=biased, softmax=usual).fused().mask == "additive"
    assert Site(scores=biased, softmax=bare, no_fully_masked_rows=True).fused().mask == "additive"
    known = Site(scores=lambda g, s: g.add(s, np.full((4, 5), -2.0, np.float16)), softmax=bare)
    assert known.fused().status == "fused"


# --- counted, and once


def test_one_softmax_is_one_site() -> None:
    """Its exponential stands for it, and the one within its logarithm for none."""
    for softmax in SPELLINGS:
        case = Site(softmax=softmax)
        assert len(case.run(case.proto(), "mindspore")[1]) == 1


def test_a_head_written_by_hand_is_no_attention() -> None:
    g = GraphBuilder("head")
    g.output(usual(g, g.dense(g.input("x", (2, 6, 16), FLOAT16), "head", 10)))
    assert [(site.status, site.code) for site in fuse(g.model())] == [("not_attention", "structure.scores")]


def test_exponentials_that_are_summed_nowhere_are_no_site() -> None:
    g = GraphBuilder("gate")
    x = g.input("x", (2, 6, 16), FLOAT16)
    gate = g.op("Reciprocal", g.add(g.op("Exp", g.op("Neg", g.dense(x, "gate", 16))), half(1.0)))
    g.output(g.dense(g.mul(x, gate), "out", 16))
    assert fuse(g.model()) == []


@pytest.mark.parametrize(
    ("identity", "softmax"),
    [
        ("softmax.divide_by_sum", usual),
        ("softmax.divide_by_sum", bare),
        ("softmax.divide_by_sum", of_power),
        ("softmax.shift", usual),
        ("softmax.shift", of_the_whole_tensor),
        ("softmax.log", log_softmax),
        ("softmax.log_sum", log_sum),
        ("softmax.log_sum", log_sum_written_out),
    ],
)
def test_without_its_identity_it_is_missed(identity: str, softmax: Change) -> None:
    assert_counted_without(Site(softmax=softmax).proto(), identity)


def test_a_late_division_without_its_identity_is_missed() -> None:
    site, _ = late(lambda g, o, e: g.div(o, total(g, e)))
    assert_counted_without(site.proto(), "softmax.divide_by_sum")


# --- two values


def two_values(*, dims: tuple[int, ...] = (2, 2, 5, 16), read: bool = False) -> GraphBuilder:
    g = GraphBuilder("two")
    q, k = g.input("query", (2, 2, 4, 16), FLOAT16), g.input("key", (2, 2, 5, 16), FLOAT16)
    weights = g.softmax(g.muls(g.batch_matmul(q, k, transpose_b=True), 0.25))
    first = g.matmul_ext(weights, g.input("first", (2, 2, 5, 16), FLOAT16))
    second = g.matmul_ext(weights, g.input("second", dims, FLOAT16))
    g.output(first, second, *([weights] if read else []))
    return g


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_set_of_weights_with_two_values_is_two_nodes(runtime: str) -> None:
    proto = two_values().build()
    model = Model(type(proto).FromString(proto.SerializeToString()))
    assert [site.status for site in fuse(model, runtime)] == ["fused", "fused"]
    assert not any(node.op == "Softmax" for node in model.nodes)
    inputs = {
        value.name.rsplit(":", 1)[-1]: seeded(value.name, tuple(value.tensor[0].dims)) for value in proto.graph.input
    }
    for after, before in zip(oracle.run(model, inputs), oracle.run(Model(proto), inputs), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("graph", [two_values(dims=(2, 2, 5, 8)), two_values(read=True)], ids=["unlike", "read"])
def test_weights_that_are_needed_anyway_stay(graph: GraphBuilder) -> None:
    assert [(site.status, site.code) for site in fuse(graph.model())] == [("missed", "safety.weights_escape")]
