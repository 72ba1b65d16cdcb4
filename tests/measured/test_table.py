"""What is shown of a measurement: docs/measured.md has each kind of message once, as this prints it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from attnfuse import cli
from attnfuse.cost.program import NotEstimated
from attnfuse.measured import compare
from attnfuse.measured.records import SCHEMA
from tests.support.measured import Measured

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "measured.md"


Shown = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shown(given: Measured, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shown:
    """The command in the folder that the measurements lie in: its exit code, stdout and stderr."""
    monkeypatch.chdir(given.folder.parent)

    def run(*options: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.run(["report", str(given.out), "--measured", "measured", *options])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def _not_estimated(*_: object) -> None:
    raise NotEstimated("sizes are left to run time: sample is float16[2, -1, 256]")


def test_the_page_shows_what_is_printed(shown: Shown, given: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    code, printed, _ = shown()
    assert code == 0
    blocks = re.findall(r"^```text\n(.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    whole, other, nothing = blocks
    assert lines(whole) == lines(printed)
    # What is told where the folder is another's, or lacks something.
    given.index(board="Ascend310P3", versions={"cann": "8.2.RC1"})
    for name in ("fusion_result.json", "align.json"):
        (given.unet / name).unlink()
    (table,) = given.unet.glob("op_statistic_*.csv")
    table.write_text(table.read_text().replace(",4,", ",5,"))
    _, printed, _ = shown()
    assert [line for line in lines(printed) if line not in lines(whole)] == lines(other)
    # Where nothing ran; where sizes are open, and nothing is estimated; where a component was left out.
    for file in given.unet.iterdir():
        file.unlink()
    given.index(board="Ascend999", versions={})
    told = lines(shown()[1])
    with monkeypatch.context() as patched:
        patched.setattr(compare, "tally", _not_estimated)
        told += [line for line in lines(shown()[1]) if line not in told]
    given.index(board=None, versions={}, components=[])
    told += lines(shown()[1])[1:]
    assert told == lines(nothing)


def test_the_document(shown: Shown) -> None:
    code, printed, _ = shown("--json")
    found = json.loads(printed)
    assert (code, found["schema"], [one["name"] for one in found["components"]]) == (0, SCHEMA, ["unet"])
    assert shown("--json") == shown("--json")


def test_nothing_but_the_estimate(shown: Shown, given: Measured) -> None:
    for file in given.unet.iterdir():
        file.unlink()
    _, printed, _ = shown()
    assert "estimate for ascend910b → not measured, of one run" in printed
    assert "→ –" in printed


def test_requirements_are_held_to_the_report(shown: Shown) -> None:
    code, _, said = shown("--require", "fused==7")
    assert (code, said) == (1, "error: required fused==7, but fused is 2.\n")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--format", "html"), 2, "--measured is shown as text, or with --json; drop --format and -o"),
        (("--measured", "none"), 3, "none does not exist; --measured takes the folder that measure.py wrote"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(shown: Shown, options: tuple[str, ...], code: int, said: str) -> None:
    ended, printed, error = shown(*options)
    assert (ended, printed, said in error, len(error.splitlines())) == (code, "", True, 1)


def test_json_alone_is_refused(capfd: pytest.CaptureFixture[str], given: Measured) -> None:
    assert cli.run(["report", str(given.out), "--json"]) == 2
    assert "--json is of --measured FOLDER; the report itself is report.json" in capfd.readouterr().out
