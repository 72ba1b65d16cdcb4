"""attnfuse cache: what is there, and what is removed of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from attnfuse.store.entries import FORMAT, key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from tests.cli.conftest import Command
from tests.support.graphs import transformer

DAY = 86400


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Entries of ten, twenty and thirty days, each of some hundred bytes, and one of today."""
    store = Store(tmp_path / "cache")
    for days, kind in ((0, Kind.GRAPHS), (10, Kind.GRAPHS), (20, Kind.TRACES), (30, Kind.TRACES)):
        store.put(kind, key_of(str(days)), b"x" * 100)
        path = tmp_path / "cache" / FORMAT / kind / key_of(str(days))
        os.utime(path, (time.time() - days * DAY - 60,) * 2)
    (tmp_path / "cache" / FORMAT / "graphs" / "notes").write_text("mine")
    return tmp_path / "cache"


def left(cache: Path) -> list[int]:
    """The days of the entries that are left."""
    keys = {one.key for one in Store(cache).listed()}
    return [days for days in (0, 10, 20, 30) if key_of(str(days)) in keys]


def test_nothing_is_made_where_there_is_no_cache(command: Command, tmp_path: Path) -> None:
    for place in (tmp_path / "none", tmp_path):
        answer = command("cache", place)
        assert (answer.code, f"there is no cache at {place}" in answer.error) == (2, True)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_told_and_stays(command: Command, cache: Path) -> None:
    answer = command("cache", cache, "--json")
    assert answer.code == 0
    assert {kind: told["objects"] for kind, told in answer.document["kinds"].items()} == {"graphs": 2, "traces": 2}
    assert answer.document["removed"] == {}
    assert command("cache", cache).out.splitlines()[0].startswith("graphs: 2 objects, ")
    assert left(cache) == [0, 10, 20, 30]


@pytest.mark.parametrize(
    ("options", "days"),
    [
        (["--max-age", "2w"], [0, 10]),
        (["--max-age", "1h"], [0]),
        (["--max-size", "500"], [0, 10]),
        (["--max-size", "1GiB"], [0, 10, 20, 30]),
        (["--max-size", "0"], []),
        (["--max-age", "25d", "--max-size", "300"], [0]),
    ],
)
def test_the_oldest_go(command: Command, cache: Path, options: list[str], days: list[int]) -> None:
    assert command("cache", cache, *options).code == 0
    assert left(cache) == days
    assert (cache / FORMAT / "graphs" / "notes").read_text() == "mine"


def test_bad_ones_go(command: Command, cache: Path, tmp_path: Path) -> None:
    path = cache / FORMAT / "graphs" / key_of("0")
    path.write_bytes(path.read_bytes()[:-1])
    assert command("cache", cache, "--bad").code == 0
    assert left(cache) == [10, 20, 30]
    assert command("cache", cache, "--max-age", "25d").code == 0
    assert left(cache) == [10, 20], "nobody asked for what was looked at"
    (tmp_path / "key").write_text("a key of at least sixteen bytes")
    answer = command("cache", cache, "--bad", "--cache-key", tmp_path / "key")
    assert (answer.code, left(cache)) == (2, [10, 20])
    assert answer.error.endswith("give the key that they were signed with, or remove them with --max-age 0h.")
    Store(cache, tmp_path / "key").put(Kind.GRAPHS, key_of("signed"), b"signed")
    assert command("cache", cache, "--bad", "--cache-key", tmp_path / "key").code == 0
    assert [one.key for one in Store(cache).listed()] == [key_of("signed")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-age", "30"], "'30' is no age; give one such as 12h, 30d or 8w"),
        (["--max-size", "much"], "'much' is no size; give one such as 50GiB"),
    ],
)
def test_what_cannot_be_meant_is_told(command: Command, cache: Path, options: list[str], said: str) -> None:
    answer = command("cache", cache, *options)
    assert answer.code == 2
    assert said in answer.err
    assert "is a URL" not in answer.err
    assert command("cache", "s3://").code == 2


def test_a_key_is_of_a_cache(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named with no cache it would do nothing, and nobody would know; of the environment it is for whoever has one."""
    graph, key = transformer(sites=1).write(tmp_path / "unet.mindir"), tmp_path / "key"
    key.write_bytes(b"k" * 32)
    answer = command("inspect", graph, "--cache-key", key)
    assert answer.code == 2
    assert "--cache-key signs entries of a cache, and there is none; give --cache-dir too." in answer.error
    for order in (
        ("--cache-key", key, "--cache-dir", tmp_path / "c"),
        ("--cache-dir", tmp_path / "c", "--cache-key", key),
    ):
        assert command("inspect", graph, *order).code == 0
    monkeypatch.setenv("ATTNFUSE_CACHE_KEY", str(key))
    assert command("inspect", graph).code == 0
