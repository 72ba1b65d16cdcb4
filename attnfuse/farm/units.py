"""What is asked of a worker, and what it answers: JSON texts, so that any machine reads them, and none runs them.

A unit is one trace; its digest is the key that the trace has in the cache, so that it is one unit however many
compiles need it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from attnfuse.cache.traces import TraceKey
from attnfuse.serialisation import to_json
from attnfuse.store.places import Place
from attnfuse.tracing.contract import ComponentPlan, Way
from attnfuse.tracing.runner import resolved

TRIES = 3
"""A unit whose workers died so often is not asked for again: it may be what they died of."""


@dataclass(frozen=True, slots=True)
class TraceUnit:
    """Trace `plan` in that `way`, and put the trace into the cache at `place` under `key`.

    `parts` are those of the key: a worker with other files or versions says in which it differs, and traces nothing.
    """

    schema: Literal["attnfuse.unit/1"]
    kind: Literal["trace"]
    plan: ComponentPlan
    way: Way
    key: str
    parts: Mapping[str, str]
    place: str
    is_folder: bool

    @property
    def whole_plan(self) -> ComponentPlan:
        """The plan with the way, which is no part of its JSON."""
        return replace(self.plan, way=self.way)

    @property
    def text(self) -> str:
        """What is sent."""
        return json.dumps(to_json(self), sort_keys=True)


def trace_unit(plan: ComponentPlan, key: TraceKey, place: Place) -> TraceUnit:
    """The unit of a trace that is to be in the cache at `place`."""
    where = str(place.resolve() if isinstance(place, Path) else place)
    is_folder = isinstance(place, Path)
    return TraceUnit("attnfuse.unit/1", "trace", resolved(plan), plan.way, key.key, key.parts, where, is_folder)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a unit: `error` is one sentence, empty where the trace is in the cache now.

    `made` says whether it was traced for this; `blocks` counts the blocks that were, `seconds` and `peak` are what the
    trace took, in seconds and bytes.
    """

    error: str = ""
    made: bool = False
    blocks: int = 0
    seconds: float = 0.0
    peak: int = 0


class Workers(Protocol):
    """Workers that units are sent to."""

    def perform(self, texts: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
        """Have these units done, texts by digest; answers come as they are there, one for each."""


Farm = AbstractContextManager[Workers]
