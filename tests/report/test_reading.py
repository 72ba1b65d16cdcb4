"""A report that was written before: where it is looked for, and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnfuse.errors import SourceError
from attnfuse.report.reading import read_report
from tests.report.test_figures import certificate
from tests.report.test_page import made


def write(folder: Path, stem: str = "") -> Path:
    """A report with its certificate."""
    (folder / f"{stem}report.json").write_bytes(made().to_bytes())
    (folder / f"{stem}verification.json").write_text(json.dumps(certificate()))
    return folder


@pytest.mark.parametrize(
    ("stem", "asked"), [("", "."), ("", "report.json"), ("m.", "m.mindir"), ("m.", "m.report.json")]
)
def test_it_is_found_beside_what_it_is_of(tmp_path: Path, stem: str, asked: str) -> None:
    assert read_report(write(tmp_path, stem) / asked) == (made(), certificate())


def test_what_the_option_wrote_has_its_certificate_in_it(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text(json.dumps({**made().to_json(), "verification": certificate()}))
    assert read_report(file) == (made(), certificate())
    file.write_bytes(made().to_bytes())
    assert read_report(file) == (made(), None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "was not written by attnfuse: there is no .*; name the folder that attnfuse compile wrote"),
        ("{", "report.json cannot be read"),
        ("[]", "is no report of attnfuse"),
        ('{"schema": "attnfuse.report/1"}', "is 'attnfuse.report/1', and this attnfuse reads attnfuse.report/2"),
        ('{"schema": "attnfuse.report/2"}', "is damaged at runtime: Field required"),
    ],
)
def test_what_is_no_report_is_one_sentence(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(SourceError, match=said):
        read_report(tmp_path)
