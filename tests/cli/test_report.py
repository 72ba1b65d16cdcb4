"""`attnfuse report`: what was written, in another form, and requirements held to it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Command
from tests.support.graphs import transformer


@pytest.fixture
def out(command: Command, tmp_path: Path) -> Path:
    source = transformer(sites=2).write(tmp_path / "unet.mindir")
    assert command("compile", source, "-o", tmp_path / "out", "--progress", "never").code == 0
    return tmp_path / "out"


def test_each_form(command: Command, out: Path, tmp_path: Path) -> None:
    sites = len(json.loads((out / "report.json").read_bytes())["components"][0]["sites"])
    text = command("report", out)
    assert (text.code, text.err) == (0, "")
    assert "attention sites for lite on ascend910b" in text.out
    assert command("report", out, "--format", "markdown").out.startswith("## attnfuse: ")
    suites = ElementTree.fromstring(command("report", out, "--format", "junit").out)
    assert len(suites.findall("testsuite/testcase")) == sites == 2
    page = tmp_path / "page.html"
    assert command("report", out, "--format", "html", "-o", page).code == 0
    assert page.read_bytes() == (out / "report.html").read_bytes()


def test_requirements_are_held_to_it(command: Command, out: Path, tmp_path: Path) -> None:
    given = ("--require", "sites==2", "--require", "sites==3")
    assert command("report", out, *given).error == "error: required sites==3, but sites is 2."
    answer = command("report", out, "--format", "junit", *given)
    assert (answer.code, answer.err) == (1, "")  # told once, in the document
    assert [len(case) for case in ElementTree.fromstring(answer.out)[0]] == [0, 1]
    file = tmp_path / "summary.md"
    answer = command("report", out, "--format", "markdown", "-o", file, *given)
    assert (answer.code, answer.err) == (1, f"1 requirement not met: see {file}.\n")
    assert "required sites==3, but sites is 2" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{out}", "--require", "site==2"), "unknown count 'site'"),
        (("{out}", "-o", "{out}.txt"), "--format text is for reading here"),
        (("{out}", "--format", "html", "-o", "{out}/report.html"), "would lie in or over"),
        (("{out}/none",), "cannot be read"),
    ],
)
def test_what_cannot_be_is_one_sentence(command: Command, out: Path, arguments: tuple[str, ...], said: str) -> None:
    answer = command("report", *(text.format(out=out) for text in arguments))
    assert answer.code in (2, 3)
    assert said in answer.error
