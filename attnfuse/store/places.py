"""What is asked of a place that entries are kept in, and how a user names one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias
from urllib.parse import unquote

from attnfuse import documents
from attnfuse.errors import UsageError

Place: TypeAlias = Path | str
"""A folder, or the URL of a place that fsspec knows."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LEAST_SECRET = 16
_MOST_SECRET: Final = 1 << 16


def place_of(text: str) -> Place:
    """The place that a text names: a URL such as `s3://bucket/farm`, or a folder, also as `file:///srv/farm`.

    Raises UsageError for a URL that names nothing.
    """
    found = _URL.fullmatch(text)
    if found is None:
        return Path(text)
    scheme, rest = found[1].lower(), found[2]
    if not rest.strip("/"):
        raise UsageError(f"the cache {text} names no place; write the bucket or folder after it.")
    if scheme == "file":
        if not rest.startswith("/"):
            raise UsageError(f"the cache {text} names another machine; write file:///FOLDER, or FOLDER.")
        return Path(unquote(rest))
    return f"{scheme}://{rest.rstrip('/')}"


def shown(place: Place) -> str:
    """The place without a name and a password that its URL may have."""
    return re.sub(r"(?<=://)[^/@]*@", "", str(place))


KEY_VARIABLE: Final = "ATTNFUSE_CACHE_KEY"
"""Names the file of what signs entries of the cache, on each machine its own."""


def read_secret(file: Path) -> bytes:
    """What a key file holds, but for white space around it. Raises UsageError where that is no key."""
    try:
        documents.check_regular(file)
        with file.open("rb") as opened:
            secret = opened.read(_MOST_SECRET + 1)
    except OSError as error:
        raise UsageError(f"the key file {file} cannot be read: {documents.reason(error)}.") from None
    if len(secret) > _MOST_SECRET:
        raise UsageError(f"the key file {file} holds more than {_MOST_SECRET} bytes; write 32 random ones into it.")
    if len(secret := secret.strip()) < _LEAST_SECRET:
        raise UsageError(f"the key file {file} holds fewer than {_LEAST_SECRET} bytes; write 32 random ones into it.")
    return secret


class PlaceError(Exception):
    """A place that cannot be read or written now; the message says why."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry as it lies: `written` is in seconds after 1970, of when it was written or last asked for."""

    kind: str
    key: str
    bytes: int
    written: float


class Backend(Protocol):
    """A place: it holds bytes by kind and key, and knows nothing of what they are."""

    asked_shows: bool
    """Whether `Listed.written` is of when an entry was last asked for."""

    def read(self, kind: str, key: str, *, asked: bool = True) -> bytes | None:
        """The bytes, None where there are none; whether they are asked for, or looked at only. Raises PlaceError."""

    def write(self, kind: str, key: str, data: bytes) -> None:
        """Put them there, in place of others; who reads meanwhile finds these or those. Raises PlaceError."""

    def claim(self, kind: str, key: str) -> AbstractContextManager[None]:
        """Wait as long as another one makes that entry, and have others wait until the context is left.

        Who dies in it does not have them wait for long. Where a place cannot do that, nobody waits: two then make the
        same.
        """

    def listed(self) -> Iterator[Listed]:
        """All entries. Raises PlaceError."""

    def remove(self, kind: str, key: str) -> None:
        """Remove one, which may be gone. Raises PlaceError."""
