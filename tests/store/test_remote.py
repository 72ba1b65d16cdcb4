"""Places that fsspec knows: what is said of those it does not, and of one that is away."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from attnfuse.errors import OutputError, UsageError
from attnfuse.store import remote
from attnfuse.store.entries import key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.remote import RemoteBackend
from attnfuse.store.store import Store
from tests.support.waiting import PATIENCE

KEY = key_of("what it is about")


@pytest.fixture
def url() -> Iterator[str]:
    found = f"memory://{uuid.uuid4().hex}"
    yield found
    fsspec.filesystem("memory").rm(found, recursive=True)


def test_an_unknown_place_is_told_of() -> None:
    with pytest.raises(UsageError, match=r"the cache odd://place is no place that fsspec knows"):
        RemoteBackend("odd://place")
    with pytest.raises(UsageError, match=r"the cache sftp://host/farm needs a package that is not installed"):
        RemoteBackend("sftp://somebody:secret@host/farm")


def refuse(*arguments: Any, **more: Any) -> None:
    raise ConnectionError("nobody answers at memory://me:secret@farm")


def test_a_place_that_is_away_is_asked_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(url)
    store.put(Kind.TRACES, KEY, b"content")
    system = type(fsspec.filesystem("memory"))
    with monkeypatch.context() as patched:
        patched.setattr(system, "info", refuse)
        assert store.get(Kind.TRACES, KEY) is None
    assert store.error == f"the cache {url} cannot be read: nobody answers at memory://farm"
    assert store.get(Kind.TRACES, KEY) is None, "it may take minutes to find out"
    assert Store(url).get(Kind.TRACES, KEY) == b"content"
    monkeypatch.setattr(system, "pipe_file", refuse)
    with pytest.raises(OutputError, match=f"the cache {url} cannot be written: nobody answers at memory://farm"):
        Store(url)


def test_who_claims_an_entry_has_others_wait(url: str) -> None:
    first, second = RemoteBackend(url), RemoteBackend(url)
    told: list[str] = []

    def wait() -> None:
        with second.claim("kind", KEY):
            told.append("second")

    with first.claim("kind", KEY):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)
        told.append("first")
    waiting.join(PATIENCE)
    assert told == ["first", "second"]


def test_a_claim_of_the_dead_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a process of this machine at once, that of another after a while."""
    backend = RemoteBackend(url)
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    path = f"{backend._root}/claims/kind-{KEY}"
    own = {"host": socket.gethostname(), "process": dead.pid}
    fsspec.filesystem("memory").pipe_file(path, json.dumps(own).encode())
    with backend.claim("kind", KEY):
        pass
    monkeypatch.setattr(remote, "_CLAIM_SECONDS", 0.3)
    fsspec.filesystem("memory").pipe_file(path, json.dumps({"host": "elsewhere", "process": os.getpid()}).encode())
    with backend.claim("kind", KEY):
        assert fsspec.filesystem("memory").exists(path)
    assert not fsspec.filesystem("memory").exists(path)


@pytest.mark.parametrize("claim", [b"", b"no claim", b"[]", b'{"host": 1}', b'{"host": "x", "process": "y"}'])
def test_a_claim_that_is_none_is_taken(url: str, claim: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while: it may be one that is being written."""
    monkeypatch.setattr(remote, "_CLAIM_SECONDS", 0.1)
    backend = RemoteBackend(url)
    fsspec.filesystem("memory").pipe_file(f"{backend._root}/claims/kind-{KEY}", claim)
    with backend.claim("kind", KEY):
        pass


def test_who_lives_is_waited_for_however_long_it_takes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine, whose processes are not known here."""
    monkeypatch.setattr(remote, "_CLAIM_SECONDS", 0.4)
    first, second = RemoteBackend(url), RemoteBackend(url)
    told: list[str] = []

    def wait() -> None:
        with second.claim("kind", KEY):
            told.append("second")

    with first.claim("kind", KEY):
        monkeypatch.setattr(remote, "_is_dead", lambda claim: False)
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(4 * 0.4)
        told.append("first")
    waiting.join(PATIENCE)
    assert told == ["first", "second"]
    assert not fsspec.filesystem("memory").exists(f"{first._root}/claims/kind-{KEY}")


def test_a_claim_that_another_has_taken_is_left_to_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a process was stopped for so long that it was taken for dead."""
    monkeypatch.setattr(remote, "_CLAIM_SECONDS", 0.1)
    backend = RemoteBackend(url)
    path, theirs = f"{backend._root}/claims/kind-{KEY}", b'{"host": "elsewhere", "process": 1, "claim": "theirs"}'
    with backend.claim("kind", KEY):
        fsspec.filesystem("memory").pipe_file(path, theirs)
        time.sleep(0.2)
    assert fsspec.filesystem("memory").cat_file(path) == theirs


def test_what_is_not_answered_in_time_is_not_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes may take longer."""
    monkeypatch.setattr(remote, "_ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(remote, "_BYTES_A_SECOND", 1000)
    store, system = Store(url), type(fsspec.filesystem("memory"))
    put = system.pipe_file

    def slowly(*given: Any, **more: Any) -> None:
        time.sleep(0.4)
        put(*given, **more)

    monkeypatch.setattr(system, "pipe_file", slowly)
    store.put(Kind.TRACES, KEY, b"x" * 1000)
    assert not store.error
    assert store.get(Kind.TRACES, KEY) == b"x" * 1000
    store.put(Kind.TRACES, KEY, b"x")
    assert store.error == f"the cache {url} cannot be written: no answer in 0 s"


def test_a_folder_that_cannot_be_made_is_told_of(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on another machine's disk that went away."""
    store, system = Store(url), type(fsspec.filesystem("memory"))

    def gone(*arguments: Any, **more: Any) -> None:
        raise FileNotFoundError("it is gone")

    monkeypatch.setattr(system, "pipe_file", gone)
    monkeypatch.setattr(system, "makedirs", gone)
    store.put(Kind.TRACES, KEY, b"x")
    assert store.error == f"the cache {url} cannot be written: it is gone"


def test_a_place_without_claims_has_nobody_wait(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = RemoteBackend(url)
    monkeypatch.setattr(type(backend._system), "pipe_file", refuse)
    with backend.claim("kind", KEY), backend.claim("kind", KEY):
        pass
