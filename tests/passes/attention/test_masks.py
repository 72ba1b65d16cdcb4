"""Masks and biases: what each means, what the fused node is given, and what a fully masked row becomes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from tests.support import oracle
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, seeded
from tests.support.masks import LOWEST, RUNTIMES, added, added_constant, both, causal, filled, scalar, selected
from tests.support.oracle import Array
from tests.support.sites import Change, Site


def times(factor: float) -> Change:
    return lambda g, s: g.muls(s, factor)


def upcast(g: GraphBuilder, s: str) -> str:
    return g.cast(s, FLOAT32)


def guarded(g: GraphBuilder, p: str) -> str:
    kind = g.type_of(p)
    test = g.node("IsNan", [p], TensorType(kind.dims, dtypes.BOOL))
    return g.select(test, scalar(0.0, kind.dtype), p)


NO_KEYS = np.zeros((2, 1, 1, 5), bool)
NO_KEYS[1] = True
NO_KEYS[0, ..., 2] = True


# --- what a mask is


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_added_minus_infinity_discards_in_every_type(dtype: DType, runtime: str) -> None:
    """In float16 no finite number is below what hides a key, so the limit must be one above −inf."""
    site = Site(scores=selected(-np.inf, (2, 1, 1, 5), dtype), dtype=dtype).fused(runtime, mask=~NO_KEYS)
    assert (site.mask, site.fully_masked_rows) == ("bool", "nan")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_masked_rows_become_what_the_formula_has(runtime: str) -> None:
    for number, guard in ((-np.inf, "nan"), (LOWEST["float16"], "mean")):
        site = Site(scores=filled(number)).fused(runtime, mask=NO_KEYS)
        assert (site.mask, site.fully_masked_rows) == ("bool", guard)
    site = Site(scores=filled(-np.inf), weights=guarded).fused(runtime, mask=NO_KEYS)
    assert site.fully_masked_rows == "zero"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_nan_guard_covers_rows_that_a_run_time_bias_empties(runtime: str) -> None:
    """The formula gives 0 in a row of −inf, the node does not: the guard has to be put after it."""
    bias = np.where(NO_KEYS, -np.inf, 0.25)
    site = Site(scores=added((2, 1, 1, 5)), weights=guarded).fused(runtime, 0.01, bias=bias)
    assert site.fully_masked_rows == "zero"


def test_a_user_who_vouches_for_rows_needs_no_guard() -> None:
    bias = np.zeros((2, 1, 1, 5))
    site = Site(scores=added((2, 1, 1, 5)), weights=guarded, no_fully_masked_rows=True).fused(bias=bias)
    assert site.fully_masked_rows is None
    site = Site(scores=filled(-np.inf), no_fully_masked_rows=True).fused(mask=np.zeros((2, 1, 1, 5), bool))
    assert site.fully_masked_rows is None


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_numbers_that_hide_some_keys_and_move_others(runtime: str) -> None:
    """0, −1 or the smallest float32: neither a mask nor a bias that float16 holds, so it is shifted."""

    def scores(g: GraphBuilder, s: str) -> str:
        soft = g.muls(g.cast(g.input("soft", (2, 1, 1, 5), dtypes.BOOL), FLOAT32), -1.0)
        hidden = g.input("mask", (2, 1, 1, 5), dtypes.BOOL)
        return g.add(s, g.masked_fill(soft, hidden, scalar(LOWEST["float32"], FLOAT32)))

    soft = np.arange(10).reshape(2, 1, 1, 5) % 2 == 0
    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01, mask=NO_KEYS, soft=soft)
    assert (site.mask, site.fully_masked_rows) == ("additive", None)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_mask_of_small_numbers_is_a_bias(runtime: str) -> None:
    """0 or −2, by a run-time mask: no key is hidden, and none of it may be lost."""
    case = Site(scores=selected(-2.0, (2, 1, 1, 5), FLOAT16))
    site = case.fused(runtime, 0.01, mask=np.arange(10).reshape(2, 1, 1, 5) % 3 == 0)
    assert (site.mask, site.fully_masked_rows) == ("additive", None)


@pytest.mark.parametrize(("number", "scale"), [(-2.0, 0.25), (-40000.0, 1.0)])
def test_a_bias_that_leaves_the_type_when_divided_is_not(number: float, scale: float) -> None:
    """FlashAttentionScore scales its bias too: −40000 / 0.25 is −inf in float16, so query is scaled instead."""
    for change in (selected(number, (2, 1, 1, 5), FLOAT16), added_constant(np.full((1, 1, 4, 1), number))):
        model, (site,) = (case := Site(scores=change)).run(case.proto(), "mindspore")
        assert site.status == "fused"
        (node,) = (node for node in model.nodes if node.op == "FlashAttentionScore")
        assert model.literal(node.inputs[12]) == scale


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("low", "guard"), [(-np.inf, "nan"), (LOWEST["float32"], "mean")])
def test_a_constant_mask_that_leaves_a_row_no_key(low: float, guard: str, runtime: str) -> None:
    mask = np.zeros((1, 1, 4, 5))
    mask[..., 1, :] = mask[..., 2, 3] = low
    site = Site(scores=added_constant(mask, FLOAT32), dtype=FLOAT32).fused(runtime, 0.01)
    assert (site.mask, site.fully_masked_rows) == ("bool", guard)


def test_the_users_word_is_told() -> None:
    _, (site,) = (case := Site(scores=filled(-np.inf), no_fully_masked_rows=True)).run(case.proto(), "mindspore")
    assert "each row attends to a key, by the policy" in [
        o.evidence for o in site.obligations if o.kind == "fully_masked_rows"
    ]


# --- masks together with biases


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_bias_is_as_low_as_minus_infinity(runtime: str) -> None:
    """So a row that −inf leaves no key is NaN whatever is added, and needs no more than that put in place."""
    scores = both(added((2, 1, 1, 5)), filled(-np.inf))
    site = Site(scores=scores).fused(runtime, 0.01, mask=NO_KEYS)
    assert (site.mask, site.fully_masked_rows) == ("additive", "nan")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_run_time_bias_over_a_float32_fill_is_shifted_with_it(runtime: str) -> None:
    scores = both(filled(LOWEST["float32"], dtype=FLOAT32), added((2, 1, 1, 5), FLOAT32))
    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01, mask=NO_KEYS)
    assert (site.mask, site.fully_masked_rows) == ("additive", None)


def test_a_finite_fill_over_a_run_time_bias_stays_a_formula() -> None:
    """A bias may push the other keys as low as the fill, or lower; then the row is no mean of all keys."""
    scores = both(added((2, 1, 1, 5)), filled(LOWEST["float16"]))
    assert Site(scores=scores).refused() == "facts.fully_masked_rows"
    # The user's word that each row has a key it may attend to ends the doubt.
    Site(scores=scores, no_fully_masked_rows=True).fused(mask=NO_KEYS & (np.arange(5) > 4), bias=np.zeros((2, 1, 1, 5)))


def test_a_finite_fill_over_a_large_constant_stays_a_formula() -> None:
    large = np.full((1, 1, 4, 1), -60000.0)
    assert Site(scores=both(added_constant(large), filled(LOWEST["float16"]))).refused() == "facts.fully_masked_rows"
    small = np.full((1, 1, 4, 1), -2.0)
    site = Site(scores=both(added_constant(small), filled(LOWEST["float16"]))).fused(within=0.01, mask=NO_KEYS)
    assert site.fully_masked_rows == "mean"


def test_something_added_to_a_float16_fill_stays_a_formula() -> None:
    """−65504 is no number that absorbs: a row of such fills plus a bias is softmax(bias), not a mean."""
    bias = np.linspace(-1, 1, 5).reshape(1, 1, 1, 5)
    assert Site(scores=both(filled(LOWEST["float16"]), added_constant(bias))).refused() == "facts.fully_masked_rows"
    site = Site(scores=both(filled(-np.inf), added_constant(bias))).fused(within=0.01, mask=NO_KEYS)
    assert site.fully_masked_rows == "nan"


def test_something_added_to_a_float32_fill_is_absorbed() -> None:
    bias = np.linspace(-1, 1, 5).reshape(1, 1, 1, 5)
    scores = both(filled(LOWEST["float32"], dtype=FLOAT32), added_constant(bias, FLOAT32))
    site = Site(scores=scores, dtype=FLOAT32).fused(within=0.01, mask=NO_KEYS)
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
    assert case.fused(within=0.01, mask=NO_KEYS & (np.arange(5) > 2)).mask == "additive"
    assert Site(scores=scores, dtype=FLOAT32).refused() == "facts.fully_masked_rows"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_constant_that_draws_all_attention(runtime: str) -> None:
    """+3.4e38 absorbs the scores as −3.4e38 does: the row is a mean over the keys that have it."""
    drop = np.where(causal(4, 5), LOWEST["float32"], 0.0)
    scores = both(times(-1.0), added_constant(drop, FLOAT32), times(-1.0))
    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01)
    assert site.mask == "additive"


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

    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01, mask=NO_KEYS)
    assert (site.mask, site.fully_masked_rows) == ("additive", "mean")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_parts_of_a_sum_may_have_fewer_axes(runtime: str) -> None:
    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.add(learned(g, (2, 4, 1)), low_where(g, (2, 1, 1, 5))))

    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01, mask=NO_KEYS)
    assert site.fully_masked_rows == "mean"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_sum_of_which_a_part_is_unknown_is_shifted(runtime: str) -> None:
    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.add(g.input("bias", (4, 5), FLOAT32), low_where(g, (2, 1, 1, 5))))

    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01, mask=NO_KEYS)
    assert (site.mask, site.fully_masked_rows) == ("additive", None)


def test_a_sum_with_a_plain_number_is_shifted() -> None:
    """A number that is no tensor has no axes to tell the parts by."""

    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.op("Add", learned(g), 0.5))

    assert Site(scores=scores, dtype=FLOAT32).fused(within=0.01).mask == "additive"


def test_a_difference_is_no_sum() -> None:
    def scores(g: GraphBuilder, s: str) -> str:
        return g.add(s, g.sub(learned(g), g.muls(g.cast(g.input("mask", (2, 1, 1, 5), dtypes.BOOL), FLOAT32), 3.0)))

    Site(scores=scores, dtype=FLOAT32).fused(within=0.01, mask=NO_KEYS)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_another_product_may_be_the_bias(runtime: str) -> None:
    """Scores of content plus scores of position: the second product is a run-time bias of the first."""

    def scores(g: GraphBuilder, s: str) -> str:
        left, right = g.input("left", (2, 2, 4, 8), FLOAT16), g.input("right", (2, 2, 5, 8), FLOAT16)
        return g.add(s, g.batch_matmul(left, right, transpose_b=True))

    assert Site(scores=scores).fused(runtime, 0.02).mask == "additive"


@pytest.mark.parametrize("assumed", [False, True])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_guard_behind_a_factor_that_makes_plus_infinity_of_a_mask(runtime: str, assumed: bool) -> None:
    """−inf times −0.5 is +inf: the row is NaN in the formula, and 0 behind the guard, whoever attends."""
    scores = both(times(-1.0), added((2, 1, 1, 5)), times(-0.5))
    bias = np.full((2, 1, 1, 5), 0.25)
    bias[0, ..., 4] = -np.inf
    site = Site(scores=scores, weights=guarded, no_fully_masked_rows=assumed).fused(runtime, 0.01, bias=bias)
    assert site.fully_masked_rows == "zero"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_known_mask_that_a_factor_turns_under_a_guard(runtime: str) -> None:
    """0 or −inf by a run-time mask, times −1: a row that holds +inf is NaN, and 0 behind the guard."""
    scores = both(times(-1.0), selected(-np.inf, (2, 1, 1, 5), FLOAT16), times(-1.0))
    site = Site(scores=scores, weights=guarded, no_fully_masked_rows=True).fused(runtime, 0.01, mask=~NO_KEYS)
    assert site.fully_masked_rows == "zero"


def test_a_mask_that_a_factor_makes_infinite_under_a_guard() -> None:
    """−65504 times 2 is −inf in float16: a row of it is NaN in the formula, and 0 behind the guard."""
    bias = np.where(NO_KEYS, LOWEST["float16"], 0.0)
    case = Site(scores=both(added((2, 1, 1, 5)), times(2.0)), weights=guarded)
    assert case.fused(within=0.01, bias=bias).fully_masked_rows == "zero"


def test_masks_that_overflow_together_are_not_divided_by_the_scale() -> None:
    """Divided by a scale above 1 they would stay finite, and so would a row that is NaN in the formula."""
    hidden = selected(LOWEST["float16"], (2, 1, 1, 5), FLOAT16)
    case = Site(scores=both(times(8.0), added_constant(np.full(5, -10000.0)), hidden))
    assert case.fused(within=0.01, mask=~NO_KEYS).mask == "additive"


def test_a_factor_in_a_wider_type_than_the_mask() -> None:
    """−65504 times 1.5 is a number in float32, and none in the node's float16."""
    bias = np.full((2, 1, 1, 5), LOWEST["float16"])
    after = Site(
        scores=both(upcast, lambda g, s: g.add(s, g.cast(g.input("bias", (2, 1, 1, 5), FLOAT16), FLOAT32)), times(1.5))
    )
    after.fused(within=0.01, bias=bias)
    assert Site(scores=both(added((2, 1, 1, 5)), upcast, times(1.5))).refused() == "facts.fully_masked_rows"


