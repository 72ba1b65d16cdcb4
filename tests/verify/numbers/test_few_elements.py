"""A site may be off by chance: several draws are judged as one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.verify.graph.sites import cut, find
from attnfuse.verify.numbers import site_numbers
from attnfuse.verify.numbers.comparison import (
    DRAWS,
    ENOUGH,
    MARGIN,
    compare,
    may_be_chance,
    measured_margin,
    site_margin,
)
from attnfuse.verify.numbers.site_numbers import compare_sites
from attnfuse.verify.result import OutputFigures
from tests.support.sides import drawn_sides
from tests.support.sites import Site


@pytest.mark.parametrize(
    ("once", "together", "passes"),
    [(0.0, 1.25, True), (0.0, 0.0, False), (1e6, 0.0, True)],
    ids=["an accident", "off each time", "nothing is off"],
)
def test_a_site_that_is_off_is_judged_on_more_draws(
    once: float, together: float, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`once` and `together` are what is allowed of one draw and of all, in the yardstick's errors."""
    asked: list[int] = []

    def margin(elements: int) -> float:
        asked.append(elements)
        return once if len(asked) == 1 else together

    monkeypatch.setattr(site_numbers, "site_margin", margin)
    monkeypatch.setattr(site_numbers, "measured_margin", lambda ratios: 0.0)
    proto = Site(dtype=FLOAT16).proto()
    before = Model(proto)
    after, _ = Site(dtype=FLOAT16).run(proto, "mindspore")
    (found,) = find(before, after).sites
    part = cut(before, after, found)
    assert part is not None
    sides = drawn_sides(before, after)
    met = compare(*sides, seed=0, taps=part.leaves).values
    (result,) = compare_sites(*sides, [(found, part)], met, seed=0)
    assert (result.findings == ()) is passes
    if once:
        assert len(asked) == 1
    else:
        draws = ENOUGH // asked[0]
        assert draws > 1
        assert asked[1:] == [ENOUGH] * (draws - 1)


@pytest.mark.parametrize("excess", [0.0, 0.03])
def test_what_draws_scatter_by_is_measured(excess: float) -> None:
    """Sixteen draws that scatter by 2 % tell an excess of 3 % from none, where one draw of a million elements would
    take 0.4 % for too much."""
    scatter = np.random.default_rng(0).normal(0.0, 0.02, DRAWS)
    ratios = 1 + excess + scatter - scatter.mean()
    assert site_margin(10**6) < measured_margin(ratios.tolist()) < 1.03
    assert (ratios.mean() <= measured_margin(ratios.tolist())) is not bool(excess)
    assert measured_margin((10 * ratios).tolist()) <= MARGIN


def test_a_site_that_is_off_by_little_may_be_so_by_chance() -> None:
    """And one that is off by more than a whole graph may be is not."""
    fair = OutputFigures("o", (2048,), 0.0, 1.0, 1.1e-3, 0.0, 1e-3, 1e-3, 1.05e-3, 0)
    assert may_be_chance(fair)
    assert not may_be_chance(dataclasses.replace(fair, fused=1.3e-3))
    assert not may_be_chance(dataclasses.replace(fair, fused=1.0e-3))
