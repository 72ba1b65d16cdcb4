"""Cells have one fingerprint where they compute the same, and whatever can change a graph tells them apart."""

from __future__ import annotations

import json

import pytest

from tests.tracing.blocks.conftest import BothWays

pytestmark = pytest.mark.mindspore

SAME = {
    "made alike",
    "nested",
    "values of weights",
    "names of weights",
    "equal attributes",
    "one function",
    "own method",
    "equal primitives",
    "equal tensors",
}
"""Of the pairs of `tests.support.block_cells`: those that have one fingerprint. All others have two."""


def test_pairs_of_cells(both_ways: BothWays) -> None:
    found: dict[str, bool] = json.loads((both_ways(["fingerprints"]) / "fingerprints.json").read_text())
    assert len(found) > 30
    assert {name for name, same in found.items() if same} == SAME
