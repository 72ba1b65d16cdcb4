"""Entries are there whole or not at all; what is not ours stays."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from attnfuse.cache.store import FORMAT, KEPT_DAYS, Store, key_of
from attnfuse.errors import OutputError

KEY = key_of("what it is about")


def test_what_was_put_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get("kind", KEY) is None
    store.put("kind", KEY, b"one\ntwo")
    store.put("kind", KEY, b"one\nthree")
    assert Store(tmp_path).get("kind", KEY) == b"one\nthree"
    assert store.get("other kind", KEY) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo", key_of(b"x").encode() + b"\ny"])
def test_what_is_damaged_is_not_there(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    store.put("kind", KEY, b"x")
    (tmp_path / FORMAT / "kind" / KEY).write_bytes(content)
    assert store.get("kind", KEY) is None


def test_what_dead_runs_left_is_removed_and_what_live_ones_write_is_not(tmp_path: Path) -> None:
    Store(tmp_path)
    writing = tmp_path / FORMAT / "writing"
    dead, alive, foreign = writing / "entry-dead", writing / "entry-alive", writing / "notes"
    for path in (dead, alive, foreign):
        path.write_text("half")
    with alive.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        Store(tmp_path)
        assert sorted(writing.iterdir()) == [alive, foreign]


def test_what_nobody_asked_for_in_a_long_time_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = [key_of(str(number)) for number in range(3)]
    for key in keys:
        store.put("kind", key, b"")
    folder = tmp_path / FORMAT / "kind"
    (folder / "notes").write_text("mine")
    long_ago = time.time() - (KEPT_DAYS + 1) * 86400
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    assert store.get("kind", keys[0]) == b""
    store.put("kind", keys[1], b"")
    store.tidy()
    assert {path.name for path in folder.iterdir()} == {keys[0], keys[1], "notes"}


def test_a_disk_that_refuses_is_told_of_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / FORMAT / "kind").write_text("a file in its way")
    store.put("kind", KEY, b"")
    assert "cannot be written" in store.error
    assert list((tmp_path / FORMAT / "writing").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"the cache .*file/cache cannot be written"):
        Store(tmp_path / "file" / "cache")