def test_masks_that_overflow_together_before_a_factor_stay_a_formula() -> None:
    """Twice −65504 is −inf in float16, and half of it; half of each is a number, and so is their sum."""
    hidden = selected(LOWEST["float16"], (2, 1, 1, 5), FLOAT16)
    twice = both(added_constant(np.full(5, LOWEST["float16"])), hidden)
    assert Site(scores=both(twice, times(0.5))).refused() == "facts.fully_masked_rows"
    vouched = Site(scores=both(twice, times(0.5)), no_fully_masked_rows=True)
    assert vouched.fused(within=0.01, mask=NO_KEYS | True).mask == "additive"


def test_infinities_of_both_signs_that_meet() -> None:
    """+inf and −inf are NaN together, which no comparison finds."""
    mask = np.where(np.arange(5) > 3, -np.inf, 0.0)
    scores = both(times(-1.0), added((2, 1, 1, 5)), times(-0.5), added_constant(mask))
    bias = np.full((2, 1, 1, 5), 0.25)
    bias[0, ..., 4] = -np.inf
    assert Site(scores=scores, weights=guarded).fused(within=0.01, bias=bias).fully_masked_rows == "zero"


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
    bias = np.where(NO_KEYS, LOWEST["float16"], 0.0)
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
    assert Site(scores=halved, dtype=FLOAT32).fused(mask=NO_KEYS).fully_masked_rows == "mean"


