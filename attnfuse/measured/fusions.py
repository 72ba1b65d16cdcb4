"""fusion_result.json: how often each fusion pass of CANN's graph engine matched, and took effect.

The layout is that of "export_compile_stat" in the documents of CANN 8 and 9, and of the engine's own writer
(compiler/engines/nn_engine/fusion/common/fusion_statistic/fusion_statistic_writer.cc): by `session_and_graph_id_S_G`,
`graph_fusion` and `ub_fusion`, in these by pass `match_times` and `effect_times`, numbers as text. A pass that is
switched off is not in it, nor one that matched nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnfuse.errors import SourceError
from attnfuse.measured.folder import read_json

_GRAPH = "session_and_graph_id"
_SORTS = ("graph_fusion", "ub_fusion")
_KEYS = ("match_times", "effect_times")


def read_fusions(file: Path) -> dict[str, tuple[int, int]]:
    """By pass how often it matched and how often it took effect, over all graphs of the file.

    Raises SourceError where the file is damaged, or of an engine that wrote it otherwise.
    """
    document = read_json(file)
    if not isinstance(document, dict) or not all(name.startswith(f"{_GRAPH}_") for name in document):
        raise SourceError(f"{file} is no fusion_result.json of CANN 8: its keys do not begin with {_GRAPH}.")
    found: dict[str, tuple[int, int]] = {}
    for graph, sorts in document.items():
        for sort in _SORTS:
            for name, times in _passes(file, graph, sort, sorts).items():
                matched, done = (_times(file, f"{graph}.{sort}.{name}", times, key) for key in _KEYS)
                before = found.get(name, (0, 0))
                found[name] = before[0] + matched, before[1] + done
    return dict(sorted(found.items()))


def _passes(file: Path, graph: str, sort: str, sorts: Any) -> Mapping[str, Any]:
    passes = sorts.get(sort, {}) if isinstance(sorts, dict) else None
    if not isinstance(passes, dict):
        raise SourceError(f"{file} is damaged at {graph}: {sort} is no table of passes.")
    return passes


def _times(file: Path, place: str, times: Any, key: str) -> int:
    value = times.get(key) if isinstance(times, dict) else None
    if not isinstance(value, str | int) or isinstance(value, bool) or not re.fullmatch("[0-9]{1,18}", str(value)):
        raise SourceError(f"{file} is damaged at {place}: {key} is {value!r}, and no count.")
    return int(value)
