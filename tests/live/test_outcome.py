"""The table for notebooks tells of operators that are not supported."""

from __future__ import annotations

from attnfuse.live.outcome import Outcome
from attnfuse.report.build import component_entry, report
from attnfuse.report.model import UnsupportedEntry
from attnfuse.targets import Target


def test_unsupported_operators_are_listed() -> None:
    entry = UnsupportedEntry(op="Fancy", count=3, reason="1 < 2", nodes=("a", "b", "c"), modules=())
    component = component_entry("unet", 9, (), unsupported=(entry,))
    outcome = Outcome(report(Target("lite", "ascend910b"), [component], []), None, {})
    assert "<li>unet: unsupported 3 (Fancy): 1 &lt; 2</li>" in outcome._repr_html_()
