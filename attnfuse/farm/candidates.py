"""Units of tuning: how far a candidate is off the float64 values of its source.

What candidates of one source have in common is kept from one unit to the next.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, finalize

from attnfuse.farm.station import Station
from attnfuse.farm.units import Answer
from attnfuse.serialisation import from_json, to_json
from attnfuse.tuning.candidates import Candidate, Measured, opened


class _Kept:
    """A source by its digest, with a folder that its weights are written to, and that goes with it."""

    def __init__(self, source: str, station: Station) -> None:
        work = Path(tempfile.mkdtemp(prefix="attnfuse-"))
        finalize(self, shutil.rmtree, work, ignore_errors=True)
        self.source = source
        self.opened = opened(station.content(source), station.content, station.digests, work)


_last: WeakKeyDictionary[Station, _Kept] = WeakKeyDictionary()


def measure(request: Any, station: Station) -> Answer:
    """Measure a candidate. Raises AttnfuseError, LookupError, OSError or ValueError where that cannot be."""
    asked = from_json(Candidate, request)
    kept = _last.get(station)
    if kept is None or kept.source != asked.source:
        _last.pop(station, None)
        _last[station] = kept = _Kept(asked.source, station)
    return Answer("", to_json(Measured(kept.opened.error(station.content(asked.graph), station.memory))))
