"""Output appears whole or not at all, replaces only what is attnfuse's own, and leaves nothing behind."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from attnfuse import output
from attnfuse.errors import OutputError, UsageError
from attnfuse.output import MANIFEST, MANIFEST_SCHEMA, Digests, FileDigest, OutputStage, digest, place


def manifest(*names: str) -> bytes:
    return json.dumps({"schema": MANIFEST_SCHEMA, "outputs": {name: {} for name in names}}).encode()


def fill(stage: OutputStage, content: bytes = b"graph") -> None:
    name = stage.place.path.name if stage.place.is_file else "unet_graph.mindir"
    stage.write(name, [content[:2], content[2:]])
    stage.write("unet_variables/data_0", [b"weights"])
    stage.write(stage.place.beside(output.REPORT), [b"{}"])
    stage.write(stage.place.beside(MANIFEST), [manifest(name, "unet_variables/data_0")])


def publish(out: Path, content: bytes = b"graph") -> None:
    with OutputStage(place(out, [])) as stage:
        fill(stage, content)
        stage.publish()


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".attnfuse")]


FOLDER = {"unet_graph.mindir", "unet_variables/data_0", "manifest.json", "report.json"}
FILE = {"m.mindir", "unet_variables/data_0", "m.manifest.json", "m.report.json"}


@pytest.mark.parametrize(("name", "expected"), [("out", FOLDER), ("m.mindir", FILE), ("a/b/out", FOLDER)])
def test_everything_arrives(tmp_path: Path, name: str, expected: set[str]) -> None:
    out = tmp_path / name
    publish(out)
    folder = out.parent if name.endswith(".mindir") else out
    assert set(tree(folder)) == expected
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("name", ["out", "m.mindir"])
def test_its_own_output_is_replaced(tmp_path: Path, name: str) -> None:
    publish(tmp_path / name, b"old one")
    publish(tmp_path / name, b"new one")
    graph = tmp_path / (name if name.endswith(".mindir") else "out/unet_graph.mindir")
    assert graph.read_bytes() == b"new one"
    assert hidden(tmp_path) == []


def test_a_folder_is_replaced_where_the_system_cannot_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_exchange", lambda a, b: False)
    publish(tmp_path / "out", b"old one")
    publish(tmp_path / "out", b"new one")
    assert (tmp_path / "out" / "unet_graph.mindir").read_bytes() == b"new one"
    assert hidden(tmp_path) == []


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    publish(tmp_path / "out")
    assert set(tree(tmp_path / "out")) == FOLDER


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [False, True])
def test_nothing_is_left_of_a_run_that_stops(tmp_path: Path, error: type[BaseException], before: bool) -> None:
    if before:
        publish(tmp_path / "out", b"old one")
    seen = tree(tmp_path)

    def stop() -> None:
        with OutputStage(place(tmp_path / "out", [])) as stage:
            fill(stage, b"new one")
            raise error

    with pytest.raises(error):
        stop()
    assert tree(tmp_path) == seen
    assert hidden(tmp_path) == []


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("ten years")
    with pytest.raises(UsageError, match="was not written by attnfuse"):
        place(out, [])
    (out / MANIFEST).write_text('{"schema": "somebody/1", "outputs": {}}')
    with pytest.raises(UsageError, match="was not written by attnfuse"):
        place(out, [])
    (out / MANIFEST).write_text('{"schema": "attnfuse.manifest/1", "outputs": {"thesis.txt": {}}}')
    with pytest.raises(
        UsageError, match=r"another version of attnfuse \(its manifest\.json is attnfuse\.manifest/1, and"
    ):
        place(out, [])
    (out / MANIFEST).write_bytes(manifest())
    with pytest.raises(UsageError, match=r"holds thesis\.txt, which attnfuse did not write"):
        place(out, [])
    assert (out / "thesis.txt").read_text() == "ten years"


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "m.mindir"
    out.write_bytes(b"somebody's")
    with pytest.raises(UsageError, match=r"no m\.manifest\.json of ours"):
        place(out, [])
    (tmp_path / "out").write_bytes(b"somebody's")
    with pytest.raises(UsageError, match="is a file; name a folder"):
        place(tmp_path / "out", [])
    (tmp_path / "folder.mindir").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        place(tmp_path / "folder.mindir", [])


def test_variables_that_serve_another_graph_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "unet_variables").mkdir()
    (tmp_path / "unet_variables" / "data_0").write_bytes(b"others'")
    with pytest.raises(OutputError, match="data_0 exists beside it with other content"):
        publish(tmp_path / "m.mindir")
    assert set(tree(tmp_path)) == {"unet_variables/data_0"}
    (tmp_path / "unet_variables" / "data_0").write_bytes(b"weights")
    publish(tmp_path / "m.mindir")
    assert set(tree(tmp_path)) == FILE


def test_inputs_are_never_written_to(tmp_path: Path) -> None:
    source = tmp_path / "in" / "m.mindir"
    source.parent.mkdir()
    source.write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for out in (source, source.parent, tmp_path / "link", tmp_path / "link" / "m.mindir", tmp_path):
        with pytest.raises(UsageError, match="overlap"):
            place(out, [source])
    for out in (source.parent, source.parent / "out", tmp_path / "link" / "a" / "out"):
        with pytest.raises(UsageError, match="overlap"):
            place(out, [source.parent])
    place(source.parent / "out", [source])  # beside an input file is fine


@pytest.mark.parametrize("out", ["file/out", "file/sub/out.mindir", "/proc/attnfuse/out"])
def test_a_place_that_cannot_be_written_is_told_before_any_work(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputError, match="cannot be written"):
        OutputStage(place(tmp_path / out, []))
    assert tree(tmp_path) == {"file": b"x"}


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"), OutputStage(place(tmp_path / "out", [])) as stage:
        stage.write("a", chunks())
    assert list(tmp_path.iterdir()) == []


def dead(folder: Path, name: str) -> Path:
    """What a killed run leaves."""
    left = folder / name
    (left / "out").mkdir(parents=True)
    (left / "out" / "data_0").write_bytes(b"half")
    return left


def test_dead_runs_are_cleared_away_and_live_ones_and_strangers_left(tmp_path: Path) -> None:
    dead(tmp_path, ".attnfuse-deaddead")
    (tmp_path / ".attnfuse-empty123").mkdir()
    alive = dead(tmp_path, ".attnfuse-alive123")
    strange = dead(tmp_path, ".attnfuse-strange1")
    (strange / "mine").touch()
    dead(tmp_path, ".attnfuse-notes")
    (tmp_path / ".attnfuse-afile123").touch()
    outside = dead(tmp_path / "elsewhere", ".attnfuse-other123")
    (tmp_path / ".attnfuse-link1234").symlink_to(outside)
    strangers = [f".attnfuse-{name}" for name in ("afile123", "link1234", "notes", "strange1")]
    lock = os.open(alive, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    publish(tmp_path / "out")
    assert sorted(hidden(tmp_path)) == sorted([".attnfuse-alive123", *strangers])
    os.close(lock)
    publish(tmp_path / "out")
    assert sorted(hidden(tmp_path)) == strangers
    assert (outside / "out" / "data_0").exists()


def test_a_new_folder_that_another_run_clears_away_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between being made and being locked it looks dead."""
    real = fcntl.flock
    taken: list[str] = []

    def flock(descriptor: int, operation: int) -> None:
        if not taken:
            taken.extend(hidden(tmp_path))
            (tmp_path / taken[0]).rmdir()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    publish(tmp_path / "out")
    assert len(taken) == 1
    assert set(tree(tmp_path / "out")) == FOLDER


