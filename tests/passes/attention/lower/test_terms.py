"""Several masks and biases at once, and what stands before and behind them: summed, shifted, or left to the formula."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BOOL, FLOAT16, FLOAT32
from tests.support.graphs import GraphBuilder, operators
from tests.support.masks import (
    FULLY_MASKED,
    LOWEST,
    RUNTIMES,
    added,
    added_constant,
    both,
    causal,
    filled,
    guarded,
    selected,
)
from tests.support.sites import Change, Site


def times(factor: float) -> Change:
    return lambda g, s: g.muls(s, factor)


def upcast(g: GraphBuilder, s: str) -> str:
    return g.cast(s, FLOAT32)


# --- masks together with biases


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_bias_is_as_low_as_minus_infinity(runtime: str) -> None:
    """So a row that −inf leaves no key is NaN whatever is added, and needs no more than that put in place."""
    scores = both(added((2, 1, 1, 5)), filled(-np.inf))
    site = Site(scores=scores).fused(runtime, 0.01, mask=FULLY_MASKED)
    assert (site.mask, site.fully_masked_rows) == ("additive", "nan")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_run_time_bias_over_a_float32_fill_is_shifted_with_it(runtime: str) -> None:
    scores = both(filled(LOWEST["float32"], dtype=FLOAT32), added((2, 1, 1, 5), FLOAT32))
    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01, mask=FULLY_MASKED)
    assert (site.mask, site.fully_masked_rows) == ("additive", None)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_finite_fill_over_a_run_time_bias_is_shifted_with_it(runtime: str) -> None:
    """A bias may push the other keys as low as the fill, or lower: they are lost in float16 alike."""
    scores = both(added((2, 1, 1, 5)), filled(LOWEST["float16"]))
    low = np.where(np.arange(5) > 2, LOWEST["float16"], 0.0).reshape(1, 1, 1, 5).repeat(2, 0)
    for bias in (np.zeros((2, 1, 1, 5)), low, low[..., ::-1]):
        site = Site(scores=scores).fused(runtime, 0.01, mask=FULLY_MASKED, bias=bias)
        assert (site.mask, site.fully_masked_rows) == ("additive", None)
    halved = both(scores, lambda g, s: g.muls(s, 0.5))  # which may round the one otherwise than the other
    assert Site(scores=halved).refused(runtime) == "facts.fully_masked_rows"
    # The user's word that each row has a key it may attend to ends the doubt.
    Site(scores=halved, no_fully_masked_rows=True).fused(
        runtime, mask=FULLY_MASKED & (np.arange(5) > 4), bias=np.zeros((2, 1, 1, 5))
    )


def test_a_finite_fill_over_a_constant() -> None:
    large = np.full((1, 1, 4, 1), -60000.0)
    site = Site(scores=both(added_constant(large), filled(LOWEST["float16"]))).fused(within=0.01, mask=FULLY_MASKED)
    assert site.fully_masked_rows is None
    small = np.full((1, 1, 4, 1), -2.0)
    site = Site(scores=both(added_constant(small), filled(LOWEST["float16"]))).fused(within=0.01, mask=FULLY_MASKED)
    assert site.fully_masked_rows == "mean"


def test_what_is_added_to_a_float16_fill_is_lost_in_it_up_to_half_a_step() -> None:
    """−65504 ± 15 is −65504 in float16: a row of such fills stays a mean. Of more, it is softmax(bias)."""
    bias = np.linspace(-1, 1, 5).reshape(1, 1, 1, 5)
    site = Site(scores=both(filled(LOWEST["float16"]), added_constant(bias))).fused(within=0.01, mask=FULLY_MASKED)
    assert site.fully_masked_rows == "mean"
    site = Site(scores=both(filled(LOWEST["float16"]), added_constant(bias * 40))).fused(within=0.01, mask=FULLY_MASKED)
    assert (site.mask, site.fully_masked_rows) == ("additive", None)
    site = Site(scores=both(filled(-np.inf), added_constant(bias))).fused(within=0.01, mask=FULLY_MASKED)
    assert site.fully_masked_rows == "nan"


def test_something_added_to_a_float32_fill_is_absorbed() -> None:
    bias = np.linspace(-1, 1, 5).reshape(1, 1, 1, 5)
    scores = both(filled(LOWEST["float32"], dtype=FLOAT32), added_constant(bias, FLOAT32))
    site = Site(scores=scores, dtype=FLOAT32).fused(within=0.01, mask=FULLY_MASKED)
    assert site.fully_masked_rows == "mean"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_large_biases_are_summed_in_float32(runtime: str) -> None:
    """−10000 + 0.4 is −10000 in float16: a row hidden softly must keep what else is added to it."""
    soft = np.where(np.arange(4).reshape(1, 1, 4, 1) % 2, -10000.0, 0.0)
    fine = np.linspace(-1, 1, 5).reshape(1, 1, 1, 5)
    scores = both(added_constant(soft, FLOAT32), added_constant(fine, FLOAT32))
    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01)
    assert site.mask == "additive"


def test_a_sum_that_overflows_in_the_formula_does_so_in_the_node() -> None:
    """In float16 −40000 − 40000 is −inf, and a row of it NaN, wherever it is added up."""
    half = np.full((1, 1, 4, 5), -40000.0)
    half[..., :2, 0] = 0.0
    assert Site(scores=both(added_constant(half), added_constant(half))).fused(within=0.01).mask == "additive"
    run_time = both(added_constant(half), added((1, 1, 4, 5)))
    assert Site(scores=run_time).fused(within=0.01, bias=half).mask == "additive"


def test_biases_whose_sum_leaves_the_type_are_shifted() -> None:
    half = np.full((1, 1, 4, 5), -40000.0)
    half[..., 0] = -39999.0
    scores = both(added_constant(half, FLOAT32), added_constant(half, FLOAT32))
    assert Site(scores=scores, dtype=FLOAT32).fused(within=0.05).mask == "additive"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_shifted_row_that_absorbs_its_scores(sign: float, runtime: str) -> None:
    """Scores beside ±3.4e38 are nothing in float32: such a row is a mean over its largest numbers."""
    bias = np.zeros((2, 1, 1, 5))
    bias[1] = sign * -LOWEST["float32"]
    bias[1, ..., 0] = -np.inf
    assert Site(scores=added((2, 1, 1, 5), FLOAT32), dtype=FLOAT32).fused(runtime, 0.01, bias=bias).mask == "additive"


def test_a_factor_behind_a_bias_and_a_fill_where_each_row_attends_to_a_key() -> None:
    """However the fill is rounded, its weight is 0."""
    scores = both(added((2, 1, 1, 5), FLOAT32), filled(LOWEST["float32"], dtype=FLOAT32), times(0.75))
    case = Site(scores=scores, dtype=FLOAT32, no_fully_masked_rows=True)
    assert case.fused(within=0.01, mask=FULLY_MASKED & (np.arange(5) > 2)).mask == "additive"
    assert Site(scores=scores, dtype=FLOAT32).refused() == "facts.fully_masked_rows"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_constant_that_draws_all_attention(runtime: str) -> None:
    """+3.4e38 absorbs the scores as −3.4e38 does: the row is a mean over the keys that have it, which no shift says."""
    drop = np.where(causal(4, 5), LOWEST["float32"], 0.0)
    scores = both(times(-1.0), added_constant(drop, FLOAT32), times(-1.0))
    assert Site(scores=scores, dtype=FLOAT32).refused(runtime) == "facts.fully_masked_rows"


def learned(g: GraphBuilder, dims: tuple[int, ...] = (1, 2, 4, 5)) -> str:
    """A relative position bias, as T5 has it."""
    return g.weight("relative_attention_bias.weight", dims, FLOAT32)


def low_where(g: GraphBuilder, dims: tuple[int, ...]) -> str:
    """0 or the smallest float32, by a run-time mask."""
    drop = g.cast(g.input("mask", dims, dtypes.BOOL), FLOAT32)
    return g.muls(drop, LOWEST["float32"])


def bias_evidence(case: Site) -> str:
    _, (site,) = case.run(case.proto(), "mindspore")
    assert site.status == "fused", site.reason
    return next((o.evidence for o in site.obligations if o.kind == "bias"), "")


@pytest.mark.parametrize(("op", "table"), [("Gather", 0), ("Embedding", 1), ("EmbeddingLookup", 0), ("Index", 0)])
@pytest.mark.parametrize("weights_in_it", [True, False])
def test_the_numbers_of_a_table_of_weights_are_known(op: str, table: int, weights_in_it: bool) -> None:
    """Which elements are taken may be computed; the table may not."""

    def scores(g: GraphBuilder, s: str) -> str:
        values = learned(g) if weights_in_it else g.input("values", (1, 2, 4, 5), FLOAT32)
        indices = g.input("indices", (4,), dtypes.INT64)
        if not weights_in_it:
            indices = g.parameter("indices.weight", np.zeros(4, np.int64))
        operands = [values, indices] if table == 0 else [indices, values]
        return g.add(s, g.node(op, [*operands, g.constant(0)], TensorType((1, 2, 4, 5), FLOAT32)))

    assert ("the formula's own rounding" in bias_evidence(Site(scores=scores, dtype=FLOAT32))) == weights_in_it


def test_why_a_run_time_bias_goes_in_as_it_is() -> None:
    assert "of the compute type" in bias_evidence(Site(scores=added((2, 1, 1, 5))))
    wide = added((2, 1, 1, 5), FLOAT32)
    assert not bias_evidence(Site(scores=wide, dtype=FLOAT32))
    # That each row attends to a key says nothing of how large the other numbers of the bias are.
    assert not bias_evidence(Site(scores=wide, dtype=FLOAT32, no_fully_masked_rows=True))


def test_a_learned_bias_needs_no_guard() -> None:
    site = Site(scores=lambda g, s: g.add(s, g.cast(learned(g), FLOAT16)), weights=guarded).fused(within=0.01)
    assert site.fully_masked_rows is None


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("order", [1, -1])
def test_a_sum_of_a_learned_bias_and_a_mask_is_taken_apart(order: int, runtime: str) -> None:
    """Each alone has a meaning in float16; the sum of both is just numbers of float32."""

    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.add(*[learned(g), low_where(g, (2, 1, 1, 5))][::order]))

    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01, mask=FULLY_MASKED)
    assert (site.mask, site.fully_masked_rows) == ("additive", "mean")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_parts_of_a_sum_may_have_fewer_axes(runtime: str) -> None:
    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.add(learned(g, (2, 4, 1)), low_where(g, (2, 1, 1, 5))))

    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01, mask=FULLY_MASKED)
    assert site.fully_masked_rows == "mean"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_sum_of_which_a_part_is_unknown_is_shifted(runtime: str) -> None:
    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.add(g.input("bias", (4, 5), FLOAT32), low_where(g, (2, 1, 1, 5))))

    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01, mask=FULLY_MASKED)
    assert (site.mask, site.fully_masked_rows) == ("additive", None)


def test_a_sum_with_a_plain_number_is_shifted() -> None:
    """A number that is no tensor has no axes to tell the parts by."""

    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.op("Add", learned(g), 0.5, dims=(1, 2, 4, 5)))

    assert Site(scores=scores, dtype=FLOAT32).fused(within=0.01).mask == "additive"


def test_a_difference_is_no_sum() -> None:
    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.sub(learned(g), g.muls(g.cast(g.input("mask", (2, 1, 1, 5), dtypes.BOOL), FLOAT32), 3.0)))

    Site(scores=scores, dtype=FLOAT32).fused(within=0.01, mask=FULLY_MASKED)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_another_product_may_be_the_bias(runtime: str) -> None:
    """Scores of content plus scores of position: the second product is a run-time bias of the first."""

    def scores(g: GraphBuilder, s: str) -> str:
        left, right = g.input("left", (2, 2, 4, 8), FLOAT16), g.input("right", (2, 2, 5, 8), FLOAT16)
        return g.add(s, g.batch_matmul(left, right, transpose_b=True))

    assert Site(scores=scores).fused(runtime, 0.02).mask == "additive"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_guard_behind_a_factor_that_makes_plus_infinity_of_a_mask(runtime: str) -> None:
    """−inf times −0.5 is +inf: the row is NaN in the formula, and 0 behind the guard, whoever attends."""
    scores = both(times(-1.0), added((2, 1, 1, 5)), times(-0.5))
    bias = np.full((2, 1, 1, 5), 0.25)
    bias[0, ..., 4] = -np.inf
    site = Site(scores=scores, weights=guarded, no_fully_masked_rows=True).fused(runtime, 0.01, bias=bias)
    assert site.fully_masked_rows == "zero"
    assert Site(scores=scores, weights=guarded).refused(runtime) == "facts.fully_masked_rows"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_known_mask_that_a_factor_turns_under_a_guard(runtime: str) -> None:
    """0 or −inf by a run-time mask, times −1: a row that holds +inf is NaN, and 0 behind the guard."""
    scores = both(times(-1.0), selected(-np.inf, (2, 1, 1, 5), FLOAT16), times(-1.0))
    site = Site(scores=scores, weights=guarded, no_fully_masked_rows=True).fused(runtime, 0.01, mask=~FULLY_MASKED)
    assert site.fully_masked_rows == "zero"


def test_a_mask_that_a_factor_makes_infinite_under_a_guard() -> None:
    """−65504 times 2 is −inf in float16: a row of it is NaN in the formula, and 0 behind the guard."""
    bias = np.where(FULLY_MASKED, LOWEST["float16"], 0.0)
    case = Site(scores=both(added((2, 1, 1, 5)), times(2.0)), weights=guarded)
    assert case.fused(within=0.01, bias=bias).fully_masked_rows == "zero"


def test_masks_that_overflow_together_are_not_divided_by_the_scale() -> None:
    """Divided by a scale above 1 they would stay finite, and so would a row that is NaN in the formula."""
    hidden = selected(LOWEST["float16"], (2, 1, 1, 5), FLOAT16)
    case = Site(scores=both(times(8.0), added_constant(np.full(5, -10000.0)), hidden))
    query = np.linspace(-0.1, 0.1, 256).reshape(2, 2, 4, 16)  # a score of 4 or more would not be lost in −10000
    assert case.fused(within=0.01, mask=~FULLY_MASKED, query=query).mask == "additive"


def test_a_factor_in_a_wider_type_than_the_mask() -> None:
    """−65504 times 1.5 is a number in float32, and none in the node's float16."""
    bias = np.full((2, 1, 1, 5), LOWEST["float16"])

    def wide(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.cast(g.input("bias", (2, 1, 1, 5), FLOAT16), FLOAT32))

    def softmax(g: GraphBuilder, s: str) -> str:
        return g.cast(g.softmax(s), FLOAT16)

    after = Site(scores=both(upcast, wide, times(1.5)), softmax=softmax)
    after.fused(within=0.01, bias=bias)
    assert (
        Site(scores=both(added((2, 1, 1, 5)), upcast, times(1.5)), softmax=softmax).refused()
        == "facts.fully_masked_rows"
    )


