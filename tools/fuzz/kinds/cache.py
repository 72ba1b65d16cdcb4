"""Entries of a cache folder whose checksum agrees, as if a hostile hand had written them, and such whose does not."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from functools import cache as kept
from pathlib import Path
from typing import Any

from attnfuse import pass_manager
from attnfuse.cache import digests as digests_of
from attnfuse.cache.digests import KnownDigests
from attnfuse.cache.traces import TraceKey, Traces
from attnfuse.component import Component
from attnfuse.incremental import Incremental, KnownGraph, KnownWeights
from attnfuse.mindir import codec
from attnfuse.output import FileDigest, OutputPlace, identity
from attnfuse.policy import Policy
from attnfuse.rewriting import Rewritten, rewrite
from attnfuse.serialisation import to_json
from attnfuse.store.entries import FORMAT, key_of
from attnfuse.store.kinds import Kind as StoreKind
from attnfuse.store.store import Store
from attnfuse.targets import Target
from attnfuse.tracing.contract import ComponentPlan, StoredWeight, TensorSpec, Traced
from tests.support.graphs import transformer
from tools.fuzz.cases import Kind, Seed
from tools.fuzz.documents import edit_json

STORE = "cache"
_KEY = key_of("what it is about")
_TARGET = Target("lite", "ascend910b")
_GRAPH = "unet.mindir"
_WEIGHTS = "unet_variables/data_0"
_FILE = FileDigest(key_of(b"x"), 1)


@kept
def _component() -> Component:
    data = codec.serialise(transformer(sites=1).build())
    return Component(name="unet", owner="unet", where="it", data=data, graph_name=_GRAPH)


@kept
def _rewritten() -> Rewritten:
    return rewrite(_component(), Policy(), _TARGET, pass_manager.discover())[0]


@kept
def _begun(folder: Path) -> Incremental:
    """Begun once: it looks at all sources of attnfuse."""
    found = Incremental(folder / STORE)
    found.begin(OutputPlace(folder, is_file=False), Policy(), _TARGET, pass_manager.discover())
    return found


def _entry(value: Any) -> bytes:
    return json.dumps(to_json(value)).encode()


@kept
def _seeds() -> tuple[Seed, ...]:
    graph = {"graph.json": _entry(KnownGraph(_rewritten(), _FILE)), _GRAPH: b"x"}
    weights = {"weights.json": _entry(KnownWeights(_FILE, ("a.weight",))), _WEIGHTS: b"x"}
    weight = StoredWeight("a.weight", Path("model.safetensors"), "a.weight", "float16", (2, 3))
    trace: Mapping[str, Any] = {
        "graph": key_of(b"graph"),
        "spill": key_of(b"spill"),
        "values": {"model.safetensors": key_of(b"values")},
        "weights": [{**to_json(weight), "file": "model.safetensors"}, {**to_json(weight), "file": None}],
        "outputs": [to_json(TensorSpec("sample", (2, 4), "float16"))],
        "versions": {"mindspore": "2.7.1"},
        "traced": to_json(Traced("blocks", 2, 4)),
    }
    traced = {
        "trace.json": json.dumps(trace).encode(),
        "model/config.json": b"{}",
        "model/model.safetensors": b"values",
    }
    digest = {"digest.json": json.dumps({"file": [0, 0, 0, 0, 0], "sha256": key_of(b"x")}).encode(), "file": b"x"}
    return (Seed("graph", graph), Seed("weights", weights), Seed("trace", traced), Seed("digest", digest))


def _content(folder: Path, name: str) -> bytes:
    """The entry; nothing where no file lies there."""
    path = folder / name
    return path.read_bytes() if path.is_file() else b""


def _put(folder: Path, kind: StoreKind, key: str, content: bytes, *, agrees: bool) -> Store:
    """A store with that entry; where it does not agree, as it lies."""
    store = Store(folder / STORE)
    store.put(kind, key, content)
    if not agrees:
        (folder / STORE / FORMAT / kind / key).write_bytes(content)
    return store


def _look(folder: Path, *, agrees: bool) -> None:
    """Ask for each kind of entry."""
    known = _begun(folder)
    component, rewritten = _component(), _rewritten()
    if content := _content(folder, "graph.json"):
        _put(folder, StoreKind.KNOWN_GRAPH, known._graph_key(component), content, agrees=agrees)
        known.graph(component, _GRAPH)
    if content := _content(folder, "weights.json"):
        key = known._weights_key(component, rewritten, _WEIGHTS)
        _put(folder, StoreKind.KNOWN_WEIGHTS, key, content, agrees=agrees)
        known.weights(component, rewritten, _WEIGHTS)
    if content := _content(folder, "trace.json"):
        _load_trace(folder, _put(folder, StoreKind.TRACES, _KEY, content, agrees=agrees))
    if (content := _content(folder, "digest.json")) and (folder / "file").is_file():
        state = identity((folder / "file").stat())
        own = json.dumps(list(dataclasses.astuple(state))).encode()
        store = _put(
            folder, StoreKind.DIGESTS, digests_of._key(state), content.replace(b"[0, 0, 0, 0, 0]", own), agrees=agrees
        )
        assert KnownDigests(store).of(folder / "file").bytes == state.size


def _load_trace(folder: Path, store: Store) -> None:
    for content in (b"graph", b"spill"):
        store.put(StoreKind.GRAPHS, key_of(content), content)
    plan = ComponentPlan(
        *("unet", "unet", "UNet2DConditionModel", "diffusers", folder / "model", None, "float16", ()),
        patches=(),
        package="",
        variant="",
        checkpoint=None,
        processors=(),
        ip_adapter=None,
        fixed=(),
    )
    if plan.folder.is_dir():
        with tempfile.TemporaryDirectory() as work:
            Traces(store, KnownDigests(None)).load(TraceKey(_KEY, (), {}), plan, Path(work))


def _hostile(folder: Path) -> None:
    _look(folder, agrees=True)


def _damaged(folder: Path) -> None:
    _look(folder, agrees=False)


KIND = Kind(
    "cache",
    _seeds,
    {edit_json: 80},
    {"hostile": _hostile, "hostile too": _hostile, "damaged": _damaged},
    ("attnfuse.store.entries", "attnfuse.store.store", "attnfuse.cache", "attnfuse.incremental"),
    own=(STORE,),
)