def test_an_added_mask_that_a_factor_takes_out_of_range_is_no_mean() -> None:
    mask = np.where(NO_KEYS, LOWEST["float32"], 0.0)
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


# --- numbers that cannot be handed over


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (filled(-10.0), "facts.fill"),
        (
            lambda g, s: g.select(g.input("m", (4, 5), FLOAT16), s, scalar(-np.inf, FLOAT16)),
            "facts.condition",
        ),
        (added_constant(np.full((4, 5), np.nan)), "facts.bias_not_finite"),
        (added_constant(np.full((4, 5), np.inf)), "facts.bias_not_finite"),
    ],
    ids=["fill within reach", "condition of numbers", "nan", "infinity"],
)
def test_what_is_no_mask(change: Callable[[GraphBuilder, str], str], code: str) -> None:
    assert Site(scores=change).refused() == code


def test_a_constant_beyond_the_compute_type() -> None:
    """A row of equal numbers is no bias at all; of others, what matters is how far they are apart."""
    equal = added_constant(np.full((4, 5), -1e6), FLOAT32)
    assert Site(scores=equal, dtype=FLOAT32).fused(within=1e-3).mask is None
    apart = added_constant(np.linspace(-1e6, -1e6 + 4, 20).reshape(4, 5), FLOAT32)
    for cast in ("float16", "bfloat16"):
        assert Site(scores=apart, dtype=FLOAT32, cast=cast).fused(within=0.01).mask == "additive"


