"""Entries in a place that fsspec knows: an object store (`s3://…`, with s3fs), or another machine's disk.

An object store takes an object whole or not at all. Where a place does not, an entry that was cut off shows by its
length and digest, as any other bad one. A place that does not answer in time is one that cannot be reached: how often a
client tries again, and how long it waits meanwhile, is its own. Who may read and write there is for the client to know
(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, a profile, fsspec's own configuration): no secret is looked at here.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar, cast

from attnfuse.errors import OutputError, UsageError
from attnfuse.names import shortened
from attnfuse.store.entries import FORMAT, HEAD_BYTES, KEY, MOST_BYTES
from attnfuse.store.places import Listed, PlaceError, shown

_T = TypeVar("_T")

_ANSWER_SECONDS: Final = 60.0
"""What an answer may take, with all that a client tries again meanwhile, beside what its bytes take."""
_BYTES_A_SECOND: Final = 2**20
"""A connection that is slower is as good as none."""
_LISTING_SECONDS: Final = 600.0
"""What it may take to list all there is: a client asks for a thousand at a time."""
_CLAIM_SECONDS: Final = 120.0
"""A claim that stands unchanged for longer was left by somebody who died: who lives renews it four times as often."""
_LOOK_SECONDS: Final = 0.2
_BUCKETS: Final = frozenset({"abfs", "az", "gcs", "gs", "obs", "oss", "s3", "s3a"})
"""Places without folders: what is not found there is the bucket, which is not ours to make."""
_TIMES: Final = ("LastModified", "last_modified", "mtime", "modified", "created")
_MARK: Final = "format"


class RemoteBackend:
    """A place by its URL."""

    asked_shows = False

    def __init__(self, url: str) -> None:
        """Raises UsageError where nothing that is installed knows such a place, OutputError where it is not written."""
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError:
            raise UsageError(f"the cache {shown(url)} needs fsspec: install attnfuse[store].") from None
        try:
            # What others write meanwhile is to be seen.
            self._system, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            raise UsageError(f"the cache {shown(url)} needs a package that is not installed: {_said(error)}.") from None
        except ValueError as error:
            raise UsageError(f"the cache {shown(url)} is no place that fsspec knows: {_said(error)}.") from None
        protocol = self._system.protocol
        self._has_folders = _BUCKETS.isdisjoint((protocol,) if isinstance(protocol, str) else protocol)
        self._root = f"{root.rstrip('/')}/{FORMAT}"
        try:
            self._put(f"{self._root}/{_MARK}", f"{FORMAT}\n".encode())
        except PlaceError as error:
            raise OutputError(f"the cache {shown(url)} cannot be written: {error}.") from None

    def read(self, kind: str, key: str, *, asked: bool = True) -> bytes | None:
        """See `Backend.read`."""
        path = f"{self._root}/{kind}/{key}"
        try:
            size = _asked(lambda: int(self._system.info(path)["size"]))
            if not 0 < size <= HEAD_BYTES + MOST_BYTES:
                return None
            return _asked(lambda: bytes(self._system.cat_file(path)), size)
        except FileNotFoundError:
            return None

    def write(self, kind: str, key: str, data: bytes) -> None:
        """See `Backend.write`."""
        self._put(f"{self._root}/{kind}/{key}", data)

    @contextmanager
    def claim(self, kind: str, key: str) -> Iterator[None]:
        """See `Backend.claim`: an object that is made only where there is none."""
        path = f"{self._root}/claims/{kind}-{key}"
        mine = _Claim()
        if not self._claimed(path, mine):
            yield
            return
        is_over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(path, mine, is_over), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            is_over.set()
            renewing.join()  # else what it puts there last would stand
            with suppress(FileNotFoundError, PlaceError):  # it is old at some time
                if self._is_mine(path, mine):
                    _asked(lambda: self._system.rm_file(path))

    def listed(self) -> Iterator[Listed]:
        """See `Backend.listed`."""
        try:
            found: Mapping[str, Any] = _asked(
                lambda: self._system.find(self._root, detail=True), seconds=_LISTING_SECONDS
            )
        except FileNotFoundError:
            return
        for path, told in sorted(found.items()):
            *_, kind, key = path.split("/")
            if KEY.fullmatch(key):
                yield Listed(kind, key, int(told.get("size") or 0), _when(told))

    def remove(self, kind: str, key: str) -> None:
        """See `Backend.remove`."""
        with suppress(FileNotFoundError):
            _asked(lambda: self._system.rm_file(f"{self._root}/{kind}/{key}"))

    def _put(self, path: str, data: bytes) -> None:
        def put() -> None:
            self._system.pipe_file(path, data)

        try:
            try:
                _asked(put, len(data))
            except FileNotFoundError:
                if not self._has_folders:
                    raise
                _asked(lambda: self._system.makedirs(path.rpartition("/")[0], exist_ok=True))
                _asked(put, len(data))
        except FileNotFoundError as error:
            raise PlaceError(_said(error)) from None

    def _claimed(self, path: str, mine: _Claim) -> bool:
        """Wait for the claim; whether it is held, which it is not where this place knows none."""
        seen, since = b"", time.monotonic()
        while True:
            try:
                _asked(lambda: self._system.pipe_file(path, mine.text, mode="create"), known=(FileExistsError,))
                return True
            except FileExistsError:
                with suppress(FileNotFoundError):
                    try:
                        theirs = _asked(lambda: bytes(self._system.cat_file(path)))
                        if theirs != seen:
                            seen, since = theirs, time.monotonic()
                        if mine.is_in(theirs):  # the client tried again, and met what it had made
                            return True
                        if _is_dead(theirs) or time.monotonic() - since > _CLAIM_SECONDS:
                            self._put(path, mine.text)
                            return True
                    except PlaceError:
                        return False
                time.sleep(_LOOK_SECONDS)
            except (FileNotFoundError, PlaceError):
                return False  # it does not know how to make what is not there, or cannot be reached

    def _renew(self, path: str, mine: _Claim, is_over: threading.Event) -> None:
        """Say again and again that who claims lives, until it is over, or somebody else has taken the claim."""
        while not is_over.wait(_CLAIM_SECONDS / 4):
            with suppress(FileNotFoundError, PlaceError):  # it may be back the next time
                if not self._is_mine(path, mine):
                    return
                mine.renew()
                self._put(path, mine.text)

    def _is_mine(self, path: str, mine: _Claim) -> bool:
        return mine.is_in(_asked(lambda: bytes(self._system.cat_file(path))))


@dataclass(slots=True)
class _Claim:
    """A claim, as others read it: who has it, and how often that was said."""

    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    times: int = 0

    @property
    def text(self) -> bytes:
        told = {"host": socket.gethostname(), "process": os.getpid(), "claim": self.name, "times": self.times}
        return json.dumps(told).encode()

    def renew(self) -> None:
        self.times += 1

    def is_in(self, text: bytes) -> bool:
        """Whether that is this claim."""
        return self.name.encode() in text


def _asked(
    action: Callable[[], _T],
    size: int = 0,
    *,
    seconds: float | None = None,
    known: tuple[type[Exception], ...] = (),
) -> _T:
    """What the place answers, where so many bytes go over.

    Raises FileNotFoundError, what is `known`, and PlaceError for all else that clients raise, or where no answer comes
    in time.
    """
    limit = (_ANSWER_SECONDS if seconds is None else seconds) + size / _BYTES_A_SECOND
    found: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found.put((action(), None))
        except BaseException as error:
            found.put((None, error))

    # A client that hangs is left behind: not all can be told to stop, and none is waited for at the end.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer, error = found.get(timeout=limit)
    except queue.Empty:
        raise PlaceError(f"no answer in {limit:.0f} s") from None
    if error is None:
        return cast(_T, answer)
    if isinstance(error, (FileNotFoundError, *known)) or not isinstance(error, Exception):
        raise error
    raise PlaceError(_said(error)) from None  # botocore's, aiohttp's, paramiko's, the system's


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return shortened(shown(text), 200).rstrip(".")


def _when(told: Mapping[str, Any]) -> float:
    """When an object was written, as its place tells it; now, where that is not known: it is not taken for old."""
    found: Any = next((told[name] for name in _TIMES if told.get(name)), None)
    try:
        found = datetime.fromisoformat(found) if isinstance(found, str) else found
        return found.timestamp() if isinstance(found, datetime) else float(found)
    except (TypeError, ValueError):
        return time.time()


def _is_dead(claim: bytes) -> bool:
    """Whether who made the claim was a process of this machine, and is no more."""
    try:
        told = json.loads(claim)
        host, process = told["host"], int(told["process"])
    except (KeyError, RecursionError, TypeError, ValueError):  # no claim, or one that is being written
        return False
    if host != socket.gethostname():
        return False
    try:
        os.kill(process, 0)
    except (OverflowError, ProcessLookupError):
        return True
    except OSError:  # another user's
        return False
    return False
