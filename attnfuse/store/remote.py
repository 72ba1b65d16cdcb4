"""Entries in a place that fsspec knows: an object store (`s3://…`, with s3fs), or another machine's disk.

An object store takes an object whole or not at all. Where a place does not, an entry that was cut off shows by its
length and digest, as any other bad one. Who may read and write there is for the client to know (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, a profile, fsspec's own configuration): no secret is looked at here.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Final, TypeVar

from attnfuse.errors import OutputError, UsageError
from attnfuse.names import shortened
from attnfuse.store.entries import FORMAT, HEAD_BYTES, KEY, MOST_BYTES
from attnfuse.store.places import Listed, PlaceError, shown

_T = TypeVar("_T")

_CLAIM_SECONDS: Final = 120.0
"""A claim that stands unchanged for longer was left by somebody who died: blocks are traced in less, mostly."""
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

        def found() -> bytes | None:
            if not 0 < self._system.info(path)["size"] <= HEAD_BYTES + MOST_BYTES:
                return None
            return bytes(self._system.cat_file(path))

        try:
            return _asked(found)
        except FileNotFoundError:
            return None

    def write(self, kind: str, key: str, data: bytes) -> None:
        """See `Backend.write`."""
        self._put(f"{self._root}/{kind}/{key}", data)

    @contextmanager
    def claim(self, kind: str, key: str) -> Iterator[None]:
        """See `Backend.claim`: an object that is made only where there is none."""
        path = f"{self._root}/claims/{kind}-{key}"
        mine = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "claim": uuid.uuid4().hex}).encode()
        is_held = self._claimed(path, mine)
        try:
            yield
        finally:
            if is_held:
                with suppress(Exception):  # it is old at some time
                    self._system.rm_file(path)

    def listed(self) -> Iterator[Listed]:
        """See `Backend.listed`."""
        try:
            found: Mapping[str, Any] = _asked(lambda: self._system.find(self._root, detail=True))
        except FileNotFoundError:
            return
        for path, told in sorted(found.items()):
            *_, kind, key = path.split("/")
            if KEY.fullmatch(key):
                yield Listed(kind, key, int(told["size"]), _when(told))

    def remove(self, kind: str, key: str) -> None:
        """See `Backend.remove`."""
        with suppress(FileNotFoundError):
            _asked(lambda: self._system.rm_file(f"{self._root}/{kind}/{key}"))

    def _put(self, path: str, data: bytes) -> None:
        try:
            _asked(lambda: self._system.pipe_file(path, data))
        except FileNotFoundError as error:
            if not self._has_folders:
                raise PlaceError(_said(error)) from None
            _asked(lambda: self._system.makedirs(path.rpartition("/")[0], exist_ok=True))
            _asked(lambda: self._system.pipe_file(path, data))

    def _claimed(self, path: str, mine: bytes) -> bool:
        """Wait for the claim; whether there is one, or this place knows none."""
        seen, since = b"", time.monotonic()
        while True:
            try:
                self._system.pipe_file(path, mine, mode="create")
                return True
            except FileExistsError:
                with suppress(Exception):  # gone by now, mostly
                    theirs = bytes(self._system.cat_file(path))
                    if theirs != seen:
                        seen, since = theirs, time.monotonic()
                    if _is_dead(theirs) or time.monotonic() - since > _CLAIM_SECONDS:
                        self._system.pipe_file(path, mine)
                        return True
                if time.monotonic() - since > 2 * _CLAIM_SECONDS:
                    return False
                time.sleep(_LOOK_SECONDS)
            except Exception:  # of a place that does not know how to make what is not there, or cannot be reached
                return False


def _asked(action: Callable[[], _T]) -> _T:
    """What the place answers. Raises FileNotFoundError, and PlaceError for all else that clients raise."""
    try:
        return action()
    except FileNotFoundError:
        raise
    except Exception as error:  # botocore's, aiohttp's, paramiko's, the system's
        raise PlaceError(_said(error)) from None


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return shortened(shown(text), 200).rstrip(".")


def _when(told: Mapping[str, Any]) -> float:
    found = next((told[name] for name in _TIMES if told.get(name) is not None), 0.0)
    return found.timestamp() if isinstance(found, datetime) else float(found)


def _is_dead(claim: bytes) -> bool:
    """Whether who made the claim was a process of this machine, and is no more."""
    told = json.loads(claim)
    if told["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(told["process"]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return False
