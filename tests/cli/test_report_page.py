"""report.html: beside report.json, of an inspection, and again with what a verification found."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Command
from tests.support.graphs import transformer


def test_a_compile_writes_it_beside_the_report(command: Command, tmp_path: Path) -> None:
    source = transformer(sites=2).write(tmp_path / "unet.mindir")
    assert command("compile", source, "-o", tmp_path / "out").code == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "attention for lite on ascend910b" in page
    assert "attn1" in page
    # Of an older attnfuse, or thrown away: the output is up to date all the same.
    (tmp_path / "out" / "report.html").unlink()
    assert command("compile", source, "-o", tmp_path / "out", "--check").code == 0
    assert command("compile", source, "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == page


def test_an_inspection_writes_it_where_it_is_asked_to(command: Command, tmp_path: Path) -> None:
    source = transformer(sites=2).write(tmp_path / "unet.mindir")
    assert command("inspect", source, "--html", tmp_path / "report.html").code == 0
    assert "attn1" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_it_is_not_written_over_the_source(command: Command, tmp_path: Path) -> None:
    source = transformer(sites=1).write(tmp_path / "unet.mindir")
    before = source.read_bytes()
    answer = command("inspect", source, "--html", source)
    assert answer.code == 2
    assert "would lie in or over" in answer.error
    assert command("inspect", source, "--html", tmp_path / "no" / "r.html").code == 2
    assert source.read_bytes() == before


def test_a_verification_writes_it_again(verifying: None, command: Command, tmp_path: Path) -> None:
    source = transformer(sites=2).write(tmp_path / "unet.mindir")
    assert command("compile", source, "-o", tmp_path / "out").code == 0
    page = tmp_path / "out" / "report.html"
    assert "Verified at level" not in page.read_text(encoding="utf-8")
    assert command("verify", source, tmp_path / "out", "--level", "sampled").code == 0
    assert "Verified at level sampled" in page.read_text(encoding="utf-8")
