"""Where a result goes: everything is gathered in a hidden folder beside the output, synced, and renamed onto it.

At every instant the output is absent or whole. A killed run leaves only its hidden folder `.attnfuse-…`, locked
(flock) while its owner lives; the next run in the same place removes the dead ones. What exists already
is replaced only if attnfuse wrote it (its manifest says so, and nothing else lies there), and inputs never are.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Protocol, Self

from attnfuse import documents
from attnfuse.errors import OutputError, SourceError, UsageError
from attnfuse.names import leads_out

MANIFEST = "manifest.json"
REPORT = "report.json"
REPORT_PAGE = "report.html"
VERIFICATION = "verification.json"
README = "README.md"
CONVERT = "convert.sh"
LITE_CONFIG = "lite.cfg"
ALIGN = "align.py"
MEASURE = "measure.py"
GOLDEN = "golden"
DOCUMENTS = (MANIFEST, REPORT, REPORT_PAGE, VERIFICATION, LITE_CONFIG, ALIGN, MEASURE)
"""What attnfuse writes beside graphs and weights."""
MANIFEST_SCHEMA: Final = "attnfuse.manifest/2"
_PREFIX = ".attnfuse-"
_OWN = {"out", "work", "old"}
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What a file holds: its SHA-256 in hexadecimal and its size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one state of a file from another without reading it: where it lies, its size, its times."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def changed_ns(self) -> int:
        """The later of the times of content and inode."""
        return max(self.mtime_ns, self.ctime_ns)

    @property
    def content(self) -> tuple[int, int, int, int]:
        """All but the time of the inode, which a link to it that comes or goes changes too."""
        return (self.device, self.inode, self.size, self.mtime_ns)


def identity(found: os.stat_result) -> Identity:
    """The identity of a file, of what `stat` says."""
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def digest(path: Path) -> FileDigest:
    """Digest of a file's content. Raises OSError where it cannot be read, or is no file."""
    documents.check_regular(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(found, file.tell())


class Sink(Protocol):
    """Takes the files of a result, by their path relative to the output."""

    files: dict[str, FileDigest]

    def write(self, name: str, chunks: Iterable[bytes]) -> FileDigest:
        """Take a new file."""

    def adopt(self, name: str, source: Path, known: FileDigest) -> FileDigest:
        """Take an existing file as it is; `known` is its digest."""


class Digests:
    """A sink that keeps digests only: what would be written."""

    def __init__(self) -> None:
        self.files: dict[str, FileDigest] = {}

    def write(self, name: str, chunks: Iterable[bytes]) -> FileDigest:
        """Note the digest of a new file."""
        found = hashlib.sha256()
        size = 0
        for chunk in chunks:
            found.update(chunk)
            size += len(chunk)
        self.files[name] = FileDigest(found.hexdigest(), size)
        return self.files[name]

    def adopt(self, name: str, source: Path, known: FileDigest) -> FileDigest:
        """Note the digest of an existing file."""
        self.files[name] = known
        return known


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """An output: a folder, or one graph file with its reports beside it.

    `path` is absolute with links resolved.
    """

    path: Path
    is_file: bool

    @property
    def folder(self) -> Path:
        """Where the files' relative names start."""
        return self.path.parent if self.is_file else self.path

    def beside(self, name: str) -> str:
        """Name of a report: the plain name in a folder, `<stem>.<name>` beside a graph file."""
        return f"{self.path.stem}.{name}" if self.is_file else name

    def config(self, component: str) -> str:
        """Name of a component's configuration for MindSpore Lite: `configs/unet.cfg`, or `<stem>.lite.cfg`."""
        return self.beside(LITE_CONFIG) if self.is_file else f"configs/{component}.cfg"


def edited_weights(graph: str, number: int | str) -> str:
    """Name of a file of weights that were edited for one graph file alone, beside it: `unet_variables/edited_0`."""
    return f"{Path(graph).stem.removesuffix('_graph')}_variables/edited_{number}"


def place(output: Path, inputs: Iterable[Path]) -> OutputPlace:
    """Check that `output` may be written without harm to `inputs` (files or folders).

    Raises UsageError where it is, holds or lies in an input, or where something stands there that attnfuse did not
    write; OutputError where the system does not let it be looked for.
    """
    try:
        return _place(output, inputs)
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise OutputError(f"the output {output} cannot be written: {error.strerror or error}.") from None


def _place(output: Path, inputs: Iterable[Path]) -> OutputPlace:
    path = Path(os.path.realpath(output))
    is_file = output.suffix == ".mindir"
    if path.is_symlink():  # after realpath
        raise UsageError(f"the output {output} is a link that leads to itself; choose another place or remove it.")
    for given in inputs:
        source = Path(os.path.realpath(given))
        if path == source or path in source.parents or (source in path.parents and source.is_dir()):
            raise UsageError(f"the output {output} and the input {given} overlap; inputs are never modified.")
    found = OutputPlace(path, is_file)
    if is_file and path.is_dir():
        raise UsageError(f"the output {output} is a folder; a path that ends in .mindir names a file.")
    if not is_file and path.exists() and not path.is_dir():
        raise UsageError(f"the output {output} is a file; name a folder, or a path that ends in .mindir.")
    if path.exists() and (foreign := _foreign(found)) is not None:
        raise UsageError(f"the output {output} exists and {foreign}; choose another place or remove it.")
    return found


def free_place(output: Path) -> OutputPlace:
    """Where the files are to lie: a folder that is not there yet, or is empty.

    Raises UsageError where something is there, OutputError where the system does not let it be looked for.
    """
    try:
        path = output.resolve()
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise UsageError(f"the folder {output} exists already, and is not empty; name another, or remove it.")
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"the output {output} cannot be written: {getattr(error, 'strerror', '') or error}."
        ) from None
    return OutputPlace(path, is_file=False)


