"""Masks and biases: what each means, what the fused node is given, and what a fully masked row becomes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from tests.support.graphs import GraphBuilder
from tests.support.masks import (
    FULLY_MASKED,
    LOWEST,
    RUNTIMES,
    added,
    added_constant,
    causal,
    filled,
    guarded,
    scalar,
    selected,
)
from tests.support.oracle import Array
from tests.support.sites import Site

# --- what a mask is


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_added_minus_infinity_discards_in_every_type(dtype: DType, runtime: str) -> None:
    """In float16 no finite number is below what hides a key, so the limit must be one above −inf."""
    site = Site(scores=selected(-np.inf, (2, 1, 1, 5), dtype), dtype=dtype).fused(runtime, mask=~FULLY_MASKED)
    assert (site.mask, site.fully_masked_rows) == ("bool", "nan")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_masked_rows_become_what_the_formula_has(runtime: str) -> None:
    for number, guard in ((-np.inf, "nan"), (LOWEST["float16"], "mean")):
        site = Site(scores=filled(number)).fused(runtime, mask=FULLY_MASKED)
        assert (site.mask, site.fully_masked_rows) == ("bool", guard)
    site = Site(scores=filled(-np.inf), weights=guarded).fused(runtime, mask=FULLY_MASKED)
    assert site.fully_masked_rows == "zero"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_nan_guard_covers_rows_that_a_run_time_bias_empties(runtime: str) -> None:
    """The formula gives 0 in a row of −inf, the node does not: the guard has to be put after it."""
    bias = np.where(FULLY_MASKED, -np.inf, 0.25)
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
    site = Site(scores=scores, dtype=FLOAT32).fused(runtime, 0.01, mask=FULLY_MASKED, soft=soft)
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
    assert Site(query_length=1, scores=added_constant(np.where(causal(1, 5), -np.inf, 0.0))).fused().mask == "bool"


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
