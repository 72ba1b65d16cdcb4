"""Entries in a folder of this machine or of a mounted share: each is there whole or not at all, also where two runs
write at once.

A run that is killed leaves at most a file in `writing/`, which the next run removes; what attnfuse did not write is
never touched.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from attnfuse.errors import OutputError
from attnfuse.store.entries import FORMAT, HEAD_BYTES, KEY, MOST_BYTES
from attnfuse.store.places import Listed, PlaceError

_PREFIX = "entry-"
_WRITING = "writing"
_CLAIMS = "claims"
_LOOK_SECONDS: Final = 0.05


class FolderBackend:
    """A cache folder."""

    asked_shows = True

    def __init__(self, folder: Path) -> None:
        """Make the folder, and tidy up after runs that were killed. Raises OutputError where it cannot be written."""
        self._folder = folder.resolve() / FORMAT
        self._writing = self._folder / _WRITING
        try:
            self._writing.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._writing):
                pass
        except OSError as error:
            raise OutputError(f"the cache {folder} cannot be written: {error.strerror or error}.") from None
        self._remove_dead()

    def read(self, kind: str, key: str, *, asked: bool = True) -> bytes | None:
        """See `Backend.read`."""
        path = self._folder / kind / key
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size > HEAD_BYTES + MOST_BYTES:
                    return None
                data = file.read()
        except OSError:
            return None
        if asked:
            with suppress(OSError):  # another's, or gone by now: then it is not kept any longer for our sake
                os.utime(path)
        return data

    def write(self, kind: str, key: str, data: bytes) -> None:
        """See `Backend.write`."""
        written: Path | None = None
        try:
            (self._folder / kind).mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=_PREFIX, dir=self._writing, delete=False) as file:
                written = Path(file.name)
                fcntl.flock(file, fcntl.LOCK_EX)  # says that its writer lives
                file.write(data)
                file.flush()
                written.replace(self._folder / kind / key)
                written = None
        except FileNotFoundError:
            pass  # another run took the file for a dead one's before the lock held
        except OSError as error:
            raise PlaceError(error.strerror or str(error)) from None
        finally:
            if written is not None:
                with suppress(OSError):  # the place went away; who comes next removes it
                    written.unlink(missing_ok=True)

    @contextmanager
    def claim(self, kind: str, key: str) -> Iterator[None]:
        """See `Backend.claim`: a lock that the system takes from who dies."""
        path = self._folder / _CLAIMS / f"{kind}-{key}"
        descriptor = None
        try:
            path.parent.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            while not _locked(descriptor):
                time.sleep(_LOOK_SECONDS)
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            if descriptor is not None:
                with suppress(OSError):  # the place went away, and the claim with it
                    path.unlink(missing_ok=True)  # who waits for it has it open, and then finds what was made
                with suppress(OSError):
                    os.close(descriptor)

    def listed(self) -> Iterator[Listed]:
        """See `Backend.listed`."""
        for folder in self._names(self._folder):
            if folder.name in (_WRITING, _CLAIMS) or not folder.is_dir():
                continue
            for path in self._names(folder):
                with suppress(OSError):  # gone by now
                    if KEY.fullmatch(path.name):
                        state = path.lstat()
                        yield Listed(folder.name, path.name, state.st_size, state.st_mtime)

    @staticmethod
    def _names(folder: Path) -> list[Path]:
        try:
            return sorted(folder.iterdir())
        except OSError as error:
            raise PlaceError(error.strerror or str(error)) from None

    def remove(self, kind: str, key: str) -> None:
        """See `Backend.remove`."""
        try:
            (self._folder / kind / key).unlink(missing_ok=True)
        except OSError as error:
            raise PlaceError(error.strerror or str(error)) from None

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


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
