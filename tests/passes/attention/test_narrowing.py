"""When a bias may be stored as it is, held against the condition pair by pair; and what it is shifted by."""

from __future__ import annotations

import numpy as np
import pytest

from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, FLOAT32, DType
from attnfuse_passes.attention import narrowing
from attnfuse_passes.attention.narrowing import FINE, roundoff, shifted, survives
from tests.support.oracle import Array


def numbers(*values: float) -> Array:
    return np.array(values, np.float64)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_whatever_is_below_four_may_be_stored(dtype: DType) -> None:
    """For every scale that is a power of two: a number below 4 is off by half a unit of [2, 4) at most, which is 2u."""
    rng = np.random.default_rng(3)
    for factor in (1.0, 8.0, 0.25):
        assert survives(rng.uniform(-FINE, FINE, 1000), dtype, factor, FLOAT32)


@pytest.mark.parametrize(
    ("values", "dtype", "added", "well"),
    [
        ((300.7, 301.3), FLOAT16, FLOAT32, False),  # off by 0.05 to either side
        ((300.7,), FLOAT16, FLOAT32, True),  # equal in every row
        ((300.5, 301.25), FLOAT16, FLOAT32, True),  # exact
        ((300.7, 301.3), FLOAT16, FLOAT16, True),  # the formula rounds them too
        ((300.7, 301.3), BFLOAT16, FLOAT16, False),
        ((0.0, -10001.0), FLOAT16, FLOAT32, True),  # no nearer than a shifted one
        ((0.0, -10001.0, -10003.0), FLOAT16, FLOAT32, False),
        ((0.0, -1e9), FLOAT16, FLOAT32, False),  # −inf, and a row of it NaN
        ((0.0, -1e9), BFLOAT16, FLOAT32, True),
        ((-40000.0, -80000.0), FLOAT16, FLOAT16, True),  # infinite in the formula too
        ((0.0, np.inf), FLOAT16, FLOAT32, True),
    ],
)
def test_numbers_that_may_meet_in_a_row(values: tuple[float, ...], dtype: DType, added: DType, well: bool) -> None:
    assert survives(numbers(*values), dtype, 1.0, added) == well


def test_a_factor_that_is_no_power_of_two_rounds_what_was_exact() -> None:
    held = numbers(301.0, 301.25, 301.5, 301.75)
    assert survives(held, FLOAT16, 1.0, FLOAT32)
    assert not survives(held, FLOAT16, 1 / 0.3, FLOAT32)


@pytest.mark.parametrize("seed", range(20))
def test_pair_by_pair(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition of the module's docstring, written down as it stands there."""
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(narrowing, "_CHUNK", 7)
    x = np.unique(rng.choice([3.0, 8.0, 100.0]) * rng.standard_normal(30) + rng.choice([0.0, 50.0]))
    dtype, added = (FLOAT16, BFLOAT16)[seed % 2], (FLOAT32, FLOAT16)[seed // 2 % 2]
    d = x.astype(dtype.numpy).astype(np.float64) - x
    u, own = roundoff(dtype), roundoff(added)
    every = all(
        abs(d[i] - d[j]) <= max(4 * u, own * (abs(x[i]) + abs(x[j])), u * abs(x[i] - x[j]))
        for i in range(x.size)
        for j in range(i)
    )
    assert survives(rng.permutation(x), dtype, 1.0, added) == every


def test_of_very_many_numbers_each_must_be_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    held = numbers(0.0, -10001.0)
    monkeypatch.setattr(narrowing, "MAX_PAIRED", 2)
    assert survives(held, FLOAT16, 1.0, FLOAT32)
    monkeypatch.setattr(narrowing, "MAX_PAIRED", 1)
    assert not survives(held, FLOAT16, 1.0, FLOAT32)
    assert survives(numbers(0.3, 3.7), FLOAT16, 1.0, FLOAT32)


def test_a_row_is_shifted_by_the_largest_it_may_attend_to() -> None:
    bias = np.array([[5.0, 1.0, 9.0], [2.0, 2.0, 2.0]])[None, None]
    np.testing.assert_array_equal(shifted(bias, None)[0, 0], [[-4, -8, 0], [0, 0, 0]])
    hidden = np.array([[False, False, True], [True, True, True]])[None, None]
    np.testing.assert_array_equal(shifted(bias, hidden)[0, 0], [[0, -4, 0], [0, 0, 0]])
    per_row = np.array([[[[True], [False]]]])
    np.testing.assert_array_equal(shifted(bias, per_row)[0, 0], [[0, 0, 0], [0, 0, 0]])
