"""What need not be made again: a graph and weights that stand in the output, made of the same by the same.

    key of a graph       the source graph, the policy, the target, the passes, attnfuse's and their sources; and, told
                         with the entry, the values of those weights that something was decided by
    key of its weights   the source graph, where each weight lies, the digests of those files, which weights are made
                         of them, attnfuse's sources

Under its key the cache tells what a compile came to, digests included. It holds no result itself: that is
the output that stands, and only where a file of it still has the digest is it taken over; else it is made again. So
output bytes are those of a compile without a cache.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from attnfuse import pass_manager, plugins
from attnfuse.cache.digests import KnownDigests, local_store
from attnfuse.cache.traces import Traces
from attnfuse.component import Component
from attnfuse.errors import SourceError, UsageError
from attnfuse.output import FileDigest, OutputPlace, OutputStage
from attnfuse.pass_manager import Pass
from attnfuse.plugins import Extensions
from attnfuse.policy import Policy
from attnfuse.processes import started_ns
from attnfuse.rewriting import Rewritten
from attnfuse.serialisation import parse_json, to_json
from attnfuse.store.entries import FORMAT, key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.places import Place
from attnfuse.store.store import Store
from attnfuse.targets import Target

#: Beside attnfuse and the passes: what reads, computes and writes for them.
_LIBRARIES = ("ml_dtypes", "networkx", "numpy", "protobuf")
_EXECUTORS = ("onnx", "onnxruntime")
"""What runs graphs."""
#: What of a component says where something lies, or is told of it for the report, and is nothing of the graph. A field
#: that is added is of the graph.
_BESIDE = (
    "added",
    "adopted",
    "dtype",
    "dtype_from",
    "fixed",
    "inputs",
    "original",
    "traced",
    "warnings",
    "weights",
    "where",
)


@dataclass(frozen=True, slots=True)
class KnownGraph:
    """A graph that stands: what became of the source, and the file's digest."""

    rewritten: Rewritten
    file: FileDigest


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """Weights that stand: the file's digest, and the parameters that lost values to their type."""

    file: FileDigest
    lossy: tuple[str, ...]


_Known = TypeVar("_Known", KnownGraph, KnownWeights)
_KINDS: Mapping[type, Kind] = {KnownGraph: Kind.KNOWN_GRAPH, KnownWeights: Kind.KNOWN_WEIGHTS}


