"""Masks met by what other identities do to the scores: where a low row would come out otherwise, nothing is fused."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, DType
from attnfuse.targets import RUNTIMES
from tests.support.graphs import GraphBuilder, seeded
from tests.support.oracle import Array
from tests.support.sites import Change, Site
from tests.support.written import refused as refused_text

G = GraphBuilder
FILLED = "facts.fully_masked_rows"
ROWS = np.zeros((2, 1, 4, 5), bool)
ROWS[0, :, 1] = True
ROWS[1, ..., 3:] = True


def numbers(low: float, dtype: DType = FLOAT16) -> Array:
    return np.where(ROWS, low, 0.0).astype(dtype.numpy)


def fill(low: float, dtype: DType = FLOAT16) -> Change:
    return lambda g, s: g.masked_fill(s, g.input("mask", ROWS.shape, BOOL), np.array(low, dtype.numpy))


def plus(low: float, dtype: DType = FLOAT16) -> Change:
    return lambda g, s: g.add(s, g.constant(numbers(low, dtype)))


def small(size: float, dtype: DType) -> Change:
    return lambda g, s: g.add(s, g.constant(seeded("bias", (1, 2, 4, 5), dtype, size)))


def after(*changes: Change) -> Change:
    def change(g: G, s: str) -> str:
        for each in changes:
            s = each(g, s)
        return s

    return change


def cast(dtype: DType) -> Change:
    return lambda g, s: g.cast(s, dtype)


def clamp(g: G, s: str) -> str:
    return g.op("ClampScalar", s, -65504.0, 65504.0)


def hide(low: float) -> Change:
    """A second mask, for all rows alike."""
    return lambda g, s: g.masked_fill(s, g.input("hidden", (1, 1, 1, 5), BOOL), np.array(low, np.float16))


def log_softmax(g: G, s: str) -> str:
    return g.op("LogSoftmax", s, -1)


def less_finite(g: G, s: str) -> str:
    """Less the largest number of each row, or 0 where that is infinite."""
    largest = g.op("ReduceMax", s, (-1,), True)
    return g.sub(s, g.op("Select", g.op("IsInf", largest), np.array(0.0, np.float16), largest))


def less_log_sum(g: G, s: str) -> str:
    return g.sub(s, g.op("LogSumExp", s, (-1,), True))


def exp(g: G, s: str) -> str:
    return g.op("Exp", s)


def mask(low: float, dtype: DType = FLOAT16) -> Change:
    """0 or that number added, as a condition at run time says."""

    def change(g: G, s: str) -> str:
        where = g.op("Cast", g.input(f"mask_{-low:.0f}", ROWS.shape, BOOL), dtype.type_id)
        return g.add(s, g.mul(where, np.array(low, dtype.numpy)))

    return change


def guard(g: G, weights: str) -> str:
    return g.masked_fill(weights, g.op("IsNan", weights), np.array(0.0, np.float16))


def times(factor: float) -> Change:
    return lambda g, s: g.muls(s, factor)


def less(axes: tuple[int, ...]) -> Change:
    return lambda g, s: g.sub(s, g.op("ReduceMax", s, axes, True))


def divided(op: str = "Exp", epsilon: float = 0.0) -> Change:
    def change(g: G, s: str) -> str:
        e = g.op(op, s)
        total = g.op("SumExt", e, (-1,), True, None)
        if epsilon:
            total = g.add(total, g.constant(np.array(epsilon, g.type_of(total).dtype.numpy)))
        return g.div(e, total)

    return change


WHOLE = after(less((0, 1, 2, 3)), divided())
WIDE = Site(scores=after(cast(FLOAT32), fill(-1e9, FLOAT32), cast(FLOAT16), cast(FLOAT32)), weights=cast(FLOAT16))
COARSE = Site(scores=after(plus(-2000.0), cast(BFLOAT16), cast(FLOAT32)), weights=cast(FLOAT16))
BOTH = Site(
    scores=after(
        lambda g, s: g.add(s, g.input("first", (2, 1, 4, 5), FLOAT16)),
        cast(FLOAT32),
        lambda g, s: g.add(s, g.input("second", (2, 1, 4, 5), FLOAT32)),
    ),
    weights=cast(FLOAT16),
)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("site", "code"),
    [
        pytest.param(Site(scores=fill(-1e4), softmax=WHOLE), FILLED, id="largest of all rows, fill"),
        pytest.param(Site(scores=plus(-65504.0), softmax=WHOLE), FILLED, id="largest of all rows, mask"),
        pytest.param(
            Site(dtype=FLOAT32, softmax=after(less((-1, -2)), divided(epsilon=5e-8))),
            "structure.softmax",
            id="largest of all rows, number added to the sum",
        ),
        pytest.param(Site(scores=after(fill(-65504.0), less((0, 1, 2, 3)))), FILLED, id="largest of all, Softmax"),
        pytest.param(Site(scores=plus(-50.0), softmax=after(less((-1,)), times(-1.0), divided())), "facts.scale",
                     id="largest, then turned"),
        pytest.param(Site(scores=after(plus(-65504.0), times(-0.5))), FILLED, id="mask, then turned"),
        pytest.param(WIDE, FILLED, id="narrower on the way to the softmax"),
        pytest.param(COARSE, FILLED, id="fewer digits on the way to the softmax"),
        pytest.param(BOTH, FILLED, id="run-time biases of two types"),
        pytest.param(
            Site(scores=after(plus(-65504.0), times(1.5), less((-1,))), softmax=divided("Exp2")), FILLED,
            id="out of range, and back by the base",
        ),
        pytest.param(Site(scores=after(plus(-np.inf), clamp, times(2.0))), FILLED, id="factor behind a clamp"),
        pytest.param(Site(scores=after(plus(-np.inf), clamp, times(1e-4))), FILLED, id="small factor behind a clamp"),
        pytest.param(Site(scores=after(plus(-np.inf), clamp, small(100.0, FLOAT16))), FILLED, id="bias behind a clamp"),
        pytest.param(Site(scores=after(fill(-1e4), plus(-np.inf), clamp)), FILLED, id="two masks in front of a clamp"),
        pytest.param(Site(scores=after(plus(-np.inf), clamp), softmax=divided()), FILLED, id="clamped, nothing less"),
        pytest.param(Site(scores=after(fill(-np.inf), less((-1,)), clamp)), FILLED, id="largest, then a clamp, fill"),
        pytest.param(Site(scores=after(plus(-np.inf), less((-1,)), clamp)), FILLED, id="largest, then a clamp, mask"),
        pytest.param(Site(scores=after(fill(-np.inf), log_softmax, clamp)), FILLED, id="logarithm, then a clamp"),
        pytest.param(
            Site(scores=after(plus(-np.inf), clamp, less((0, 1, 2, 3)), less_log_sum), softmax=exp), FILLED,
            id="largest of all, then a logarithm",
        ),
        pytest.param(Site(scores=after(mask(-65504.0), cast(FLOAT32), times(2.0)), weights=cast(FLOAT16)), FILLED,
                     id="factor behind a cast"),
        pytest.param(Site(scores=after(mask(-3e4), mask(-65504.0), less((-1,)), times(8.0))), FILLED,
                     id="factor behind the largest"),
        pytest.param(Site(scores=after(fill(-np.inf), less((-1,)), less((0, 1, 2, 3)))), FILLED,
                     id="largest, then that of all rows"),
        pytest.param(
            Site(scores=after(fill(-np.inf), less((-1,)), hide(-np.inf), less_finite), softmax=divided(epsilon=1e-4)),
            "structure.softmax", id="zero for an infinity of one of two masks",
        ),
        pytest.param(
            Site(scores=after(fill(-1e4), less((-1,)), hide(-np.inf)), softmax=divided()), FILLED,
            id="largest between two masks, by hand",
        ),
    ],
)  # fmt: skip
def test_a_low_row_that_would_come_out_otherwise_is_refused(site: Site, code: str, runtime: str) -> None:
    fresh = Site(**{**{name: getattr(site, name) for name in site.__slots__}, "builder": G("site")})
    assert fresh.refused(runtime) == code


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_bias_that_is_felt_beside_a_mask_is_kept_in_a_low_row(runtime: str) -> None:
    """−10⁹ in float32 has neighbours 64 away: biases of hundreds tell the keys of a fully masked row apart."""
    site = Site(dtype=FLOAT32, scores=after(plus(-1e9, FLOAT32), small(100.0, FLOAT32)))
    site.fused(runtime, within=0.01)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_bias_in_a_wider_type_is_felt_behind_a_fill(runtime: str) -> None:
    """In float16 it would be lost beside −10⁴; in float32 it tells the keys of a fully masked row apart."""
    late = after(fill(-1e4), cast(FLOAT32), small(1.5, FLOAT32))
    Site(scores=late, weights=cast(FLOAT16)).fused(runtime, within=0.01, mask=ROWS)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_two_masks_around_the_largest_number_of_a_row(runtime: str) -> None:
    """In front of a Softmax a row that the first mask hides whole is left to the keys that the second one keeps."""
    second = np.array([False, True, False, False, True]).reshape(1, 1, 1, 5)
    Site(scores=after(fill(-1e4), less((-1,)), hide(-np.inf))).fused(runtime, mask=ROWS, hidden=second)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_masks_that_are_infinite_together_are_guarded(runtime: str) -> None:
    """Each is a number of float16, their sum is none, and what the guard puts in its place is 0."""
    site = Site(scores=after(mask(-3e4), mask(-65504.0)), weights=guard)
    site.fused(runtime, mask_30000=ROWS, mask_65504=ROWS)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_infinite_largest_number_is_0_only_where_it_is_subtracted_first(runtime: str) -> None:
    """A row of −∞ less −∞ is no number: what follows finds no infinity to put 0 for, and divides no sum of 0."""
    for first in (times(1.0), less((-1,)), less_finite):
        site = Site(scores=after(fill(-np.inf), first, less_finite), softmax=divided(epsilon=1e-4), builder=G("site"))
        site.fused(runtime, within=1e-3, mask=ROWS)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_the_largest_of_all_rows_is_taken_off_is_fused_where_no_row_is_low(runtime: str) -> None:
    Site(softmax=WHOLE).fused(runtime)


INPUTS = "q: float16[2, 4, 8, 16]; k: float16[2, 4, 10, 16]; v: float16[2, 4, 10, 16]\n"
PRODUCT = "s = Cast(Muls(MatMulExt(q, Transpose(k, (0, 1, 3, 2))), 0.25), 43)\n"
REWEIGHTED = (
    INPUTS + PRODUCT + "m: float32[2, 1, 8, 10]; w: bool[2, 1, 1, 10]\n"
    "p = Softmax(Add(s, m), (-1,)); x = Mul(p, Cast(w, 43))\n"
    "MatMulExt(Cast(Div(x, SumExt(x, (-1,), True, None)), 42), v)"
)
CAST_PARTS = (
    INPUTS + "l: float16[2, 4, 10, 16]; m: float32[2, 1, 8, 10]\n" + PRODUCT
    + "t = Cast(Muls(MatMulExt(q, Transpose(l, (0, 1, 3, 2))), 0.25), 43)\n"
    "a = Cast(Muls(Add(s, m), 0.5), 42); b = Cast(Muls(Add(t, m), 0.5), 42)\n"
    "p = SplitWithSize(Softmax(Concat((a, b), -1), (-1,)), (10, 10), -1)\nAdd(MatMulExt(p[0], v), MatMulExt(p[1], v))"
)  # fmt: skip


@pytest.mark.parametrize("text", [REWEIGHTED, CAST_PARTS], ids=["weighed again beside a mask", "masks before a cast"])
def test_masks_in_float32_are_not_restated_in_another_type(text: str) -> None:
    """log w is lost beside −10⁹; half of −10⁵ is a number of float16, and −10⁵ is none."""
    assert refused_text(text)[0] == "missed"
