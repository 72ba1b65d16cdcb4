"""Two graphs under the same rules."""

from __future__ import annotations

import pytest

from attnfuse.cost import compare as comparing
from attnfuse.cost.compare import compare
from tests.support.costs import graph

ONE = "x: float16[4, 64]; Softmax(x, (-1,))"
TWO = "x: float16[4, 64]; Softmax(Softmax(x, (-1,)), (-1,))"


def test_the_ratio_is_after_by_before() -> None:
    found = compare(graph(TWO), graph(ONE), "ascend910b")
    # Each softmax moves 1024 bytes. x and the result take 1024 each, and what is between them as much.
    assert found.ratio("bytes_moved") == 0.5
    assert found.ratio("kernels") == 0.5
    assert found.ratio("peak_bytes") == 2 / 3
    assert found.not_estimated == ""


def test_nothing_is_divided_by_nothing() -> None:
    assert compare(graph(ONE), graph(ONE), "ascend910b").ratio("format_changes") is None


def test_where_one_cannot_be_estimated_neither_is() -> None:
    found = compare(graph(ONE), graph(ONE.replace("4,", "?,")), "ascend910b")
    assert (found.before, found.after, found.ratio("bytes_moved")) == (None, None, None)
    assert found.not_estimated == "sizes are left to run time: x is float16[?, 64]"


def test_a_defect_of_the_model_is_told_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise AssertionError("kernels wait for each other")

    monkeypatch.setattr(comparing, "estimate_with_sites", broken)
    found = compare(graph(ONE), graph(ONE), "ascend910b")
    assert found.before is None
    assert found.not_estimated.startswith("the cost model has a defect: AssertionError at test_compare.py:")
    assert found.not_estimated.endswith(": kernels wait for each other")