def check_free(found: OutputPlace, names: Iterable[str]) -> None:
    """Raise UsageError where a file of one of these names would be one of attnfuse's own documents, or would be written
    over a file beside a graph that is none of the output's. `names` are as in a folder.
    """
    listed = _listed(found) or set()
    for name in names:
        if name in (*DOCUMENTS, README, CONVERT):
            raise UsageError(f"a reporter would write {name}, which attnfuse writes itself; leave the reporter out.")
        there = found.beside(name)
        if found.is_file and (found.folder / there).exists() and there not in listed:
            raise UsageError(f"{found.folder / there} exists already; move it, or choose another output.")


def _listed(found: OutputPlace) -> set[str] | None:
    """The files that the manifest at the place lists; None where it has no manifest of ours."""
    try:
        manifest = json.loads(documents.read_bytes(found.folder / found.beside(MANIFEST)))
        return set(manifest["outputs"]) if manifest["schema"] == MANIFEST_SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def no_output(path: Path) -> str:
    """Why what is there is no output of attnfuse, and what to do: one sentence without its full stop."""
    near = [folder for folder in (path.parent, *sorted(path.glob("*/"))) if (folder / MANIFEST).is_file()]
    instead = f"name {near[0]} instead" if near else "name the folder that attnfuse compile wrote (its -o)"
    if not path.exists():
        return f"there is no {path}; {instead}"
    if (path / "model_index.json").is_file():
        return f"{path} is a pipeline, not compiled yet: attnfuse compile {path} -o OUT, then name OUT"
    lacks = OutputPlace(path, is_file=path.suffix == ".mindir" and path.is_file())
    if path.is_file() and not lacks.is_file:
        return f"{path} is a file; {instead}"
    return f"{path} was not written by attnfuse: there is no {lacks.folder / lacks.beside(MANIFEST)}; {instead}"