def test_masks_that_overflow_together_before_a_factor_stay_a_formula() -> None:
    """Twice −65504 is −inf in float16, and half of it; half of each is a number, and so is their sum."""
    hidden = selected(LOWEST["float16"], (2, 1, 1, 5), FLOAT16)
    twice = both(added_constant(np.full(5, LOWEST["float16"])), hidden)
    assert Site(scores=both(twice, times(0.5))).refused() == "facts.fully_masked_rows"
    vouched = Site(scores=both(twice, times(0.5)), no_fully_masked_rows=True)
    assert vouched.fused(within=0.01, mask=FULLY_MASKED | True).mask == "additive"


def test_infinities_of_both_signs_that_meet() -> None:
    """+inf and −inf are NaN together, which no comparison finds."""
    mask = np.where(np.arange(5) > 3, -np.inf, 0.0)
    scores = both(times(-1.0), added((2, 1, 1, 5)), times(-0.5), added_constant(mask))
    bias = np.full((2, 1, 1, 5), 0.25)
    bias[0, ..., 4] = -np.inf
    site = Site(scores=scores, weights=guarded, no_fully_masked_rows=True).fused(within=0.01, bias=bias)
    assert site.fully_masked_rows == "zero"


def test_a_negative_factor_behind_a_mask_in_a_wider_type() -> None:
    """The smallest float32 times −1 is no number of float16: whatever the user says of rows, it is shifted."""
    scores = both(times(-1.0), added((2, 1, 1, 5), FLOAT32), times(-1.0))
    bias = np.where(np.arange(5) > 3, LOWEST["float32"], 0.25).reshape(1, 1, 1, 5).repeat(2, 0)
    Site(scores=scores, dtype=FLOAT32, no_fully_masked_rows=True).fused(within=0.01, bias=bias)


