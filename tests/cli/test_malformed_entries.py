"""Entries whose digest agrees and whose content is none of their kind: noticed, and made anew, whichever kind it is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from attnfuse.cache import digests as digests_package
from attnfuse.mindir import codec
from attnfuse.output import identity
from attnfuse.store.entries import key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from tests.cli.conftest import Command, tree
from tests.farm.conftest import trace_by, write_pipeline
from tests.support.graphs import transformer
from tests.support.tracer import Tracer
from tests.tuning.graphs import overflowing, tune

ROOT = Path(__file__).resolve().parents[2]
COMPILED = (
    (Kind.TRACES, Kind.KNOWN_GRAPH, Kind.KNOWN_WEIGHTS, Kind.DIGESTS, Kind.TREES),
    (Kind.GRAPHS,),  # which a trace that holds leads to
)
"""What a compile keeps, and asks for whatever becomes of the others."""
TUNED = (Kind.MEASURED_ERROR, Kind.MEASURED_ESTIMATE, Kind.MEASURED_EXACT)
"""What `tune` keeps."""
ELSEWHERE = {Kind.BLOCKS: "tests/tracing/blocks/test_traced.py", Kind.CONTENTS: "tests/farm/test_perform.py"}
"""Where the others are damaged: what reads blocks has MindSpore in its process, what reads contents is a worker."""

OTHER_GRAPH = codec.serialise(transformer(sites=1).build())
CONTENTS: Mapping[str, bytes] = {
    "nothing": b"",
    "no text": b"\xff\xfe\x00",
    "deep JSON": b"[" * 100_000,
    "JSON of another schema": b'{"schema": "another/1", "file": [], "sha256": 1, "graph": {}, "weights": 0}',
    "another graph": OTHER_GRAPH,
}
"""Contents of no kind, but for the last, which is that of a graph under another's name."""
OWN: Mapping[Kind, Mapping[str, bytes]] = {
    Kind.MEASURED_ERROR: {"no number": b"nan", "less than nothing": b"-1.0"},
    Kind.MEASURED_ESTIMATE: {
        "no digest": b'["x", 1.0]',
        "no time": f'["{key_of("x")}", NaN]'.encode(),
        "a text for a time": f'["{key_of("x")}", "1.0"]'.encode(),
    },
    Kind.GRAPHS: {"other weights": save({"another": np.zeros(3, np.float32)})},
}
"""Contents that are nearly of a kind."""

Contents = dict[str, bytes | None]


@pytest.fixture(autouse=True)
def tracer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracer:
    """What traces; and what is hashed is kept, however new it is."""
    found = Tracer()
    found.spill = ["blocks.0.attn1.to_q.weight"]
    trace_by(found, monkeypatch, tmp_path / "sources")
    monkeypatch.setattr(digests_package, "_COARSE_NS", -(2**62))
    return found


def contents(store: Store, kind: Kind) -> Contents:
    """The entries of a kind."""
    return {one.key: store.get(kind, one.key) for one in store.listed() if one.kind == kind}


def asked_for(kind: Kind, store: Store, source: Path, among: Contents | None = None) -> Contents:
    """Those that each compile asks for; of digests, which tell of files as they are, those of the source's."""
    found = contents(store, kind) if among is None else among
    if kind is not Kind.DIGESTS:
        return found
    keys = [digests_package._key(identity(path.stat())) for path in sorted(source.rglob("*")) if path.is_file()]
    told = {key: json.loads(found[key] or b"{}") for key in keys if key in found}
    assert told
    return {key: one.get("sha256", "none").encode() for key, one in told.items()}


def malformed(*kinds: Kind) -> Mapping[str, bytes]:
    return dict(itertools.chain(CONTENTS.items(), *(OWN.get(kind, {}).items() for kind in kinds)))


def test_every_kind_is_damaged_by_some_test() -> None:
    """One that is added is to be damaged as well."""
    assert set(Kind) == {*itertools.chain(*COMPILED), *TUNED, *ELSEWHERE}
    for kind, test in ELSEWHERE.items():
        assert f"Kind.{kind.name}" in (ROOT / test).read_text()


