"""Entries of one place, by kind and key: each is there whole or not at all.

What is damaged, cut off, too large, of another format or under another's key is as good as absent, and so is
everything where the place cannot be reached: who asks makes it anew. Entries of a folder that nobody asked for in
`KEPT_DAYS` days are removed by the runs that put some there; of other places, `attnfuse cache` removes.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final

from attnfuse.store.entries import KEY, MOST_BYTES, opened, sealed
from attnfuse.store.folder import FolderBackend
from attnfuse.store.kinds import Kind
from attnfuse.store.places import Backend, Listed, Place, PlaceError, read_secret, shown
from attnfuse.store.remote import RemoteBackend

KEPT_DAYS: Final = 90


class Store:
    """A cache. `error` is why something could not be kept, the first time that happened.

    With a key file entries are signed by what it holds, and only those are taken that were.
    """

    def __init__(self, place: Place, key_file: Path | None = None) -> None:
        """Raises OutputError where the place cannot be written, UsageError for a URL or a key file that are none."""
        self.place = place
        self.key_file = key_file
        self.error = ""
        secret = None if key_file is None else read_secret(key_file)
        self._backend: Backend = FolderBackend(place) if isinstance(place, Path) else RemoteBackend(place)
        self._secret = secret
        self._kinds: set[str] = set()

    @property
    def signer(self) -> str:
        """What tells the key file from others, which does not tell what it holds; empty where there is none."""
        return "" if self._secret is None else hmac.digest(self._secret, b"attnfuse signer", "sha256").hex()

    def get(self, kind: Kind, key: str) -> bytes | None:
        """The content of an entry; None where there is none that is whole."""
        if self._is_away:
            return None
        try:
            entry = self._backend.read(kind, key)
        except PlaceError as error:
            self._failed("read", error)
            return None
        return None if entry is None else opened(kind, key, entry, self._secret)

    def put(self, kind: Kind, key: str, content: bytes) -> None:
        """Keep an entry, in place of an older one. Where the place refuses, nothing is kept and `error` says why."""
        assert KEY.fullmatch(key)
        if self._is_away or len(content) > MOST_BYTES:
            return
        self._kinds.add(kind)
        try:
            self._backend.write(kind, key, sealed(kind, key, content, self._secret))
        except PlaceError as error:
            self._failed("written", error)

    def claim(self, kind: Kind, key: str) -> AbstractContextManager[None]:
        """Who makes an entry that takes long claims it, and looks for it again: see `Backend.claim`."""
        return self._backend.claim(kind, key)

    def tidy(self) -> None:
        """Remove what was not asked for in a long time, of the kinds that something was put to."""
        if not self._backend.asked_shows:
            return
        oldest = time.time() - KEPT_DAYS * 86400
        entries: list[Listed] = []
        with suppress(OSError, PlaceError):  # a place that is gone needs no tidying
            entries = list(self._backend.listed())
        for one in entries:
            if one.kind in self._kinds and one.written < oldest:
                with suppress(PlaceError):
                    self._backend.remove(one.kind, one.key)

    def listed(self) -> Iterator[Listed]:
        """All entries. Raises PlaceError."""
        return self._backend.listed()

    def is_whole(self, one: Listed) -> bool:
        """Whether `get` would take an entry, which is not asked for with that. Raises PlaceError."""
        entry = self._backend.read(one.kind, one.key, asked=False)
        return entry is not None and opened(one.kind, one.key, entry, self._secret) is not None

    def remove(self, one: Listed) -> None:
        """Remove an entry. Raises PlaceError."""
        self._backend.remove(one.kind, one.key)

    @property
    def _is_away(self) -> bool:
        """Whether asking again would take as long as it did the last time: a client tries several times."""
        return bool(self.error) and not self._backend.asked_shows

    def _failed(self, what: str, error: PlaceError) -> None:
        self.error = self.error or f"the cache {shown(self.place)} cannot be {what}: {error}"
