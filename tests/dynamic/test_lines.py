"""Numbers that follow the batch."""

from __future__ import annotations

import pytest

from attnfuse.dynamic.lines import Line, line_through
from attnfuse.tracing.contract import DYNAMIC_BATCHES as BATCHES


@pytest.mark.parametrize(
    ("values", "line"),
    [((26, 38, 46), Line(2, 0)), ((14, 20, 24), Line(1, 1)), ((5, 5, 5), Line(0, 5)), ((-13, -19, -23), Line(-1, 0))],
)
def test_the_line_through_all(values: tuple[int, ...], line: Line) -> None:
    assert line_through(values, BATCHES) == line
    assert tuple(line.at(batch) for batch in BATCHES) == values


@pytest.mark.parametrize("values", [(26, 38, 47), (169, 361, 529), (13, 16, 18), (1, 1, 2)])
def test_no_line(values: tuple[int, ...]) -> None:
    assert line_through(values, BATCHES) is None
