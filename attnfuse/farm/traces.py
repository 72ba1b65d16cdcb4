"""Units of tracing: the trace of a plan, and some of its blocks.

MindSpore is imported once in a worker's life, by the process that its traces are forked from. Where the worker has a
limit of memory, a trace that needs more is ended and told of.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from attnfuse.cache.traces import TraceKey
from attnfuse.farm.station import Station
from attnfuse.farm.units import Answer, Unit
from attnfuse.serialisation import from_json, to_json
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from attnfuse.tracing import runner
from attnfuse.tracing.contract import ComponentPlan, Way

TRACE: Final = "trace"
BLOCKS: Final = "blocks"


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """Trace `plan` in that `way`, and put the trace into the cache under `key`.

    `parts` are those of the key: a worker with other files or versions says in which it differs, and traces nothing.
    """

    plan: ComponentPlan
    way: Way
    key: str
    parts: Mapping[str, str]

    @property
    def whole_plan(self) -> ComponentPlan:
        """The plan with the way, which is no part of its JSON."""
        return replace(self.plan, way=self.way)


@dataclass(frozen=True, slots=True)
class BlocksRequest:
    """Trace every `of`-th block of what a trace asks for, from that `number` on, and put them into the cache.

    Whoever does the trace itself finds them there, or waits for those that are claimed.
    """

    trace: TraceRequest
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class TraceResult:
    """A trace that is in the cache now. `made` says whether it was traced for this.

    `blocks` counts the blocks that were, `seconds` and `peak` are what the trace took, in seconds and bytes.
    """

    made: bool = False
    blocks: int = 0
    seconds: float = 0.0
    peak: int = 0


def trace_unit(plan: ComponentPlan, key: TraceKey, store: Store) -> Unit:
    """The unit of a trace that is to be in that cache."""
    return Unit.of(TRACE, store, {}, TraceRequest(runner.resolved(plan), plan.way, key.key, key.parts))


def block_units(unit: Unit, count: int) -> list[Unit]:
    """So many units of blocks beside a unit of a trace, which begins with the first of them all."""
    asked = from_json(TraceRequest, unit.request)
    if asked.way != "blocks":
        return []
    requests = (BlocksRequest(asked, number, count + 1) for number in range(1, count + 1))
    return [replace(unit, kind=BLOCKS, request=to_json(request)) for request in requests]


def blocks(request: Any, station: Station) -> Answer:
    """Trace them, unless the trace is there. Raises as `trace` does."""
    asked = from_json(BlocksRequest, request)
    key = _key(asked.trace, station)
    if isinstance(key, str):
        return Answer(key)
    if station.traces.is_kept(key):
        return _answer(TraceResult())
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as work:
        made = runner.trace_blocks(asked.trace.whole_plan, Path(work), station.tracers(), asked.number, asked.of)
    return _answer(TraceResult(blocks=made))


def trace(request: Any, station: Station) -> Answer:
    """Trace it, unless it is there. Raises AttnfuseError where that cannot be, ValueError for what is no request."""
    asked = from_json(TraceRequest, request)
    plan, here = asked.whole_plan, station.name
    key = _key(asked, station)
    if isinstance(key, str):
        return Answer(key)
    with station.store.claim(Kind.TRACES, key.key):
        if station.traces.is_kept(key):
            return _answer(TraceResult())
        with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as work:
            traced = runner.trace_component(plan, Path(work), station.tracers())
            station.traces.save(key, traced)
    if not station.traces.is_kept(key):
        return Answer(f"{here} could not keep it: {station.store.error or 'its files changed meanwhile'}")
    return _answer(TraceResult(True, traced.blocks_made, traced.seconds, traced.peak_rss_bytes))


def _key(asked: TraceRequest, station: Station) -> TraceKey | str:
    """The key that the trace has here; or why nothing is traced here."""
    plan, here = asked.whole_plan, station.name
    if station.traces.is_edited():
        return f"{here} was started before attnfuse or mindone was edited there; start it again"
    key = station.traces.key(plan)
    if key is None:
        return f"{here} cannot read {plan.folder}, or has no MindSpore; see docs/farm.md"
    if key.key != asked.key:
        differ = ", ".join(sorted(name for name in asked.parts if asked.parts[name] != key.parts.get(name)))
        return f"{here} would make another trace, as these differ there: {differ}"
    return key


def _answer(result: TraceResult) -> Answer:
    return Answer("", to_json(result))
