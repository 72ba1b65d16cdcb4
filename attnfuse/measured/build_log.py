"""What a build log tells of nodes that were refused, by MindSpore's converter, CANN's engine, or a kernel's tiling.

The lines that are looked for, wherever in a line of the log they stand:

- `No supported Ops kernel and engine are found for [NODE], optype [TYPE]` (EZ3003), and before it, for each library of
  kernels, `Optype [TYPE] of Ops kernel [LIBRARY] is unsupported. Reason: …` (EZ3002): GE, dnnengine_manager.cc, and
  the page "EZ3003" of CANN's reference of error codes. The log has the same as `Can't find any supported ops kernel and
  engine of NODE, type is TYPE` and `Op type TYPE of ops kernel LIBRARY is unsupported, reason : …`.
- `Tiling failed, op name = NODE, op type = TYPE` (fe_ops_kernel_info_store.cc), and before it what the operator's own
  code said: `OpName:[NODE] …`.
- `Can't find OpAdapter for PRIMITIVE`: MindSpore, transform/graph_ir, which does not tell the node.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from attnfuse import documents
from attnfuse.errors import SourceError

_UNSUPPORTED = (
    re.compile(r"Optype \[(?P<type>[^\]]+)] of Ops kernel \[(?P<library>[^\]]+)] is unsupported\. Reason: (?P<why>.*)"),
    re.compile(r"Op type (?P<type>\S+) of (?:ops )?kernel (?P<library>\S+) is unsupported, reason ?: (?P<why>.*)"),
)
_REFUSED = (
    re.compile(r"No supported Ops kernel and engine are found for \[(?P<node>[^\]]+)\], optype \[(?P<type>[^\]]+)\]"),
    re.compile(r"Can't find any supported ops kernel and engine of (?P<node>\S+), type is (?P<type>\w+)"),
)
_TILING = re.compile(r"Tiling failed, op name = (?P<node>\S+), op type = (?P<type>\w+)")
_OPERATOR_SAID = re.compile(r"OpName:\[(?P<node>[^\]]+)\]\s*(?P<why>.*)")
_ADAPTER = re.compile(r"Can't find OpAdapter for (?P<type>\w+)")
_NO_ADAPTER = "MindSpore's converter has no adapter for it"
_NO_KERNEL = "no library of kernels takes it"
_NO_TILING = "its kernel cannot be launched so"
_AI_CORE = "AIcoreEngine"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node by the engine's name for it, empty where the log has none; its operator, and why."""

    node: str
    type: str
    reason: str


def read_build_log(file: Path) -> tuple[Refusal, ...]:
    """What was refused, in the order of the log, each node once. Raises SourceError where the log cannot be read."""
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            return tuple(refusals(lines))
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {documents.reason(error)}.") from None


def refusals(lines: Iterable[str]) -> Iterator[Refusal]:
    """The refusals in the lines of a log."""
    told: set[tuple[str, str]] = set()
    libraries: dict[str, dict[str, str]] = {}
    said: dict[str, str] = {}
    for line in lines:
        for pattern in _UNSUPPORTED:
            if match := pattern.search(line):
                libraries.setdefault(match["type"], {}).setdefault(match["library"], _clean(match["why"]))
        if match := _OPERATOR_SAID.search(line):
            said[match["node"]] = _clean(match["why"])
        found = _refusal(line, libraries, said)
        if found is not None and (found.node, found.type) not in told:
            told.add((found.node, found.type))
            yield found


def _refusal(line: str, libraries: dict[str, dict[str, str]], said: dict[str, str]) -> Refusal | None:
    for pattern in _REFUSED:
        if match := pattern.search(line):
            return Refusal(match["node"], match["type"], _of_libraries(libraries.pop(match["type"], {})))
    if match := _TILING.search(line):
        node = match["node"].rstrip(".,")
        return Refusal(node, match["type"], said.get(node, _NO_TILING))
    if match := _ADAPTER.search(line):
        return Refusal("", match["type"], _NO_ADAPTER)
    return None


def _of_libraries(reasons: dict[str, str]) -> str:
    """What the library of AI Core kernels said, which is asked for all; else the first."""
    return reasons.get(_AI_CORE) or next(iter(reasons.values()), _NO_KERNEL)


def _clean(text: str) -> str:
    return " ".join(text.split()).strip('". ')
