"""The summary for a CI job: what it tells, and that names stay text."""

from __future__ import annotations

from attnfuse.report.markdown import markdown
from attnfuse.report.require import parse_requirement
from tests.report.test_figures import certificate
from tests.report.test_page import made


def test_what_a_job_shows() -> None:
    requirements = [parse_requirement(text) for text in ("failed==0", "sites==2")]
    text = markdown(made(), certificate(), requirements)
    assert text.startswith("## attnfuse: 1 of 2 sites fused for lite on ascend910b\n")
    assert "**vae was left out**: no class unet\n" in text
    row = next(line for line in text.splitlines() if line.startswith("| unet "))
    assert row == (
        "| unet | 100 → 100 MiB ×1.00 | 3.00 → 3.00 MiB ×1.00 | 80.0 → 80.0 ms ×1.00 | 9 → 9 ×1.00 | "
        "8.00e-04 of 1.00e-03 | 1 of 2 | 1 | 0 |"
    )
    assert "| failed==0 | **not met**: required failed==0, but failed is 1 |" in text
    assert "| sites==2 | met |" in text
    assert "- kept 1 (policy.no\\_flash): because of unet: unet/unet.b\n" in text
    assert "**Not deployable**: 2 nodes of the result are not taken." in text


def test_without_a_verification_there_is_no_column_for_it() -> None:
    lines = markdown(made()).splitlines()
    headings = next(line for line in lines if line.startswith("| component"))
    assert "error" not in headings
    assert {line.count(" | ") for line in lines if line.startswith("| ")} == {headings.count(" | ")}


def test_names_are_text_whatever_they_hold() -> None:
    """No name makes a cell, a heading, a link or an element of its own."""
    plain, hostile = markdown(made()), markdown(made("a | b\n# c <img src=x> [d](e) `f` **g**"))
    assert hostile.count("\n") == plain.count("\n")
    assert "<img" not in hostile
    assert "a \\| b \\# c &lt;img src=x&gt; \\[d\\]\\(e\\) \\`f\\` \\*\\*g\\*\\*" in hostile
