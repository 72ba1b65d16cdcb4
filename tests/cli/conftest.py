"""The command in this process, with the toy pass in place of the installed ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attnfuse import cli, pass_manager
from tests.support.toy_pass import ToyPass
from tests.support.traces import demo_folder, traced_demo

__all__ = ["Answer", "Command", "command", "demo_folder", "traced_demo", "tree"]


@dataclass(frozen=True)
class Answer:
    """What one run of the command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line that tells the error."""
        lines = [line for line in self.err.splitlines() if line.startswith(("error:", "Error:"))]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Command = Callable[..., Answer]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setattr(pass_manager, "discover", lambda: (ToyPass(),))

    def run(*arguments: str | Path) -> Answer:
        capfd.readouterr()
        code = cli.run([str(a) for a in arguments])
        said = capfd.readouterr()
        return Answer(code, said.out, said.err)

    return run


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, hidden ones too."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
