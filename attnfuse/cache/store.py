"""Entries of a cache folder, by kind and key: each is there whole or not at all, also where two runs write at once.

An entry is one file: the SHA-256 of its content, a line break, the content. What is damaged or of another format is
as good as absent. A run that is killed leaves at most a file in `writing/`, which the next run removes; what attnfuse
did not write is never touched. Entries that nobody asked for in `KEPT_DAYS` days are removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from attnfuse.errors import OutputError

#: The folder within the one the user names; another format gets another name, and leaves this one alone.
FORMAT: Final = "attnfuse-cache-1"
KEPT_DAYS: Final = 90
_KEY = re.compile(r"[0-9a-f]{64}")
_PREFIX = "entry-"


def key_of(content: str | bytes) -> str:
    """The key of what `content` is or describes: its SHA-256."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


class Store:
    """A cache folder. `error` is why something could not be kept, the first time that happened."""

    def __init__(self, folder: Path) -> None:
        """Make the folder, and tidy up after runs that were killed. Raises OutputError where it cannot be written."""
        self.folder = folder.resolve() / FORMAT
        self.error = ""
        self._writing = self.folder / "writing"
        self._kinds: set[str] = set()
        try:
            self._writing.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._writing):
                pass
        except OSError as error:
            raise OutputError(f"the cache {folder} cannot be written: {error.strerror or error}.") from None
        self._remove_dead()

    def get(self, kind: str, key: str) -> bytes | None:
        """The content of an entry; None where there is none that is whole."""
        path = self.folder / kind / key
        try:
            data = path.read_bytes()
        except OSError:
            return None
        checksum, _, content = data.partition(b"\n")
        if checksum != key_of(content).encode():
            return None
        with suppress(OSError):  # another's, or gone by now: then it is not kept any longer for our sake
            os.utime(path)
        return content

    def put(self, kind: str, key: str, content: bytes) -> None:
        """Keep an entry, in place of an older one. Where the disk refuses, nothing is kept and `error` says why."""
        assert _KEY.fullmatch(key)
        self._kinds.add(kind)
        written: Path | None = None
        try:
            (self.folder / kind).mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=_PREFIX, dir=self._writing, delete=False) as file:
                written = Path(file.name)
                fcntl.flock(file, fcntl.LOCK_EX)  # says that its writer lives
                file.write(key_of(content).encode() + b"\n")
                file.write(content)
                file.flush()
                written.replace(self.folder / kind / key)
                written = None
        except FileNotFoundError:
            pass  # another run took the file for a dead one's before the lock held
        except OSError as error:
            self.error = self.error or f"the cache {self.folder} cannot be written: {error.strerror or error}"
        finally:
            if written is not None:
                written.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what was not asked for in a long time, of the kinds that something was put to."""
        oldest = time.time() - KEPT_DAYS * 86400
        for kind in sorted(self._kinds):
            entries: list[Path] = []
            with suppress(OSError):  # a folder that is gone needs no tidying
                entries = sorted((self.folder / kind).iterdir())
            for path in entries:
                with suppress(OSError):
                    if _KEY.fullmatch(path.name) and path.lstat().st_mtime < oldest:
                        path.unlink()

    def _remove_dead(self) -> None:
        """Remove what killed runs left half written: files of ours by name that nobody holds locked."""
        for path in sorted(self._writing.glob(f"{_PREFIX}*")):
            with suppress(OSError):  # a folder, another user's, alive, or gone by now
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(descriptor)
