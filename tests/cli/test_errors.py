"""Errors as JSON, where a result would have been; and text in locales that lack its characters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.support.console import attnfuse
from tests.support.graphs import transformer


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (("inspect", "nowhere.mindir", "--json"), "SourceError", 3),
        (("inspect", "nowhere.mindir", "--json", "--soc", "911"), "UsageError", 2),
        (("explain", "{file}", "nothing", "--json"), "UsageError", 2),
        (("compile", "{file}", "-o", "out", "--check", "--json"), "RequirementError", 1),
    ],
)
def test_an_error_is_json_too(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], kind: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = transformer(sites=1).write(tmp_path / "unet.mindir")
    answer = command(*(text.format(file=file) for text in arguments))
    assert answer.code == code
    document = answer.document
    assert (document["schema"], document["error"], document["exit_code"]) == ("attnfuse.error/1", kind, code)
    assert document["message"] in answer.error
    assert command(*(text.format(file=file) for text in arguments if text != "--json")).out == ""


def test_a_defect_is_json_too(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = transformer(sites=1).write(tmp_path / "unet.mindir")

    def broken(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("attnfuse.compiler.inspect", broken)
    answer = command("inspect", file, "--json")
    assert (answer.code, answer.document["error"], answer.document["exit_code"]) == (70, "InternalError", 70)


@pytest.mark.parametrize(("encoding", "arrow"), [("ascii", "->"), ("gbk", "→")])
def test_no_locale_is_too_small(tmp_path: Path, encoding: str, arrow: str) -> None:
    """What it has no characters for is told otherwise, and JSON stays JSON with the same text."""
    builder = transformer(sites=1)
    file = builder.write(tmp_path / "unet.mindir")
    done = attnfuse("inspect", file, "--json", "--no-flash", "模型√𝒳", PYTHONIOENCODING=encoding, raw=True)
    assert done.returncode == 0, done.stderr
    # click takes a locale of ASCII for a mistake, and writes UTF-8 there.
    warning = json.loads(done.stdout.encode("latin-1").decode(encoding.replace("ascii", "utf-8")))["warnings"][0]
    assert "模型√𝒳" in warning.replace("sqrt ", "√")
    done = attnfuse("inspect", file, PYTHONIOENCODING=encoding, raw=True)
    assert f"source {arrow} result" in done.stderr.encode("latin-1").decode(encoding)
    assert "─" not in done.stderr
