"""Sizes that a verification is held to."""

from __future__ import annotations

import pytest

from attnfuse.verify.limits import Limits, at_most, current, within


def test_much_memory_changes_nothing_and_little_makes_parts_smaller() -> None:
    plenty = within(2**40)
    assert (plenty.weights, plenty.large, plenty.rows) == (Limits().weights, Limits().large, Limits().rows)
    little = within(2**30)
    assert little.weights < Limits().weights
    assert little.large < Limits().large
    assert little.rows < Limits().rows
    assert little.most == 2**30


def test_they_hold_in_the_block_alone() -> None:
    with at_most(2**30):
        assert current().most == 2**30
        with at_most(None):
            assert current().most == 2**30
    assert current() == Limits()


def test_nothing_is_left_of_them_after_an_error() -> None:
    with pytest.raises(ValueError, match="planted"), at_most(5):
        raise ValueError("planted")
    assert current().most is None
