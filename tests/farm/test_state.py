"""What was finished stays so until anything of it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attnfuse.errors import OutputError
from attnfuse.farm.state import BatchState, made_of
from tests.support.waiting import tick


def write_later(path: Path) -> None:
    """Write other bytes, of as many, when the file system's clock has moved on."""
    tick(path)
    path.write_bytes(path.read_bytes()[::-1])


CHANGES: dict[str, Callable[[Path], object]] = {
    "a weight": lambda place: write_later(place / "in" / "weights"),
    "another file": lambda place: (place / "in" / "config.json").write_text("{}"),
    "output edited": lambda place: write_later(place / "out" / "graph"),
    "output removed": lambda place: (place / "out" / "graph").unlink(),
    "state damaged": lambda place: (place / "state").write_text("{"),
    "state removed": lambda place: (place / "state").unlink(),
}


def made(place: Path, option: str = "--soc=910B4") -> str:
    return made_of([option], [place / "in", place / "absent", Path("x" * 300)])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "weights").write_text("some")
    (tmp_path / "out" / "graph").write_text("a graph")
    BatchState(tmp_path / "state").finish(tmp_path / "out", made(tmp_path))
    return tmp_path


def finished(place: Path, **more: str) -> bool:
    return BatchState(place / "state").is_finished(place / "out", made(place, **more))


def test_what_is_finished_is_known(place: Path) -> None:
    assert finished(place)
    assert not finished(place, option="--soc=310P3")
    assert not BatchState(place / "state").is_finished(place / "other", made(place))
    assert sorted(path.name for path in place.iterdir()) == ["in", "out", "state"]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_not(place: Path, change: str) -> None:
    CHANGES[change](place)
    assert not finished(place)


def test_a_single_graph_is_known_by_its_manifest_too(place: Path) -> None:
    graph, manifest = place / "out.mindir", place / "out.manifest.json"
    graph.write_text("a graph")
    manifest.write_text("{}")
    state = BatchState(place / "state")
    state.finish(graph, made(place))
    assert state.is_finished(graph, made(place))
    manifest.unlink()
    assert not state.is_finished(graph, made(place))


def test_a_state_that_cannot_be_written_is_told_of(place: Path) -> None:
    with pytest.raises(OutputError, match=r"the state .* cannot be written"):
        BatchState(place / "none" / "state").finish(place / "out", "")
