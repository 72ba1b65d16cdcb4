"""What a worker does, whoever it works for: it reads a unit, traces, puts the trace into the cache, and answers.

MindSpore is imported once in a worker's life, by the process that its traces are forked from. One unit is done at a
time, and where the worker has a limit of memory, a trace that needs more is ended and told of.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import Final

from attnfuse.cache.digests import KnownDigests, local_store
from attnfuse.cache.traces import Traces
from attnfuse.errors import AttnfuseError
from attnfuse.farm.units import Answer, TraceUnit
from attnfuse.serialisation import parse_json, to_json
from attnfuse.store.kinds import Kind
from attnfuse.store.places import Place
from attnfuse.store.store import Store
from attnfuse.tracing import runner
from attnfuse.tracing.workers import Workers

KEY_VARIABLE: Final = "ATTNFUSE_CACHE_KEY"
"""Names the file of what signs entries of the cache, on each machine its own."""

_lock = threading.Lock()
_known: dict[tuple[str, bool, int | None], _Tracer] = {}


class _Tracer:
    """What traces into one cache."""

    def __init__(self, place: Place, memory: int | None) -> None:
        key_file = os.environ.get(KEY_VARIABLE)
        self._store = Store(place, Path(key_file) if key_file else None)
        self._traces = Traces(self._store, KnownDigests(local_store(self._store)))
        self._memory = memory
        self._workers: Workers | None = None

    def perform(self, unit: TraceUnit) -> Answer:
        """Trace it, unless it is there. Raises AttnfuseError where that cannot be."""
        plan, here = unit.whole_plan, f"the worker on {socket.gethostname()}"
        if self._traces.is_edited():
            return Answer(f"{here} was started before attnfuse or mindone was edited there; start it again")
        key = self._traces.key(plan)
        if key is None:
            return Answer(f"{here} cannot read {plan.folder}, or has no MindSpore; see docs/farm.md")
        if key.key != unit.key:
            differ = ", ".join(sorted(name for name in unit.parts if unit.parts[name] != key.parts.get(name)))
            return Answer(f"{here} would make another trace, as these differ there: {differ}")
        with self._store.claim(Kind.TRACES, key.key):
            if self._traces.is_kept(key):
                return Answer()
            self._workers = self._workers or runner.workers(1, self._traces.blocks(), self._memory)
            with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as work:
                traced = runner.trace_component(plan, Path(work), self._workers)
                self._traces.save(key, traced)
        if not self._traces.is_kept(key):
            return Answer(f"{here} could not keep it: {self._store.error or 'its files changed meanwhile'}")
        return Answer("", True, traced.blocks_made, traced.seconds, traced.peak_rss_bytes)


def perform(text: str, memory: int | None = None) -> str:
    """Do what a unit asks for, in that many bytes of memory; the answer's text."""
    with _lock:
        try:
            unit = parse_json(TraceUnit, text)
            known = (unit.place, unit.is_folder, memory)
            if known not in _known:
                _known[known] = _Tracer(Path(unit.place) if unit.is_folder else unit.place, memory)
            answer = _known[known].perform(unit)
        except (AttnfuseError, ValueError) as error:
            answer = Answer(str(error).rstrip("."))
    return json.dumps(to_json(answer))