def test_a_factor_behind_a_fill_and_a_mask_stays_a_formula() -> None:
    """Scaled, the two are rounded apart; in the formula they are equal, and a row of both is a mean."""
    low = LOWEST["float32"]
    drop = np.where(np.arange(5) > 2, low, 0.0)
    scores = both(filled(low, dtype=FLOAT32), added_constant(drop, FLOAT32), lambda g, s: g.muls(s, 0.75))
    assert Site(scores=scores, dtype=FLOAT32).refused() == "facts.fully_masked_rows"


def test_masks_that_overflow_together_under_a_guard() -> None:
    """−10000 and −65504 are −inf in float16: a row of both is NaN in the formula, and 0 behind the guard."""
    both_low = np.where(np.arange(5) > 1, -10000.0, 0.0)
    bias = np.where(FULLY_MASKED, LOWEST["float16"], 0.0)
    scores = both(added_constant(np.full(5, -10000.0)), added((2, 1, 1, 5)))
    assert Site(scores=scores, weights=guarded).fused(within=0.01, bias=bias).fully_masked_rows == "zero"
    scores = both(added_constant(both_low), added((2, 1, 1, 5)))
    assert Site(scores=scores, weights=guarded).fused(within=0.01, bias=bias * 0).fully_masked_rows == "zero"


