"""What files hold, without reading them again: by device, inode, size and times, as git's index does it.

A digest is kept for an inode, not for a path: a file and its hard links are one. It is kept only where a later change
must show, that is where the file's times lie before the moment it began to be read by more than any clock of a file
system is coarse (git's "racy" rule); what was just written is kept once its file system's clock has moved on.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from attnfuse.errors import OutputError
from attnfuse.output import FileDigest, Identity, OutputPlace, OutputStage, identity
from attnfuse.serialisation import parse_json, to_json
from attnfuse.store.entries import KEY, key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from attnfuse.tracing.source import cache_folder

#: The coarsest clock that file systems keep times by: two seconds, FAT's.
_COARSE_NS: Final = 2 * 10**9
#: How often, and how long apart at least, it is looked whether that clock has moved on: longer than it is coarse.
_SETTLE_LOOKS: Final = 500
_SETTLE_S: Final = 0.005
_CHUNK = 2**19  # what the processor's cache holds until it is hashed


@dataclass(frozen=True, slots=True)
class _Kept:
    """An entry: the file as it was, and its digest."""

    file: Identity
    sha256: str


class KnownDigests:
    """Digests of files, each computed once in a run; with a store, once until the file changes.

    Where not `trusting`, nothing that an earlier run found is believed: every digest is of bytes read in this one.
    """

    def __init__(self, store: Store | None = None, *, trusting: bool = True) -> None:
        self._store = store
        self._trusting = trusting
        self._found: dict[Identity, FileDigest] = {}
        self._read: dict[Path, Identity] = {}

    def of(self, path: Path, amount: Callable[[int, int], None] | None = None) -> FileDigest:
        """The digest of a file; `amount` is told of bytes read, of how many. Raises OSError."""
        now = identity(path.stat())
        self._read[path] = now
        known = self._found.get(now) or self._recall(now)
        if known is not None:
            self._found[now] = known
            return known
        began = time.time_ns()
        found = hashlib.sha256()
        size, chunk = 0, memoryview(bytearray(_CHUNK))
        with path.open("rb", buffering=0) as file:
            self._read[path] = before = identity(os.fstat(file.fileno()))
            while count := file.readinto(chunk):
                found.update(chunk[:count])
                size += count
                if amount is not None:
                    amount(size, before.size)
            after = identity(os.fstat(file.fileno()))
        result = FileDigest(found.hexdigest(), size)
        if after == before:
            self._found[before] = result
            if before.changed_ns < began - _COARSE_NS:
                self._keep(before, result)
        return result

    def holds(self, path: Path, wanted: FileDigest) -> bool:
        """Whether a regular file of that content lies there."""
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size != wanted.bytes:
                return False
            return self.of(path) == wanted
        except OSError:
            return False

    def changed(self, path: Path) -> bool:
        """Whether a file is not the one any more whose digest was taken in this run. A new hard link is no change."""
        read = self._read.get(path)
        return read is not None and read.content != identity(path.stat()).content

    def learn(self, target: OutputPlace, stage: OutputStage) -> None:
        """Keep the digests of what was published, which holds what it held when it was written or hashed.

        Waits until the clock of the file system has moved on, mostly some milliseconds.
        """
        if self._store is None:
            return
        seen = self._found | {state: stage.files[name] for name, state in stage.identities.items()}
        published = {(state.content, found) for state, found in seen.items()}
        states: dict[Identity, FileDigest] = {}
        for name, found in stage.files.items():
            with suppress(OSError):
                now = identity((target.folder / name).stat())
                if (now.content, found) in published:
                    states[now] = found
        if states and _settled(target.path.parent, max(state.changed_ns for state in states)):
            for now, found in states.items():
                self._keep(now, found)

    def tree(self, folder: Path, suffixes: Iterable[str] = ()) -> str:
        """The digest of all files below a folder (or those of some suffixes), with their names; of a file, its own.

        What Python leaves behind of its own (`__pycache__`) is left out.
        """
        wanted = tuple(suffixes)
        files = [folder] if folder.is_file() else sorted(_files(folder, wanted))
        began = time.time_ns()
        states = [(path.relative_to(folder).as_posix(), identity(path.stat())) for path in files]
        key = key_of(json.dumps([[name, *astuple(state)] for name, state in states]))
        known = self._store.get(Kind.TREES, key) if self._store is not None and self._trusting else None
        if known is not None and KEY.fullmatch(known.decode("ascii", "replace")):
            return known.decode()
        found = hashlib.sha256()
        for path, (name, _) in zip(files, states, strict=True):
            content = path.read_bytes()
            found.update(f"{name}\n{len(content)}\n".encode())
            found.update(content)
        result = found.hexdigest()
        if self._store is not None and all(state.changed_ns < began - _COARSE_NS for _, state in states):
            self._store.put(Kind.TREES, key, result.encode())
        return result

    def newest_ns(self, folder: Path) -> int:
        """When the content of a file below the folder (see `tree`) was last changed."""
        files = [folder] if folder.is_file() else _files(folder, ())
        return max((path.stat().st_mtime_ns for path in files), default=0)

    def _recall(self, wanted: Identity) -> FileDigest | None:
        if self._store is None or not self._trusting:
            return None
        content = self._store.get(Kind.DIGESTS, _key(wanted))
        if content is None:
            return None
        try:
            entry = parse_json(_Kept, content)
        except ValueError:
            return None
        is_of_it = entry.file == wanted and KEY.fullmatch(entry.sha256) is not None
        return FileDigest(entry.sha256, wanted.size) if is_of_it else None

    def _keep(self, of: Identity, found: FileDigest) -> None:
        if self._store is not None:
            content = json.dumps(to_json(_Kept(of, found.sha256)))
            self._store.put(Kind.DIGESTS, _key(of), content.encode())


def local_store(store: Store) -> Store | None:
    """Where digests of files are kept beside that store: by device and inode files of other machines are others."""
    if isinstance(store.place, Path):
        return store
    try:
        return Store(cache_folder())
    except OutputError:  # a home that cannot be written: files are hashed each time
        return None


def _key(of: Identity) -> str:
    return key_of(f"{of.device} {of.inode}")


def _files(folder: Path, suffixes: tuple[str, ...]) -> Iterable[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            if not suffixes or name.endswith(suffixes):
                yield Path(root) / name


def _settled(folder: Path, newest_ns: int) -> bool:
    """Wait until a file made now would have a later time than `newest_ns`; False where that takes too long.

    Looks are counted, and not the time: a machine that stood still for some seconds has not looked.
    """
    for _ in range(_SETTLE_LOOKS):
        try:
            with tempfile.TemporaryFile(dir=folder) as probe:
                if os.fstat(probe.fileno()).st_mtime_ns > newest_ns:
                    return True
        except OSError:
            return False
        time.sleep(_SETTLE_S)
    return False
