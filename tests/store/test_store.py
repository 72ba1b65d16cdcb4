"""An entry is what was put, or absent, wherever it is kept."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from attnfuse.errors import UsageError
from attnfuse.store import entries
from attnfuse.store.entries import FORMAT, key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.places import Place, place_of
from attnfuse.store.store import Store

KEY, OTHER = key_of("what it is about"), key_of("something else")


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "folder":
        yield tmp_path / "cache"
        return
    url = f"memory://{uuid.uuid4().hex}/farm"
    yield url
    fsspec.filesystem("memory").rm(url, recursive=True)


def raw(place: Place, kind: str, key: str, content: bytes | None = None) -> bytes:
    """The bytes that lie there, or put others."""
    path = f"{place}/{FORMAT}/{kind}/{key}"
    with fsspec.open(path, "rb" if content is None else "wb") as file:
        if content is None:
            return bytes(file.read())
        file.write(content)
        return content


def test_what_was_put_is_found(place: Place) -> None:
    store = Store(place)
    assert store.get(Kind.TRACES, KEY) is None
    store.put(Kind.TRACES, KEY, b"one\ntwo")
    store.put(Kind.TRACES, KEY, b"one\nthree")
    assert Store(place).get(Kind.TRACES, KEY) == b"one\nthree"
    assert store.get(Kind.GRAPHS, KEY) is None
    assert [(one.kind, one.key) for one in store.listed()] == [(Kind.TRACES, KEY)]
    for one in store.listed():
        store.remove(one)
        store.remove(one)
    assert store.get(Kind.TRACES, KEY) is None
    assert not store.error


def flipped(entry: bytes) -> bytes:
    return entry[:-1] + bytes([entry[-1] ^ 1])


BAD: dict[str, Callable[[bytes], bytes]] = {
    "corrupted": flipped,
    "truncated": lambda entry: entry[:-1],
    "cut in the header": lambda entry: entry[:20],
    "empty": lambda entry: b"",
    "oversized": lambda entry: entry + b"x",
    "of another length": lambda entry: entry.replace(b"entry 7 ", b"entry 8 "),
    "without a header": lambda entry: entry.partition(b"\n")[2],
    "of another format": lambda entry: key_of(b"content").encode() + b"\ncontent",
    "of another digest": lambda entry: entry.replace(entry.split()[2], key_of("another").encode()),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_entry_is_none_and_is_made_anew(place: Place, bad: str) -> None:
    store = Store(place)
    store.put(Kind.TRACES, KEY, b"content")
    made = BAD[bad](raw(place, Kind.TRACES, KEY))
    raw(place, Kind.TRACES, KEY, made)
    assert store.get(Kind.TRACES, KEY) is None
    store.put(Kind.TRACES, KEY, b"content")
    assert store.get(Kind.TRACES, KEY) == b"content"
    assert not store.error


def test_an_entry_under_the_name_of_another_is_none(place: Place) -> None:
    store = Store(place)
    store.put(Kind.TRACES, KEY, b"content")
    entry = raw(place, Kind.TRACES, KEY)
    store.put(Kind.TRACES, OTHER, b"")
    raw(place, Kind.TRACES, OTHER, entry)
    assert store.get(Kind.TRACES, OTHER) is None
    store.put(Kind.GRAPHS, KEY, b"")
    raw(place, Kind.GRAPHS, KEY, entry)
    assert store.get(Kind.GRAPHS, KEY) is None


def test_what_is_too_large_is_not_kept_and_not_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(place)
    store.put(Kind.TRACES, KEY, b"x" * 2000)
    for module in ("folder", "remote", "store"):
        monkeypatch.setattr(f"attnfuse.store.{module}.MOST_BYTES", 1000)
    assert store.get(Kind.TRACES, KEY) is None
    store.put(Kind.TRACES, OTHER, b"x" * 2000)
    assert [one.key for one in store.listed()] == [KEY]
    assert entries.MOST_BYTES > 2**31


def test_signed_entries_are_taken_by_those_with_the_key(place: Place, tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).write_text(f"{name} is thirty-two bytes or more\n")
    ours, theirs, none = (Store(place, file) for file in (tmp_path / "ours", tmp_path / "theirs", None))
    ours.put(Kind.TRACES, KEY, b"content")
    assert ours.get(Kind.TRACES, KEY) == none.get(Kind.TRACES, KEY) == b"content"
    assert theirs.get(Kind.TRACES, KEY) is None
    none.put(Kind.TRACES, KEY, b"content")
    assert ours.get(Kind.TRACES, KEY) is None
    assert b"thirty-two" not in raw(place, Kind.TRACES, KEY)


@pytest.mark.parametrize("content", [None, b"", b" \n", b"too short"])
def test_a_key_file_that_is_none_is_told_of(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError, match=r"the key file .*key (cannot be read|holds fewer than 16 bytes)"):
        Store(tmp_path / "cache", tmp_path / "key")


def test_how_a_place_is_named() -> None:
    assert place_of("cache") == Path("cache")
    assert place_of("file:///srv/a%20farm") == Path("/srv/a farm")
    assert place_of("S3://bucket/farm/") == "s3://bucket/farm"
    for text in ("s3://", "s3:///", "file://host/farm"):
        with pytest.raises(UsageError, match="the cache"):
            place_of(text)