def schema_of(content: bytes) -> str | None:
    """The schema that a document of attnfuse names, such as `attnfuse.manifest/2`; None for any other bytes."""
    try:
        schema = json.loads(content)["schema"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return schema if isinstance(schema, str) and schema.startswith("attnfuse.") else None


def _foreign(found: OutputPlace) -> str | None:
    """Why what stands at the place is not attnfuse's own, or None."""
    if not found.is_file and not any(found.path.iterdir()):
        return None
    listed = _listed(found)
    if listed is None:
        return _other_manifest(found)
    if not found.is_file:
        listed |= {MANIFEST, REPORT, REPORT_PAGE, VERIFICATION, ALIGN, MEASURE}
        for root, _, names in os.walk(found.path):
            for name in sorted(names):
                relative = (Path(root) / name).relative_to(found.path).as_posix()
                # What a run came to, as a certificate: on another machine it may differ, and so no manifest lists it.
                if relative not in listed and not relative.startswith(f"{GOLDEN}/"):
                    return f"holds {relative}, which attnfuse did not write"
    return None


def _other_manifest(found: OutputPlace) -> str:
    """What is wrong with what stands where a manifest of ours would."""
    name = found.beside(MANIFEST)
    try:
        schema = schema_of(documents.read_bytes(found.folder / name))
    except OSError:
        schema = None
    if schema in (None, MANIFEST_SCHEMA):
        return f"was not written by attnfuse (it has no {name} of ours)"
    return f"is of another version of attnfuse (its {name} is {schema}, and this one writes {MANIFEST_SCHEMA})"


class OutputStage:
    """The hidden folder of one run, a context manager: left without `publish`, it leaves nothing behind.

    `files` are those it took, `identities` what those that it wrote itself were when they had been written.
    """

    def __init__(self, target: OutputPlace) -> None:
        """Make the folder, on the file system of the output. Raises OutputError where that cannot be written."""
        self.place = target
        self.files: dict[str, FileDigest] = {}
        self.identities: dict[str, Identity] = {}
        parent = target.path.parent
        while not parent.exists():
            parent = parent.parent
        try:
            _remove_dead(parent)
            self._hidden, self._lock = _hidden_folder(parent)
            self.root = self._hidden / "out"
            self.work = self._hidden / "work"
            try:
                self.root.mkdir()
                self.work.mkdir()
            except BaseException:
                self.__exit__(None, None, None)
                raise
        except OSError as error:
            raise OutputError(f"the output {target.path} cannot be written: {error.strerror or error}.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._hidden, ignore_errors=True)
        os.close(self._lock)

    def write(self, name: str, chunks: Iterable[bytes]) -> FileDigest:
        """Write and sync a new file. Raises OutputError where the disk refuses, or the name leads out of the output."""
        path = self._inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb") as file:
                found = _write_and_digest(file, chunks)
                file.flush()
                os.fsync(file.fileno())
                self.identities[name] = identity(os.fstat(file.fileno()))
        except OSError as error:
            raise OutputError(f"the output {self.place.path} cannot be written: {error.strerror or error}.") from None
        self.files[name] = found
        return found

    def adopt(self, name: str, source: Path, known: FileDigest) -> FileDigest:
        """Hard-link an existing file, or copy it where links cannot reach. Raises OutputError as `write` does."""
        path = self._inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), path)
        except OSError:
            with source.open("rb") as file:
                if self.write(name, iter(lambda: file.read(2**19), b"")) != known:
                    raise SourceError(f"{source} changed while it was read; compile again.") from None
        self.files[name] = known
        return known

    def _inside(self, name: str) -> Path:
        """Where a file of that name is gathered."""
        if leads_out(name):
            raise OutputError(f"a file called {name!r} would lie outside of {self.place.path}; nothing was written.")
        return self.root / name

    def publish(self) -> None:
        """Move everything to its place. Raises OutputError where that fails; the place is then as it was."""
        target = self.place
        try:
            _sync_tree(self.root)
            target.path.parent.mkdir(parents=True, exist_ok=True)
            if target.is_file:
                self._publish_file()
            else:
                self._publish_folder()
        except OSError as error:
            raise OutputError(f"the output {target.path} cannot be written: {error.strerror or error}.") from None
        with suppress(OSError):  # it is there, and whole: only whether it outlives a power cut is not known
            _sync(target.path.parent)

    def _publish_folder(self) -> None:
        target = self.place.path
        try:
            self.root.rename(target)  # also onto an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not _exchange(self.root, target):
                old = self._hidden / "old"
                target.rename(old)
                self.root.rename(target)

    def _publish_file(self) -> None:
        """The graph goes last: where it is new, all that belongs to it lies there before it appears."""
        target = self.place
        config, listed = target.beside(LITE_CONFIG), _listed(target) or set()
        folder = edited_weights(target.path.name, "")
        before = {name for name in listed if name == config or name.startswith(folder)}
        own = {target.path.name, *(target.beside(n) for n in (MANIFEST, REPORT, REPORT_PAGE, VERIFICATION)), *before}
        # Graph and reports are ours to replace (`place` looked); variables may serve other graphs too, and a
        # configuration that no manifest of ours lists may be somebody's own.
        standing = [name for name in self.files if name not in own and (target.folder / name).exists()]
        for name in standing:
            there = target.folder / name
            if not there.samefile(self.root / name) and digest(there) != self.files[name]:
                raise OSError(errno.EEXIST, f"{name} exists beside it with other content; choose another folder")
        for name in sorted(self.files.keys() - set(standing), key=lambda n: (n == target.path.name, n)):
            path = target.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).replace(path)
        for stale in {target.beside(VERIFICATION), *before} - self.files.keys():
            (target.folder / stale).unlink(missing_ok=True)


