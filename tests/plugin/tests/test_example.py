"""The plugin's own tests: graphs before and after, in `fixtures/`, and the laws that hold of any pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from attnfuse_example.identities import NEGATION

from attnfuse.testing import Fixture, check_fixture, check_laws, check_operator, read_fixtures
from attnfuse_passes.testing import check_identity

FIXTURES = read_fixtures(Path(__file__).parent / "fixtures")
# Numbers are computed of operators that attnfuse knows the meaning of.
COMPUTED = [fixture for fixture in FIXTURES if fixture.after is not None and "ExampleGate" not in fixture.before]


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_what_comes_out(fixture: Fixture) -> None:
    check_fixture(fixture)


@pytest.mark.parametrize("fixture", COMPUTED, ids=str)
def test_laws(fixture: Fixture) -> None:
    check_laws(fixture)


def test_the_identity_is_one() -> None:
    check_identity(NEGATION)


def test_the_row_infers_what_its_examples_say() -> None:
    check_operator("ExampleGate")