# --- constants


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        (causal(4, 5), "causal"),
        (causal(4, 5, 2), "causal"),  # the last row sees every key
        (causal(4, 5, 3), "bool"),
        (np.eye(4, 5, dtype=bool), "bool"),
    ],
)
def test_constant_masks(mask: Array, kind: str, runtime: str) -> None:
    """Filled or added, a mask that leaves each row a key needs no guard."""
    filled_in = lambda g, s: g.masked_fill(s, mask, scalar(-np.inf, FLOAT16))  # noqa: E731
    for change in (filled_in, added_constant(np.where(mask, -np.inf, 0.0))):
        site = Site(scores=change).fused(runtime)
        assert (site.mask, site.fully_masked_rows) == (kind, None)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_mask_that_is_causal_for_the_first_of_a_batch_only(runtime: str) -> None:
    mask = np.stack([causal(4, 5), np.eye(4, 5, dtype=bool)])[:, None]
    assert Site(scores=added_constant(np.where(mask, -np.inf, 0.0))).fused(runtime).mask == "bool"


def test_a_single_row_is_not_causal() -> None:
    """One query that sees only the first key: a triangle by its numbers alone."""
    assert Site(rows=1, scores=added_constant(np.where(causal(1, 5), -np.inf, 0.0))).fused().mask == "bool"


def test_a_constant_mask_per_head_is_not_for_lite() -> None:
    mask = np.random.default_rng(1).random((1, 2, 4, 5)) < 0.4
    mask[..., 0] = False
    change = added_constant(np.where(mask, -np.inf, 0.0))
    assert Site(scores=change).fused("mindspore").mask == "bool"
    assert Site(scores=change).refused("lite") == "target.mask_per_head"


def test_a_run_time_mask_per_head_is_not_for_lite() -> None:
    mask = np.random.default_rng(1).random((1, 2, 4, 5)) < 0.4
    Site(scores=filled(-np.inf, (1, 2, 4, 5))).fused("mindspore", mask=mask)
    assert Site(scores=filled(-np.inf, (1, 2, 4, 5))).refused("lite") == "target.mask_per_head"


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