def _write_and_digest(file: BinaryIO, chunks: Iterable[bytes]) -> FileDigest:
    """Write the chunks; their digest is worked out beside it, by a thread, one chunk at a time in its hands.

    Hashing lets go of the interpreter's lock, and is half of the work: the disk need not wait for it.
    """
    found = hashlib.sha256()
    size = 0
    with ThreadPoolExecutor(1) as beside:
        hashed: Future[None] | None = None
        for chunk in chunks:
            if hashed is not None:
                hashed.result()
            hashed = beside.submit(found.update, chunk)
            file.write(chunk)
            size += len(chunk)
    return FileDigest(found.hexdigest(), size)


def _hidden_folder(parent: Path) -> tuple[Path, int]:
    """A new hidden folder in `parent` and the descriptor whose lock says that its owner lives."""
    while True:
        hidden = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # another run took it for a dead one before the lock held
            lock = os.open(hidden, _OPEN_FOLDER)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if hidden.exists():
                return hidden, lock
            os.close(lock)


def _remove_dead(parent: Path) -> None:
    """Remove the hidden folders of runs that were killed: ours by name and content, and locked by nobody."""
    for hidden in sorted(parent.glob(f"{_PREFIX}????????")):
        with suppress(OSError):  # a link, a file, another user's, alive, or gone by now
            lock = os.open(hidden, _OPEN_FOLDER)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if {path.name for path in hidden.iterdir()} <= _OWN:
                    shutil.rmtree(hidden, ignore_errors=True)
            finally:
                os.close(lock)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two paths in one step (Linux renameat2 with RENAME_EXCHANGE); False where the system cannot."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at_fdcwd, exchange = -100, 2
    return function is not None and function(at_fdcwd, os.fsencode(a), at_fdcwd, os.fsencode(b), exchange) == 0


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(root: Path) -> None:
    for folder, _, _ in os.walk(root):
        _sync(Path(folder))


def write_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; of a link, what it leads to. Raises OutputError."""
    try:
        check_replaceable(path, str(path))
        path = Path(os.path.realpath(path))
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(content)
                file.close()
                Path(file.name).chmod(0o666 & ~_umask())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from None


def check_replaceable(path: Path, called: str) -> None:
    """Raise OutputError, by what the path is called, where something other than a file lies there.

    A pipe would be waited for, a device filled or replaced. Raises OSError where that cannot be looked at.
    """
    if path.is_dir():
        raise OutputError(f"{called} is a folder; name a file.")
    if path.exists() and not path.is_file():
        raise OutputError(f"{called} is a device, a pipe or a socket; name a file.")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
