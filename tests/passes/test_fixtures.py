"""Passes by example: every block of tests/passes/fixtures comes out as it says, and computes what it computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.targets.support import unsupported_reason
from attnfuse.testing import Fixture, check_fixture, check_laws, read_fixtures
from attnfuse_passes.legalise.legalise import Legalise
from attnfuse_passes.legalise.rules import RULES

FOLDER = Path(__file__).parent / "fixtures"
FIXTURES = read_fixtures(FOLDER)
LEGALISED = [fixture for fixture in FIXTURES if fixture.keys["pass"] == "legalise" and fixture.after is not None]


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_block(fixture: Fixture) -> None:
    check_fixture(fixture)
    if fixture.after is not None:
        check_laws(fixture)


def test_every_rule_has_a_block_and_leaves_what_the_target_takes() -> None:
    """A block for a rule is one that replaces an operator of it: each that the pass gives a record of."""
    shown: set[str] = set()
    for fixture in LEGALISED:
        model, context = fixture.model(), fixture.context()
        Legalise().run(model, context)
        shown |= {done.op for done in context.legalised}
        left = {
            node.op: why for node in model.nodes if (why := unsupported_reason(context.target, model, node)) is not None
        }
        assert not left, fixture
    assert shown == set(RULES)
