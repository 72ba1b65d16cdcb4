"""-v and --log-file: versions, decisions and what stages took."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attnfuse.version import __version__
from tests.cli.conftest import Command
from tests.support.graphs import transformer


def test_a_log_has_versions_decisions_and_times(command: Command, tmp_path: Path) -> None:
    source = transformer(sites=2).write(tmp_path / "unet.mindir")
    log = tmp_path / "run.log"
    answer = command("inspect", source, "--log-file", log, "--no-flash", "unet.blocks.0.attn1")
    assert answer.code == 0, answer.err
    lines = [line.partition(" ")[2].partition(" ")[2] for line in log.read_text(encoding="utf-8").splitlines()]
    assert lines[0].startswith(f"versions: attnfuse {__version__}, python 3.")
    assert re.fullmatch(r"unet: fusing \d+\.\d s \(\d+\.\d MiB\)", next(line for line in lines if "fusing" in line))
    assert any(line.startswith("unet/blocks.0.attn1: kept (policy.off)") for line in lines)
    assert "versions:" not in answer.err
    assert "versions:" in command("inspect", source, "-v").err


def test_what_went_wrong_is_in_it(command: Command, tmp_path: Path) -> None:
    (tmp_path / "unet.mindir").write_bytes(b"no graph")
    log = tmp_path / "run.log"
    assert command("inspect", tmp_path / "unet.mindir", "--log-file", log).code == 3
    assert "ended by SourceError: " in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["unet.mindir", "no/run.log", "."])
def test_it_lies_where_it_can(command: Command, tmp_path: Path, place: str) -> None:
    source = transformer(sites=1).write(tmp_path / "unet.mindir")
    before = source.read_bytes()
    assert command("inspect", source, "--log-file", tmp_path / place).code == 2
    assert source.read_bytes() == before
