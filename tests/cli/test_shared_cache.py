"""A cache in an object store: what one machine learned the next one knows, and bad entries harm neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from attnfuse import incremental
from attnfuse.cache import traces as traces_package
from attnfuse.store.entries import FORMAT
from tests.cli.conftest import Answer, Command, tree
from tests.farm.conftest import write_pipeline
from tests.support.tracer import Tracer, stand_in

MADE = ["tracing", "hashing inputs", "fusing", "writing weights"]
RECALLED = ["trace from cache", "hashing inputs", "fusing", "writing weights"]


@pytest.fixture
def tracer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracer:
    found = Tracer()
    stand_in(monkeypatch, found)
    (tmp_path / "sources").mkdir()
    monkeypatch.setattr(traces_package, "_sources", lambda: [tmp_path / "sources"])
    monkeypatch.setattr(incremental, "_places", lambda name: [tmp_path / "sources"])
    monkeypatch.setattr(traces_package, "version", lambda name: "1.0")
    return found


class Machine:
    """A folder with a home and a checkpoint of its own."""

    def __init__(self, place: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self._command = command
        self._patch = monkeypatch
        write_pipeline(place / "sd")

    def __call__(self, out: str, *options: str | Path) -> Answer:
        self._patch.setenv("XDG_CACHE_HOME", str(self.place / "home"))
        answer = self._command("compile", self.place / "sd", "-o", self.place / out, *options)
        assert answer.code == 0, answer.err
        return answer


@pytest.fixture
def machine(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Machine]:
    return lambda name: Machine(tmp_path / name, command, monkeypatch)


def stages(answer: Answer) -> list[str]:
    lines = answer.err.splitlines()
    return [line.removeprefix("unet: ") for line in lines if line.startswith("unet: ") and "peak memory" not in line]


def test_two_machines_share_an_object_store(bucket: str, machine: Callable[[str], Machine], tracer: Tracer) -> None:
    first, second = machine("first"), machine("second")
    assert stages(first("out", "--cache-dir", bucket)) == MADE
    assert stages(second("out", "--cache-dir", bucket)) == RECALLED
    assert stages(second("out", "--cache-dir", bucket))[:3] == ["trace from cache", "hashing inputs", "unchanged"]
    assert tracer.traced == ["unet"], "the second traces nothing"
    second("alone")
    assert tree(first.place / "out") == tree(second.place / "out") == tree(second.place / "alone")
    for entry in (second.place / "home").rglob("*/?" + "?" * 63):
        assert entry.parent.name in ("digests", "trees"), "what is of this machine alone"


def test_bad_objects_are_made_anew(bucket: str, machine: Callable[[str], Machine], tracer: Tracer) -> None:
    first = machine("first")
    first("out", "--cache-dir", bucket)
    system = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    for count, (kind, left) in enumerate({"traces": -1, "graphs": 0}.items(), 2):
        (path,) = system.ls(f"{bucket}/{FORMAT}/{kind}", detail=False)
        system.pipe_file(path, system.cat_file(path)[:left])
        assert stages(machine(kind)("out", "--cache-dir", bucket)) == MADE
        assert len(tracer.traced) == count


def test_a_store_that_is_not_there_is_told_of_at_once(
    bucket: str, machine: Callable[[str], Machine], command: Command, tmp_path: Path
) -> None:
    answer = command("compile", machine("first").place / "sd", "-o", tmp_path / "out", "--cache-dir", "s3://none/x")
    assert answer.code == 2
    assert "the cache s3://none/x cannot be written" in answer.error
    assert not (tmp_path / "out").exists()
