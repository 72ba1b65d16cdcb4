"""Graphs that were traced before, by all that a trace depends on.

That is: the plan; every JSON file in the model's folder, and of every safetensors file there (or of the single one that
has its weights in place of those) the header, which says names, types and shapes; the versions of MindSpore, mindone,
transformers and Python, mindone's own sources (people edit them) and those of `attnfuse.tracing`; MindSpore's
environment variables. Values of weights are read by a trace only where mindone computes with them, and are then kept
beside the graph: such a trace also depends on the files' content.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attnfuse.tracing
from attnfuse.cache.digests import KnownDigests
from attnfuse.errors import SourceError
from attnfuse.mindir import codec
from attnfuse.mindir.external import parameter_name, parameters
from attnfuse.mindir.tensorfile import TensorFile, read_header
from attnfuse.output import Identity, identity
from attnfuse.processes import started_ns
from attnfuse.serialisation import parse_json, to_json
from attnfuse.store.entries import KEY, key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from attnfuse.tracing.contract import (
    BlockCache,
    ComponentPlan,
    StoredWeight,
    TensorSpec,
    Traced,
    TracedComponent,
)
from attnfuse.tracing.runner import UNSET

_GRAPH_FILE = "graph.mindir"
_SPILL_FILE = "spilled.safetensors"
_CHECKPOINT, _ADAPTER = "checkpoint/weights.safetensors", "ip_adapter/weights.safetensors"
"""What stands for a single file, and for that of an IP-Adapter, whatever they are called."""
_PACKAGES = ("mindspore", "mindone", "transformers")

#: What of a plan says nothing of its trace: where the model lies, and what is told of it.
_NO_MATTER = ("folder", "fixed", "checkpoint", "ip_adapter")


_SPILLED = Path("spilled/weights.safetensors")
"""What stands, in an entry, for the file of weights that the trace wrote itself."""


@dataclass(frozen=True, slots=True)
class TraceKey:
    """What a trace will depend on; `states` are the files of the model as they were.

    `parts` has a digest for each kind of thing that it depends on, so that it can be told what two keys differ in.
    """

    key: str
    states: tuple[tuple[str, Identity], ...]
    parts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Kept:
    """An entry: of a trace all but the graphs, which have entries of their own. Weights are in files by name, `inputs`
    are those of the plan."""

    inputs: tuple[TensorSpec, ...]
    graph: str
    spill: str | None
    values: dict[str, str] | None
    weights: tuple[StoredWeight, ...]
    outputs: tuple[TensorSpec, ...]
    versions: dict[str, str]
    traced: Traced


class Traces:
    """The traces of a store."""

    def __init__(self, store: Store, digests: KnownDigests) -> None:
        self._store = store
        self._digests = digests
        self._sources: list[str] = []

    @property
    def store(self) -> Store:
        """Where they are kept."""
        return self._store

    @property
    def error(self) -> str:
        """Why something could not be kept, or nothing."""
        return self._store.error

    def key(self, plan: ComponentPlan) -> TraceKey | None:
        """The key of a plan's trace; None where its files cannot be read, or what traces is not installed."""
        try:
            paths = _paths(plan)
            states = _states(paths)
            files = {name: _outline(name, path) for name, path in paths.items()}
            made_by = self._made_by()
        except (OSError, PackageNotFoundError):
            return None
        content = {
            "plan": {name: value for name, value in to_json(plan).items() if name not in _NO_MATTER},
            "way": plan.way,
            "files": files,
            **made_by,
        }
        parts = {name: key_of(json.dumps(part, sort_keys=True)) for name, part in content.items()}
        return TraceKey(key_of(json.dumps(content, sort_keys=True)), states, parts)

    def blocks(self) -> BlockCache | None:
        """What a worker is told, so that blocks are shared; None where what traces is not installed."""
        try:
            made_by = key_of(json.dumps(self._made_by(), sort_keys=True))
        except (OSError, PackageNotFoundError):
            return None
        key_file = self._store.key_file
        place = self._store.place
        return BlockCache(
            place=str(place.resolve() if isinstance(place, Path) else place),
            is_folder=isinstance(place, Path),
            key_file=None if key_file is None else key_file.resolve(),
            made_by=made_by,
        )

    def _made_by(self) -> dict[str, Any]:
        """What traces, whatever is traced."""
        versions = {name: version(name) for name in _PACKAGES}
        self._sources = self._sources or self._digest_sources()
        return {
            "versions": versions,
            "python": [platform.python_version(), platform.machine()],
            "environment": {n: v for n, v in sorted(os.environ.items()) if n.startswith("MS_") and n not in UNSET},
            "sources": self._sources,
        }

    def is_kept(self, key: TraceKey) -> bool:
        """Whether there is an entry of such a trace; whether it holds, `load` tells."""
        return self._store.get(Kind.TRACES, key.key) is not None

    def load(self, key: TraceKey, plan: ComponentPlan, work: Path) -> TracedComponent | None:
        """What an earlier trace left, put into `work` as the worker would; None where there is none that holds.

        It holds where it is of the plan's inputs and of the files' values, and its graph is one, with the weights that
        it names: whoever writes to a store may err in what no digest shows.
        """
        content = self._store.get(Kind.TRACES, key.key)
        if content is None:
            return None
        try:
            entry = parse_json(_Kept, content)
        except ValueError:
            return None
        graph = self._file(entry.graph)
        spill = None if entry.spill is None else self._file(entry.spill)
        if graph is None or (spill is None) != (entry.spill is None):
            return None
        if entry.inputs != plan.inputs or not _has_weights(graph, entry.weights):
            return None
        paths = _paths(plan)
        if entry.values != (None if spill is None else self._values(paths)):
            return None
        files = {Path(name): path for name, path in paths.items()} | {_SPILLED: work / _SPILL_FILE}
        if not all(weight.file in files for weight in entry.weights):
            return None
        (work / _GRAPH_FILE).write_bytes(graph)
        if spill is not None:
            (work / _SPILL_FILE).write_bytes(spill)
            if not _holds(work / _SPILL_FILE, [one for one in entry.weights if one.file == _SPILLED]):
                return None
        return TracedComponent(
            plan=plan,
            graph=work / _GRAPH_FILE,
            weights=tuple(replace(weight, file=files[weight.file]) for weight in entry.weights),
            outputs=entry.outputs,
            versions=entry.versions,
            seconds=0.0,
            peak_rss_bytes=0,
            traced=entry.traced,
        )

    def save(self, key: TraceKey, traced: TracedComponent) -> None:
        """Keep a trace, unless a file it read, or a source of what traced it, changed meanwhile."""
        paths = _paths(traced.plan)
        names = {path: name for name, path in paths.items()}
        spilled = {source.file for source in traced.weights if source.file not in names}
        values = self._values(paths) if spilled else None
        if _states(paths) != key.states or self._digest_sources() != self._sources or len(spilled) > 1:
            return
        entry = _Kept(
            inputs=traced.plan.inputs,
            graph=self._keep(traced.graph),
            spill=self._keep(spilled.pop()) if spilled else None,
            values=values,
            weights=tuple(replace(one, file=Path(names.get(one.file, _SPILLED))) for one in traced.weights),
            outputs=traced.outputs,
            versions=traced.versions,
            traced=traced.traced,
        )
        self._store.put(Kind.TRACES, key.key, json.dumps(to_json(entry)).encode())

    def is_edited(self) -> bool:
        """Whether a source of what traces was edited after this process began, and may not be what it imported."""
        return max(self._digests.newest_ns(root) for root in _sources()) >= started_ns()

    def _digest_sources(self) -> list[str]:
        return [self._digests.tree(root, (".py",)) for root in _sources()]

    def _values(self, paths: Mapping[str, Path]) -> dict[str, str]:
        """Digests of the weight files, by name."""
        return {name: self._digests.of(path).sha256 for name, path in paths.items() if _is_weights(name)}

    def _file(self, key: str) -> bytes | None:
        """The content of a file that a trace wrote, by its digest."""
        content = self._store.get(Kind.GRAPHS, key) if KEY.fullmatch(key) else None
        return content if content is not None and key_of(content) == key else None

    def _keep(self, file: Path) -> str:
        content = file.read_bytes()
        key = key_of(content)
        self._store.put(Kind.GRAPHS, key, content)
        return key