class Incremental:
    """What earlier compiles came to, as far as a cache tells; without one, nothing.

    `digests` and `traces` are for whoever reads the source. With `check` everything but traces is made again, and every
    digest is of bytes read in this run.
    """

    def __init__(self, place: Place | None, key_file: Path | None = None, *, check: bool = False) -> None:
        """Raises OutputError where the place cannot be written, UsageError where it, or the key file, is none."""
        self._store = None if place is None else Store(place, key_file)
        self._check = check
        self._local = None if self._store is None else local_store(self._store)
        self.digests = KnownDigests(self._local, trusting=not check)
        self.traces = None if self._store is None else Traces(self._store, self.digests)
        self._made_by: dict[str, Any] = {}
        self._engine = self._plugins = ""
        self._packages: list[str] = []
        self._sure = False
        self._place: OutputPlace | None = None

    @property
    def cache_error(self) -> str:
        """Why something could not be kept, or nothing."""
        return "" if self._store is None else self._store.error

    def begin(self, place: OutputPlace, policy: Policy, target: Target, passes: Sequence[Pass]) -> None:
        """Say where the result will be, and how it will be made."""
        if self._store is None:
            return
        self._place = place
        extensions = self.identify(passes)
        self._made_by = {
            "policy": [dataclasses.asdict(rule) for rule in policy.rules],
            "target": dataclasses.asdict(target),
            "passes": [f"{type(step).__module__}.{type(step).__qualname__} {step!r}" for step in passes],
            "plugins": [dataclasses.astuple(plugin) for plugin in extensions.plugins],
            "sources": self._plugins,
        }

    def identify(self, passes: Sequence[Pass]) -> plugins.Extensions:
        """Say by which passes results are made: what is known holds for their sources, and the engine's, alone."""
        extensions = plugins.load()
        if self._store is None:
            return extensions
        packages = _packages(passes, extensions)
        self._packages = ["attnfuse", *packages]
        self._engine, self._plugins = self._sources(["attnfuse"]), self._sources(packages)
        # What was edited after this process began may not be what it imported.
        edited = max(self.digests.newest_ns(path) for name in self._packages for path in _places(name))
        self._sure = edited < started_ns()
        return extensions

    def graph(self, component: Component, name: str) -> KnownGraph | None:
        """What the component's graph was made to, if it stands in the output as `name`."""
        if self._store is None:
            return None
        known = self._get(KnownGraph, self._graph_key(component))
        if known is None or not self.digests.holds(self.standing(name), known.file):
            return None
        values = component.values()
        same = all(values.digest(weight) == known_digest for weight, known_digest in known.rewritten.weights)
        return known if same else None

    def keep_graph(self, component: Component, known: KnownGraph) -> None:
        """Tell later compiles what the component's graph was made to."""
        if self._store is not None:
            self._put(self._store, self._graph_key(component), known)

    def weights(self, component: Component, rewritten: Rewritten, location: str) -> KnownWeights | None:
        """What the component's weights were streamed to, at `location`, if that stands in the output."""
        if self._store is None:
            return None
        known = self._get(KnownWeights, self._weights_key(component, rewritten, location))
        stands = known is not None and self.digests.holds(self.standing(location), known.file)
        return known if stands else None

    def keep_weights(self, component: Component, rewritten: Rewritten, location: str, known: KnownWeights) -> None:
        """Tell later compiles what the component's weights were streamed to.

        Raises SourceError where a file is no longer what it was when its digest was taken.
        """
        for file in read_for_weights(component):
            if self.digests.changed(file):
                raise SourceError(f"{file} changed while it was read; compile again.")
        if self._store is not None:
            self._put(self._store, self._weights_key(component, rewritten, location), known)

    @property
    def keeps(self) -> bool:
        """Whether there is a cache folder."""
        return self._store is not None

    def source_of(self, component: Component) -> str:
        """The key of a component's graph and weights; nothing where nothing is kept. Reads what was not read before."""
        return "" if self._store is None else _key([key_of(component.data), self._lies(component)])

    def told(self, kind: Kind, of: Sequence[str]) -> bytes | None:
        """What an earlier run kept of that kind, of the same by the same sources."""
        if self._store is None or not self._sure:
            return None
        return self._store.get(kind, _key([*of, self._engine, self._plugins]))

    def keep(self, kind: Kind, of: Sequence[str], content: bytes) -> None:
        """Tell later runs of it."""
        if self._store is not None and self._is_unedited():
            self._store.put(kind, _key([*of, self._engine, self._plugins]), content)

    def tidy(self) -> None:
        """Remove what nobody asked for in a long time, of what this run kept more of."""
        for store in dict.fromkeys((self._store, self._local)):
            if store is not None:
                store.tidy()

    def standing(self, name: str) -> Path:
        """Where a file of the output stands."""
        assert self._place is not None
        return self._place.folder / name

    def end(self, stage: OutputStage) -> None:
        """After the result was published: know its digests the next time, and tidy the cache."""
        self.digests.learn(stage.place, stage)
        self.tidy()

    def _get(self, kind: type[_Known], key: str) -> _Known | None:
        if self._store is None or self._check or not self._sure:
            return None
        content = self._store.get(_KINDS[kind], key)
        return None if content is None else _read(kind, content)

    def _put(self, store: Store, key: str, known: _Known) -> None:
        if not self._is_unedited():
            return
        content = json.dumps(to_json(known)).encode()
        if _read(type(known), content) == known:  # else it would not be what was made
            store.put(_KINDS[type(known)], key, content)

    def _is_unedited(self) -> bool:
        """Whether the sources are those that this process imported."""
        now = self._sources(["attnfuse"]), self._sources(self._packages[1:])
        return self._sure and now == (self._engine, self._plugins)

    def _graph_key(self, component: Component) -> str:
        content = {f.name: getattr(component, f.name) for f in dataclasses.fields(component) if f.name not in _BESIDE}
        return _key([_plain(content), self._engine, self._made_by])

    def _weights_key(self, component: Component, rewritten: Rewritten, location: str) -> str:
        shared = sorted(component.shared)
        lies = self._lies(component)
        return _key([location, key_of(component.data), lies, rewritten.edited, shared, self._engine])

    def _lies(self, component: Component) -> list[list[Any]]:
        """Where each weight lies, with the digests of those files, and what is added to it."""
        digests = {file: self.digests.of(file).sha256 for file in read_for_weights(component)}
        lies: list[list[Any]] = [
            [name, digests[source.file], source.key, _plain(source.taken)] for name, source in component.weights.items()
        ]
        lies += [[place, digests[file]] for place, file in component.adopted.items()]
        lies += [
            [name, digests[one.file], *one.identity] for name, ones in sorted(component.added.items()) for one in ones
        ]
        return lies

    def _sources(self, packages: Sequence[str]) -> str:
        return _sources(self.digests, packages)


