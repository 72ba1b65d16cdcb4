"""What a worker does, whoever it works for: it reads a unit, has it done by its kind, and answers.

One unit is done at a time, in the memory that the worker has.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from attnfuse.dispatch import CANDIDATE, SEGMENT
from attnfuse.errors import AttnfuseError, MemoryLimitError
from attnfuse.farm import traces
from attnfuse.farm.station import Station
from attnfuse.farm.units import Answer, Unit
from attnfuse.serialisation import parse_json, to_json


def _candidate(request: Any, station: Station) -> Answer:
    from attnfuse.farm import candidates  # onnxruntime

    return candidates.measure(request, station)


def _segment(request: Any, station: Station) -> Answer:
    from attnfuse.verify.numbers import segments  # onnxruntime

    return Answer("", segments.answered(request, station.content, station.memory))


KINDS: Final[Mapping[str, Callable[[Any, Station], Answer]]] = {
    traces.TRACE: traces.trace,
    traces.BLOCKS: traces.blocks,
    CANDIDATE: _candidate,
    SEGMENT: _segment,
}
"""What each kind of unit has done, of the request: raises AttnfuseError, LookupError or ValueError where it cannot."""

_lock = threading.Lock()
_known: dict[tuple[str, bool, int | None], Station] = {}


def perform(text: str, memory: int | None = None) -> str:
    """Do what a unit asks for, in that many bytes of memory; the answer's text."""
    with _lock:
        try:
            answer = _done(parse_json(Unit, text), memory)
        except (AttnfuseError, LookupError, ValueError) as error:
            answer = Answer(str(error).rstrip("."))
        except Exception as error:  # whatever it is, whoever asked does it, and meets it too
            answer = Answer(f"a worker failed at it ({type(error).__name__}: {' '.join(str(error).split())[:200]})")
    return json.dumps(to_json(answer))


def _done(unit: Unit, memory: int | None) -> Answer:
    if unit.kind not in KINDS:
        return Answer(f"no unit of the kind {unit.kind!r} is known to this version of attnfuse")
    known = (unit.place, unit.is_folder, memory)
    if known not in _known:
        _known[known] = Station(unit.cache, memory)
    station = _known[known]
    refusal = station.refusal(unit)
    if refusal:
        return Answer(refusal)
    try:
        return KINDS[unit.kind](unit.request, station)
    except MemoryLimitError as error:
        allowed = "" if memory is None else f"may hold {memory / 2**30:.2f} GiB, and "
        return Answer(f"{station.name} {allowed}would need about {error.needed / 2**30:.1f} GiB for it")