def _paths(plan: ComponentPlan) -> dict[str, Path]:
    """The files that say what the model is, by a name that does not tell where they lie. Raises OSError."""
    folder = plan.folder.resolve()
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith((".json", ".safetensors")))
    beside = {_CHECKPOINT: plan.checkpoint, _ADAPTER: plan.ip_adapter}
    given = {name: path.parent.resolve() / path.name for name, path in beside.items() if path is not None}
    own = (name for name in names if plan.checkpoint is None or not _is_weights(name))
    return {**given, **{name: folder / name for name in own}}


def _states(paths: Mapping[str, Path]) -> tuple[tuple[str, Identity], ...]:
    """What the files were when they were looked at."""
    return tuple((name, identity(path.stat())) for name, path in paths.items())


def _has_weights(graph: bytes, weights: Sequence[StoredWeight]) -> bool:
    """Whether a graph is one, and these are its weights."""
    try:
        model = codec.parse(graph, "the cache")
    except SourceError:
        return False
    declared = [(parameter_name(one), math.prod(one.dims)) for one in parameters(model)]
    return declared == [(one.parameter, math.prod(one.shape)) for one in weights]


def _holds(file: Path, weights: Sequence[StoredWeight]) -> bool:
    """Whether a safetensors file has these."""
    try:
        tensors = TensorFile(file).tensors
    except SourceError:
        return False
    sizes = {key: math.prod(tensor.shape) for key, tensor in tensors.items()}
    return all(sizes.get(one.key) == math.prod(one.shape) for one in weights)


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors")


def _outline(name: str, path: Path) -> list[Any]:
    """What a trace reads of a file: a configuration whole, of weights the header."""
    if not _is_weights(name):
        return [key_of(path.read_bytes())]
    return [key_of(read_header(path)), path.stat().st_size]


def _sources() -> list[Path]:
    """The sources that make a trace: those of attnfuse's tracing, and mindone's."""
    roots = [Path(attnfuse.tracing.__file__).parent]
    found = importlib.util.find_spec("mindone")
    if found is not None and found.submodule_search_locations:
        roots += [Path(place) for place in found.submodule_search_locations]
    return roots
