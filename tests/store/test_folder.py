"""Entries of a folder are there whole or not at all; what is not ours stays."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

from attnfuse.errors import OutputError
from attnfuse.store.entries import FORMAT, key_of
from attnfuse.store.folder import FolderBackend
from attnfuse.store.kinds import Kind
from attnfuse.store.places import PlaceError
from attnfuse.store.store import KEPT_DAYS, Store
from tests.support.console import environment
from tests.support.waiting import PATIENCE, wait_for

KEY = key_of("what it is about")


def test_what_dead_runs_left_is_removed_and_what_live_ones_write_is_not(tmp_path: Path) -> None:
    FolderBackend(tmp_path)
    writing = tmp_path / FORMAT / "writing"
    dead, alive, foreign = writing / "entry-dead", writing / "entry-alive", writing / "notes"
    for path in (dead, alive, foreign):
        path.write_text("half")
    with alive.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        FolderBackend(tmp_path)
        assert sorted(writing.iterdir()) == [alive, foreign]


def test_what_nobody_asked_for_in_a_long_time_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = [key_of(str(number)) for number in range(3)]
    for key in keys:
        store.put(Kind.TRACES, key, b"")
    store.put(Kind.GRAPHS, KEY, b"")
    folder = tmp_path / FORMAT / Kind.TRACES
    (folder / "notes").write_text("mine")
    long_ago = time.time() - (KEPT_DAYS + 1) * 86400
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    assert store.get(Kind.TRACES, keys[0]) == b""
    store.put(Kind.TRACES, keys[1], b"")
    store.tidy()
    assert {path.name for path in folder.iterdir()} == {keys[0], keys[1], "notes"}
    assert {one.key for one in store.listed()} == {keys[0], keys[1], KEY}


def test_a_disk_that_refuses_is_told_of_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / FORMAT / Kind.TRACES).write_text("a file in its way")
    store.put(Kind.TRACES, KEY, b"")
    assert "cannot be written" in store.error
    assert list((tmp_path / FORMAT / "writing").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"the cache .*file/cache cannot be written"):
        Store(tmp_path / "file" / "cache")


def test_who_claims_an_entry_has_others_wait(tmp_path: Path) -> None:
    first, second = FolderBackend(tmp_path), FolderBackend(tmp_path)
    told: list[str] = []

    def wait() -> None:
        with second.claim("kind", KEY):
            told.append("second")

    with first.claim("kind", KEY):
        waiting = threading.Thread(target=wait)
        waiting.start()
        with second.claim("kind", key_of("another")):
            told.append("another")
        time.sleep(0.2)
        told.append("first")
    waiting.join(PATIENCE)
    assert told == ["another", "first", "second"]
    assert list((tmp_path / FORMAT / "claims").iterdir()) == []


def fails(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def test_a_share_that_goes_away_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While something is claimed, written, or listed."""
    store = Store(tmp_path)
    store.put(Kind.TRACES, KEY, b"content")
    with monkeypatch.context() as patch, store.claim(Kind.TRACES, KEY):
        for name in ("unlink", "replace", "rename"):
            patch.setattr(os, name, fails)
            patch.setattr(Path, name, fails)
        store.put(Kind.TRACES, KEY, b"other content")
    assert store.error == f"the cache {tmp_path} cannot be written: Stale file handle"
    assert store.get(Kind.TRACES, KEY) == b"content"
    monkeypatch.setattr(Path, "iterdir", fails)
    with pytest.raises(PlaceError, match="Stale file handle"):
        list(store.listed())
    store.tidy()


CLAIMING = """
import pathlib, sys, time
from attnfuse.store.folder import FolderBackend
with FolderBackend(pathlib.Path(sys.argv[1])).claim("kind", sys.argv[2]):
    print("claimed", flush=True)
    time.sleep(600)
"""


def test_nobody_waits_for_the_dead(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIMING, str(tmp_path), KEY]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as claiming:
        assert claiming.stdout is not None
        assert claiming.stdout.readline() == "claimed\n"
        claiming.kill()
    done: list[bool] = []

    def wait() -> None:
        with FolderBackend(tmp_path).claim("kind", KEY):
            done.append(True)

    threading.Thread(target=wait, daemon=True).start()
    assert wait_for(lambda: done)
