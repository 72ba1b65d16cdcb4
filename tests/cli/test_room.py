"""Too little room on the disk: told before the work, before a large file, and by a dry run."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from attnfuse.report.units import human_bytes
from attnfuse.sources import open_source
from attnfuse.tracing.contract import ShapeOptions
from tests.cli.conftest import Command
from tests.support.graphs import transformer

_Usage = namedtuple("_Usage", "total used free")  # as shutil has it


def free(monkeypatch: pytest.MonkeyPatch, *sizes: int) -> None:
    """Have these be free, one after the other, the last from then on."""
    left = list(sizes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(0, 0, left.pop(0) if len(left) > 1 else left[0]))


def test_it_is_told_before_the_work(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = transformer(sites=2).write(tmp_path / "unet.mindir")
    free(monkeypatch, 1000)
    answer = command("compile", source, "-o", tmp_path / "out")
    assert answer.code == 2
    assert "needs" in answer.error
    assert "at least, and 1000 B are free there" in answer.error
    assert "fusing" not in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["unet.mindir"]


def test_it_is_told_before_weights_are_written(
    command: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 2**40, 1)
    answer = command("compile", source, "-o", tmp_path / "out")
    assert (answer.code, "writing weights" in answer.err) == (2, True)
    assert "and 1 B are free there" in answer.error
    assert not (tmp_path / "out").exists()


def test_a_dry_run_tells_what_a_compile_needs(
    command: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("compile", source, "-o", tmp_path / "out").code == 0
    files = [path for path in (tmp_path / "out").rglob("*") if path.suffix == ".mindir" or path.name == "data_0"]
    needed = human_bytes(sum(path.stat().st_size for path in files))
    free(monkeypatch, 2000)
    answer = command("compile", source, "--dry-run")
    assert answer.code == 0
    assert f"a compile writes {needed} (2.0 KiB free at " in answer.err
    assert " s and at most " in answer.err
    assert "warning: that is more than is free" in answer.err


def test_what_is_known_before_a_trace_is_a_lower_bound(command: Command, source: Path, tmp_path: Path) -> None:
    """Half of the checkpoints: of an autoencoder of which one half is asked for, nothing is known."""
    assert command("compile", source, "-o", tmp_path / "out").code == 0
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("data_0"))
    whole = open_source(str(source), (), None, ShapeOptions()).least_bytes
    assert 0 < whole <= written
    assert open_source(str(source), ("vae_decoder",), None, ShapeOptions()).least_bytes == 0
