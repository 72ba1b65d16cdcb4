"""-v and --log-file: versions, decisions and what stages took."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attnfuse.verify import ComponentVerification, OutputFigures
from attnfuse.version import __version__
from tests.cli.conftest import Command
from tests.support.console import logged
from tests.support.graphs import transformer


def test_a_log_has_versions_decisions_and_times(command: Command, tmp_path: Path) -> None:
    source = transformer(sites=2).write(tmp_path / "unet.mindir")
    log = tmp_path / "run.log"
    answer = command("inspect", source, "--log-file", log, "--no-flash", "unet.blocks.0.attn1")
    assert answer.code == 0, answer.err
    lines = logged(log)
    assert lines[0].startswith(f"versions: attnfuse {__version__}, python 3.")
    assert re.fullmatch(r"unet: fusing \d+\.\d s \(\d+\.\d MiB\)", next(line for line in lines if "fusing" in line))
    assert any(line.startswith("unet/blocks.0.attn1: kept (policy.off)") for line in lines)
    assert "versions:" not in answer.err
    assert "versions:" in command("inspect", source, "-v").err
    assert lines[-1].startswith("took ")


def test_what_went_wrong_is_in_it(command: Command, tmp_path: Path) -> None:
    (tmp_path / "unet.mindir").write_bytes(b"no graph")
    log = tmp_path / "run.log"
    assert command("inspect", tmp_path / "unet.mindir", "--log-file", log).code == 3
    assert "ended by SourceError: " in log.read_text(encoding="utf-8")


def test_of_two_graphs_it_has_every_figure(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = OutputFigures("out", (2,), 0.0, 1e-9, 1.25e-4, 1e-3, 1e-4, 1e-4, 2e-4, 0)
    found = ComponentVerification(name="unet", level="full", seed=3, outputs=(figures,), seconds={"numbers": 1.5})
    monkeypatch.setattr("attnfuse.cli.verify.verify_component", lambda **_: found)
    source = transformer(sites=1).write(tmp_path / "unet.mindir")
    log = tmp_path / "run.log"
    assert command("verify", source, source, "--log-file", log, "--seed", "3").code == 0
    assert logged(log)[1:-1] == [
        f"verify {source} against {source}, level full, seed 3",
        "unet: output out: passed: relative error 1.25e-04, tolerance 2.00e-04",
        "unet: numbers 1.5 s",
    ]


@pytest.mark.parametrize("place", ["unet.mindir", "no/run.log", "."])
def test_it_lies_where_it_can(command: Command, tmp_path: Path, place: str) -> None:
    source = transformer(sites=1).write(tmp_path / "unet.mindir")
    before = source.read_bytes()
    assert command("inspect", source, "--log-file", tmp_path / place).code == 2
    assert source.read_bytes() == before
