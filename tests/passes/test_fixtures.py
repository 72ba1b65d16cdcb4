"""Passes by example: every block of tests/passes/fixtures comes out as it says, and computes what it computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.testing import Fixture, check_fixture, check_laws, read_fixtures

FOLDER = Path(__file__).parent / "fixtures"
FIXTURES = read_fixtures(FOLDER)


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_what_comes_out(fixture: Fixture) -> None:
    check_fixture(fixture)


@pytest.mark.parametrize("fixture", [fixture for fixture in FIXTURES if fixture.after is not None], ids=str)
def test_laws(fixture: Fixture) -> None:
    check_laws(fixture)
