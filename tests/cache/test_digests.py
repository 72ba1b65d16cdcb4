"""A digest is believed only of a file that cannot have changed without its times telling."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from attnfuse.cache.digests import KnownDigests
from attnfuse.output import FileDigest, OutputStage, place
from attnfuse.store.entries import FORMAT, key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from tests.support.waiting import tick


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"some weights")
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute has passed since the file was written."""
    clock = SimpleNamespace(
        time_ns=lambda: time.time_ns() + 60 * 10**9, time=time.time, monotonic=time.monotonic, sleep=time.sleep
    )
    monkeypatch.setattr("attnfuse.cache.digests.time", clock)


def read(digests: KnownDigests, path: Path) -> bool:
    """Whether the file is read for its digest, which must be right."""
    told: list[int] = []
    found = digests.of(path, lambda done, total: told.append(done))
    assert found == FileDigest(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    return bool(told)


def test_what_has_just_been_written_is_read_again(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = file.stat().st_ctime_ns
    monkeypatch.setattr("attnfuse.cache.digests.time", SimpleNamespace(time_ns=lambda: written + 10**9))
    store = Store(tmp_path / "cache")
    digests = KnownDigests(store)
    assert read(digests, file)
    assert not read(digests, file)
    assert read(KnownDigests(store), file)


@pytest.mark.usefixtures("later")
def test_what_is_older_is_known_until_it_changes(tmp_path: Path, file: Path) -> None:
    store = Store(tmp_path / "cache")
    assert read(KnownDigests(store), file)
    assert not read(KnownDigests(store), file)
    assert read(KnownDigests(store, trusting=False), file)
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    tick(file)
    file.write_bytes(b"same weights")
    os.utime(file, ns=times)
    assert read(KnownDigests(store), file)
    file.rename(tmp_path / "other")
    (tmp_path / "other").write_bytes(b"other weights")
    assert read(KnownDigests(store), tmp_path / "other")


def test_what_was_published_is_known_at_once(tmp_path: Path, file: Path) -> None:
    """Also under the name it was linked from."""
    store = Store(tmp_path / "cache")
    digests = KnownDigests(store)
    target = place(tmp_path / "out", [file])
    with OutputStage(target) as stage:
        stage.write("written", [b"a ", b"graph"])
        stage.adopt("linked", file, digests.of(file))
        stage.publish()
    digests.learn(target, stage)
    for path in (tmp_path / "out" / "written", tmp_path / "out" / "linked", file):
        assert not read(KnownDigests(store), path)


def test_what_changed_while_it_was_published_is_not(tmp_path: Path, file: Path) -> None:
    store = Store(tmp_path / "cache")
    digests = KnownDigests(store)
    target = place(tmp_path / "out", [file])
    with OutputStage(target) as stage:
        stage.write("written", [b"a graph"])
        stage.adopt("linked", file, digests.of(file))
        stage.publish()
    for name in ("written", "linked"):
        (tmp_path / "out" / name).write_bytes(b"an edited one")
    digests.learn(target, stage)
    for name in ("written", "linked"):
        assert read(KnownDigests(store), tmp_path / "out" / name)


@pytest.mark.usefixtures("later")
def test_a_tree_is_its_names_and_contents(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    tree = tmp_path / "tree"
    (tree / "package" / "__pycache__").mkdir(parents=True)
    (tree / "package" / "a.py").write_text("a")
    first = KnownDigests(store).tree(tree)
    (tree / "package" / "__pycache__" / "a.pyc").write_text("compiled")
    assert KnownDigests(store).tree(tree) == first
    (tree / "package" / "data.txt").write_text("b")
    assert KnownDigests(store).tree(tree, (".py",)) == first
    assert KnownDigests(store).tree(tree) != first
    (tree / "package" / "data.txt").rename(tree / "package" / "b.py")
    assert KnownDigests(store).tree(tree, (".py",)) != first
    copy = tmp_path / "copy" / "package"
    copy.mkdir(parents=True)
    (copy / "a.py").write_text("a")
    assert KnownDigests(store).tree(tmp_path / "copy") == first, "where it lies does not count"
    lie = key_of("a lie")
    for entry in (tmp_path / "cache" / FORMAT / "trees").iterdir():
        store.put(Kind.TREES, entry.name, lie.encode())
    assert KnownDigests(store).tree(tree) == lie
    assert KnownDigests(store, trusting=False).tree(tmp_path / "copy") == first


def test_a_link_does_not_hold(tmp_path: Path, file: Path) -> None:
    digests = KnownDigests()
    found = digests.of(file)
    (tmp_path / "link").symlink_to(file)
    assert digests.holds(file, found)
    assert not digests.holds(tmp_path / "link", found)
    assert not digests.holds(tmp_path / "absent", found)
    assert not digests.holds(tmp_path, found)