@pytest.mark.parametrize("kinds", COMPILED)
def test_what_a_compile_keeps(kinds: Sequence[Kind], tracer: Tracer, command: Command, tmp_path: Path) -> None:
    source, out, cache = write_pipeline(tmp_path / "in"), tmp_path / "out", tmp_path / "cache"
    arguments = ("compile", source, "-o", out, "--cache-dir", cache, "--progress", "never")
    assert command(*arguments).code == 0
    assert command(*arguments).code == 0, "which looks at what stands"
    store, made, traced = Store(cache), tree(out), len(tracer.traced)
    before = {kind: contents(store, kind) for kind in kinds}
    assert all(before.values())
    for what, content in malformed(*kinds).items():
        for kind in kinds:
            for key in before[kind]:
                store.put(kind, key, content)
        answer = command(*arguments)
        assert answer.code == 0, (what, answer.err)
        assert tree(out) == made, what
        for kind in kinds:
            assert asked_for(kind, store, source) == asked_for(kind, store, source, before[kind]), (what, kind)
        traced += 1
        assert len(tracer.traced) == traced, what


def changed(**values: Any) -> Callable[[bytes], bytes]:
    """A trace's entry with other values."""
    return lambda entry: json.dumps({**json.loads(entry), **values}).encode()


def with_other_weight(entry: bytes) -> bytes:
    told = json.loads(entry)
    told["weights"][0]["parameter"] = "another"
    return json.dumps(told).encode()


TRACES: Mapping[str, Callable[[bytes], bytes]] = {
    "no such graph": changed(graph=key_of("nothing")),
    "the name of no entry": changed(graph="../../digests/x"),
    "another graph": changed(graph=key_of(OTHER_GRAPH)),
    "a graph for weights": changed(spill=key_of(OTHER_GRAPH)),
    "no weights": changed(weights=[]),
    "other weights": with_other_weight,
    "other inputs": changed(inputs=[{"name": "sample", "shape": [1], "dtype": "float16"}]),
}


@pytest.mark.parametrize("what", TRACES)
def test_a_trace_that_is_not_the_plans(what: str, tracer: Tracer, command: Command, tmp_path: Path) -> None:
    """Well formed, and of other inputs, or with another graph or weights than its own."""
    source, cache = write_pipeline(tmp_path / "in"), tmp_path / "cache"
    assert command("compile", source, "-o", tmp_path / "sound", "--cache-dir", cache).code == 0
    store = Store(cache)
    store.put(Kind.GRAPHS, key_of(OTHER_GRAPH), OTHER_GRAPH)
    ((key, entry),) = contents(store, Kind.TRACES).items()
    assert entry is not None
    store.put(Kind.TRACES, key, TRACES[what](entry))
    answer = command("compile", source, "-o", tmp_path / "out", "--cache-dir", cache)
    assert answer.code == 0, answer.err
    assert tracer.traced == ["unet", "unet"]
    assert store.get(Kind.TRACES, key) == entry
    assert tree(tmp_path / "out") == tree(tmp_path / "sound")


def test_a_trace_of_another_size(tracer: Tracer, command: Command, tmp_path: Path) -> None:
    source, cache = write_pipeline(tmp_path / "in"), tmp_path / "cache"

    def compile_(out: str, size: str) -> None:
        answer = command("compile", source, "-o", tmp_path / out, "--cache-dir", cache, "--size", size)
        assert answer.code == 0, answer.err

    store = Store(cache)
    compile_("small", "64x64")
    ((small, entry),) = contents(store, Kind.TRACES).items()
    compile_("large", "128x64")
    ((_, other),) = (one for one in contents(store, Kind.TRACES).items() if one[0] != small)
    assert other is not None
    store.put(Kind.TRACES, small, other)
    compile_("again", "64x64")
    assert len(tracer.traced) == 3
    assert store.get(Kind.TRACES, small) == entry


def test_what_tune_keeps(tmp_path: Path) -> None:
    source, cache = overflowing(sites=2, length=16, heads=1).write(tmp_path / "unet.mindir"), tmp_path / "cache"
    found = tune(source, 1e-3, cache=cache)
    store = Store(cache)
    before = {kind: contents(store, kind) for kind in TUNED}
    assert all(before.values())
    left = {kind: [*malformed(kind).values()] for kind in TUNED}
    for number in itertools.count():
        for kind, keys in before.items():
            for key, content in zip(keys, left[kind] or [b""], strict=False):  # as many at a time as there are entries
                store.put(kind, key, content)
            left[kind] = left[kind][len(keys) :]
        # Values in float64 are asked for where an error is to be measured: there is one at least that is not known.
        assert tune(source, 1e-3, cache=cache) == found, number
        assert {kind: contents(store, kind) for kind in TUNED} == before, number
        if not any(left.values()):
            break
