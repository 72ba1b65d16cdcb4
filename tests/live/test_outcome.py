"""The table for notebooks tells of operators that are not supported."""

from __future__ import annotations

from pathlib import Path

from attnfuse.live.outcome import Outcome
from attnfuse.report.build import component_entry, report, with_ids
from attnfuse.report.model import UnsupportedEntry
from attnfuse.targets import Target
from tests.test_report import RECORDS


def test_unsupported_operators_are_listed() -> None:
    entry = UnsupportedEntry(op="Fancy", count=3, reason="1 < 2", nodes=("a", "b", "c"), modules=())
    component = component_entry("unet", 9, (), unsupported=(entry,))
    outcome = Outcome(report(Target("lite", "ascend910b"), [component], []), None, {})
    assert "<li>unet: unsupported 3 (Fancy): 1 &lt; 2</li>" in outcome._repr_html_()


def test_it_is_shown_on_a_screen() -> None:
    """Whatever the number of components, sites and warnings, and however long."""
    components = [component_entry(f"part{n}", 9, with_ids(f"part{n}", RECORDS)) for n in range(30)]
    outcome = Outcome(report(Target("lite", "ascend910b"), components, ["long " * 99] * 40), Path("out"), {"a": 1})
    lines = repr(outcome).splitlines()
    assert lines[0] == "<Outcome: 60 of 120 sites fused for lite on ascend910b, 1 file in out"
    assert lines[1] == "  part0: 2 of 4 fused; no estimate was made"
    assert "  … 18 more" in lines
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 120


def test_a_compile_that_wrote_nothing_says_so() -> None:
    assert repr(Outcome(report(Target("lite", "ascend910b"), [], []), None, {})) == (
        "<Outcome: 0 of 0 sites fused for lite on ascend910b, not written>"
    )