def test_two_runs_into_one_place_do_not_disturb_each_other(tmp_path: Path) -> None:
    with OutputStage(place(tmp_path / "out", [])) as one, OutputStage(place(tmp_path / "out", [])) as two:
        fill(one, b"one")
        fill(two, b"two")
        one.publish()
        two.publish()
    assert (tmp_path / "out" / "unet_graph.mindir").read_bytes() == b"two"
    assert hidden(tmp_path) == []


def test_existing_files_are_linked(tmp_path: Path) -> None:
    weights = tmp_path / "data_0"
    weights.write_bytes(b"weights")
    with OutputStage(place(tmp_path / "out", [])) as stage:
        stage.adopt("v/data_0", weights, digest(weights))
        stage.publish()
    assert (tmp_path / "out" / "v" / "data_0").stat().st_ino == weights.stat().st_ino


def test_or_copied_where_links_cannot_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    weights = tmp_path / "data_0"
    weights.write_bytes(b"weights" * 3_000_000)
    monkeypatch.setattr(os, "link", refuse)
    with OutputStage(place(tmp_path / "out", [])) as stage:
        assert stage.adopt("v/data_0", weights, digest(weights)) == digest(weights)
        stage.publish()
    copy = tmp_path / "out" / "v" / "data_0"
    assert copy.read_bytes() == weights.read_bytes()
    assert copy.stat().st_ino != weights.stat().st_ino


def test_digests_are_those_of_the_files(tmp_path: Path) -> None:
    weights = tmp_path / "data_0"
    weights.write_bytes(b"weights")
    noted = Digests()
    noted.write("a", [b"ab", b"c"])
    noted.adopt("v/data_0", weights, digest(weights))
    with OutputStage(place(tmp_path / "out", [])) as stage:
        stage.write("a", [b"abc"])
        stage.adopt("v/data_0", weights, digest(weights))
        stage.publish()
        assert noted.files == stage.files
    assert noted.files == {n: digest(tmp_path / "out" / n) for n in ("a", "v/data_0")}
    assert noted.files["a"] == FileDigest("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", bytes=3)


CONFIG = "m.lite.cfg"


def publish_with_config(out: Path, config: bytes | None) -> None:
    """One graph file, its reports, and the configuration if there is one."""
    with OutputStage(place(out, [])) as stage:
        listed = ["m.mindir"]
        stage.write("m.mindir", [b"graph"])
        if config is not None:
            stage.write(CONFIG, [config])
            listed.append(CONFIG)
        stage.write("m.manifest.json", [manifest(*listed)])
        stage.publish()


def test_a_configuration_beside_a_file_is_replaced_and_removed(tmp_path: Path) -> None:
    out = tmp_path / "m.mindir"
    publish_with_config(out, b"old")
    publish_with_config(out, b"new")
    assert (tmp_path / CONFIG).read_bytes() == b"new"
    publish_with_config(out, None)
    assert set(tree(tmp_path)) == {"m.mindir", "m.manifest.json"}


def test_a_configuration_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_bytes(b"theirs")
    publish_with_config(tmp_path / "m.mindir", None)
    with pytest.raises(OutputError, match=r"m.lite.cfg exists beside it with other content"):
        publish_with_config(tmp_path / "m.mindir", b"ours")
    assert (tmp_path / CONFIG).read_bytes() == b"theirs"