# --- factors and casts behind a mask


def test_a_fill_that_a_factor_takes_out_of_range_stays_a_formula() -> None:
    """2 · (−3.4e38) is −inf in float32, so an empty row is NaN and no mean."""
    scores = both(filled(LOWEST["float32"], dtype=FLOAT32), lambda g, s: g.muls(s, 2.0))
    assert Site(scores=scores, dtype=FLOAT32).refused() == "facts.fill"
    halved = both(filled(LOWEST["float32"], dtype=FLOAT32), lambda g, s: g.muls(s, 0.5))
    assert Site(scores=halved, dtype=FLOAT32).fused(mask=FULLY_MASKED).fully_masked_rows == "mean"


def test_an_added_mask_that_a_factor_takes_out_of_range_is_no_mean() -> None:
    mask = np.where(FULLY_MASKED, LOWEST["float32"], 0.0)
    scores = both(added_constant(mask, FLOAT32), lambda g, s: g.muls(s, 2.0))
    assert Site(scores=scores, dtype=FLOAT32).fused(within=0.01).mask == "additive"


def test_a_narrower_type_between_mask_and_softmax_stays_a_formula() -> None:
    """Cast to float16, −3.4e38 is −inf: empty rows are NaN, whatever they were before."""
    scores = both(upcast, filled(LOWEST["float32"], dtype=FLOAT32), lambda g, s: g.cast(s, FLOAT16))
    assert Site(scores=scores).refused() == "facts.fully_masked_rows"
    Site(scores=scores, no_fully_masked_rows=True).fused(mask=np.zeros((2, 1, 1, 5), bool))


