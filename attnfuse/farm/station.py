"""What a worker has of one cache, for as long as it lives: the store, traces, and what tells it from other workers."""

from __future__ import annotations

import os
import platform
import socket
from functools import cache
from pathlib import Path

from attnfuse.cache.digests import KnownDigests, local_store
from attnfuse.cache.traces import Traces
from attnfuse.farm.units import Unit
from attnfuse.store.entries import key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.places import KEY_VARIABLE, Place
from attnfuse.store.store import Store
from attnfuse.tracing import runner
from attnfuse.tracing.workers import Workers

_OF_PROCESSOR = ("vendor_id", "model name", "flags")


class Station:
    """A worker's side of one cache. `memory` are the bytes that it may hold, if that is told."""

    def __init__(self, place: Place, memory: int | None) -> None:
        """Raises OutputError where the cache cannot be written, UsageError where it, or the key file, is none."""
        key_file = os.environ.get(KEY_VARIABLE)
        self.store = Store(place, Path(key_file) if key_file else None)
        self.digests = KnownDigests(local_store(self.store))
        self.traces = Traces(self.store, self.digests)
        self.memory = memory
        self._tracers: Workers | None = None

    def tracers(self) -> Workers:
        """What traces for this cache: a process that has MindSpore imported, and lives as long as this one."""
        self._tracers = self._tracers or runner.workers(1, self.traces.blocks(), self.memory)
        return self._tracers

    @property
    def name(self) -> str:
        """Where this is, for people."""
        return f"the worker on {socket.gethostname()}"

    def content(self, digest: str) -> bytes:
        """See `attnfuse.dispatch.Contents`."""
        found = self.store.get(Kind.CONTENTS, digest)
        if found is None or key_of(found) != digest:
            raise LookupError(f"{self.name} does not find in the cache what it is to work on")
        return found

    def refusal(self, unit: Unit) -> str:
        """Why nothing of that can be done here; empty where it can."""
        if unit.signer != self.store.signer:
            which = "no key" if not self.store.signer else "another key" if unit.signer else "a key"
            asked = "the command has one" if unit.signer else "the command has none"
            return f"{self.name} has {which} for the cache ({KEY_VARIABLE}), and {asked}"
        made_by = unit.made_by
        if not made_by:
            return ""
        from attnfuse.incremental import is_edited  # the passes, which what traces has no use for

        if is_edited():
            return f"{self.name} was started before attnfuse was edited there; start it again"
        here = made_here()
        differ = ", ".join(sorted(name for name in made_by if made_by[name] != here.get(name)))
        return f"{self.name} would give other figures, as these differ there: {differ}" if differ else ""


@cache
def made_here() -> dict[str, str]:
    """What figures depend on beside what they are of, by name: sources, versions, and the kind of processor.

    Libraries choose by that how they compute, and so the last digit.
    """
    from attnfuse.incremental import tool_parts  # as above

    return {**tool_parts(), "processor": key_of(f"{platform.machine()} {_processor()}")}


def _processor() -> str:
    """What the system says of the kind of processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    told = dict(line.partition(":")[::2] for line in reversed(lines))
    return " ".join(sorted(value.strip() for name, value in told.items() if name.strip() in _OF_PROCESSOR))