def tool_digest() -> str:
    """What tells attnfuse, with its passes and plugins and what they compute with, from any other."""
    return _key(tool_parts())


def tool_parts() -> dict[str, str]:
    """The same, one by one: packages with their sources, libraries by version, Python."""
    digests = KnownDigests()
    made = {name: _key([_version(name), *map(digests.tree, _places(name))]) for name in _tool()}
    versions = {name: _version(name) for name in (*_LIBRARIES, *_EXECUTORS)}
    return {**versions, "python": sys.version, **made}


def is_edited() -> bool:
    """Whether a source of these was edited after this process began, and may not be what it imported."""
    digests = KnownDigests()
    return max(digests.newest_ns(path) for name in _tool() for path in _places(name)) >= started_ns()


def _tool() -> list[str]:
    """The packages of attnfuse, its passes and plugins."""
    return ["attnfuse", *_packages(pass_manager.discover(), plugins.load())]


def _packages(passes: Iterable[Pass], extensions: Extensions) -> list[str]:
    """The packages of passes and plugins."""
    names = {type(step).__module__.partition(".")[0] for step in passes}
    return sorted(names | {extension.package for extension in extensions.shaping})


def _sources(digests: KnownDigests, packages: Iterable[str]) -> str:
    """What says that these packages, and the libraries below all, are the same."""
    versions = {name: _version(name) for name in _LIBRARIES}
    found = {name: [_version(name), *(digests.tree(path) for path in _places(name))] for name in packages}
    return _key([versions, sys.version, found])


def check_apart(cache: Place, output: Path | None, source: Path) -> None:
    """Raise UsageError where the cache lies in the source or the output, or is one, or no folder, or holds them."""
    if isinstance(cache, str):
        return
    folder = Path(os.path.realpath(cache))  # Path.resolve has an error of its own for links in a circle
    for other in filter(None, (source, output)):
        path = Path(os.path.realpath(other))
        if folder == path or path in folder.parents or folder / FORMAT in path.parents:
            raise UsageError(f"the cache {cache} would lie in or over {other}; name another place for it.")
    try:
        is_circle = folder.is_symlink()
        is_other = folder.exists() and not folder.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise UsageError(f"the cache {cache} cannot be written: {error.strerror or error}.") from None
    if is_circle:
        raise UsageError(f"the cache {cache} is a link that leads to itself; name a folder.")
    if is_other:
        raise UsageError(f"the cache {cache} is a file; name a folder.")


def read_for_weights(component: Component) -> list[Path]:
    """The files that weights are streamed from."""
    of_loras = (one.file for ones in component.added.values() for one in ones)
    return sorted({*(source.file for source in component.weights.values()), *component.adopted.values(), *of_loras})


def _read(kind: type[_Known], content: bytes) -> _Known | None:
    try:
        return parse_json(kind, content)
    except ValueError:
        return None


def _plain(value: Any) -> Any:
    """JSON values of what a component is made of; of bytes, the digest."""
    if isinstance(value, bytes):
        return key_of(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(element) for name, element in value.items()}
    if isinstance(value, tuple):
        return [_plain(element) for element in value]
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _places(name: str) -> list[Path]:
    """Where the sources of an imported package, or of a module that is in none, lie."""
    module = sys.modules[name]
    paths = [Path(path) for path in getattr(module, "__path__", ())]
    file = getattr(module, "__file__", None)
    return paths or ([] if file is None else [Path(file)])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _key(content: Sequence[Any] | Mapping[str, Any]) -> str:
    return key_of(json.dumps(content, sort_keys=True))