def test_a_negative_factor_turns_no_fill_into_a_mask() -> None:
    scores = both(filled(-np.inf), lambda g, s: g.muls(s, -1.0))
    assert Site(scores=scores, query=lambda g, q: g.muls(q, -1.0)).refused() == "facts.fill"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("columns", [3, 5])
def test_a_batch_without_keys_is_the_mean_without_a_node_behind(runtime: str, columns: int) -> None:
    """The node is given all keys there, and zeros for the shorter of query and key, so that all scores are 0."""

    def case() -> Site:
        return Site(key_length=columns, scores=lambda g, s: filled_in(g, s, g.input("mask", (2, 1, 1, columns), BOOL)))

    def filled_in(g: GraphBuilder, s: str, mask: str) -> str:
        return g.masked_fill(s, mask, np.array(LOWEST["float16"], np.float16))

    site = case().fused(runtime, mask=np.array([[True], [False]]).repeat(columns, 1).reshape(2, 1, 1, columns))
    assert site.fully_masked_rows == "mean"
    model, _ = case().run(case().proto(), runtime)
    (zeros,) = (node for node in model.nodes if node.op == "MaskedFill")
    zeroed = model.type_of(zeros.name)
    assert zeroed is not None
    assert (zeroed.dims[2], "Select" in operators(model)) == (min(columns, 4), False)
