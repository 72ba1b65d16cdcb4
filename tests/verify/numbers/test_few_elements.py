"""A site of few elements scatters: several draws are judged as one."""

from __future__ import annotations

import pytest

from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.verify.graph.sites import cut, find
from attnfuse.verify.numbers import site_numbers
from attnfuse.verify.numbers.comparison import ENOUGH, compare
from attnfuse.verify.numbers.site_numbers import compare_sites
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
