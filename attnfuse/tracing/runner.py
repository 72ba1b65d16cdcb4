"""Has workers trace, and reads what they left. Main side: imports no MindSpore.

Imports `contract`, `assembly`, `workers` and what of `blocks` imports no MindSpore of this package, `attnfuse.errors`
and `attnfuse.serialisation`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnfuse.errors import TraceError
from attnfuse.serialisation import from_json, to_json
from attnfuse.tracing.blocks.drafts import NotPutTogetherError
from attnfuse.tracing.blocks.pieces import BEGUN_FILE, clear
from attnfuse.tracing.contract import BlockCache, ComponentPlan, TracedComponent
from attnfuse.tracing.workers import LOG_FILE, Workers

_REQUEST_FILE = "request.json"
_RESULT_FILE = "trace.json"

#: What transformers prints whenever it is imported without PyTorch: nothing of how a process ended.
_BANNER = "None of PyTorch, TensorFlow >= 2.0, or Flax have been found"

#: Settings of a user's shell that would change or break a trace: protobuf's backend must be MindSpore's choice,
#: and its compile cache loses the scopes.
UNSET = ("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "MS_COMPILER_CACHE_ENABLE", "MS_COMPILER_CACHE_PATH")


def workers(jobs: int, blocks: BlockCache | None = None, memory: int | None = None) -> Workers:
    """Workers that trace, `jobs` at a time, each in that many bytes of memory; `blocks` has those of other traces."""
    return Workers(jobs, environment(), None if blocks is None else to_json(blocks), memory)


def begin(plan: ComponentPlan, work: Path, among: Workers) -> None:
    """Have one of the workers trace `plan` into `work`, as soon as one is free, for `trace_component` to wait for."""
    if not _missing():
        _begin(resolved(plan), work.resolve(), among)


def trace_component(plan: ComponentPlan, work: Path, among: Workers | None = None) -> TracedComponent:
    """Trace `plan` in a worker with `work`, an existing empty folder, as its place to write.

    The worker is one `among` those, which may be at it since `begin`, or of its own. Leaves `graph.mindir`, `trace.log`
    (all the worker printed) and, where a weight cannot be streamed as it lies, `spilled.safetensors`. Where a trace
    block by block was begun and came to nothing, whatever the reason, a new worker traces the whole, so that the graph
    is that of a process that traced nothing before. Raises TraceError with the worker's one sentence where it fails or
    dies.
    """
    module = _missing()
    if module:
        raise TraceError(f"tracing a pipeline needs {module}, which is not installed: install attnfuse[trace].")
    if among is None:
        with workers(1) as own:
            return _traced(plan, work, own)
    return _traced(plan, work, among)


def _traced(plan: ComponentPlan, work: Path, among: Workers) -> TracedComponent:
    work, plan = work.resolve(), resolved(plan)
    try:
        answer, code = _answer(plan, work, among)
        why = _why_whole(plan, work, answer, code)
        if not why:
            traced = _read(plan, work, answer, code)
            if traced.traced.how == "whole":
                return traced
            # Late: it reads messages, and who only wants `environment` may be about to import MindSpore.
            from attnfuse.tracing.assembly import assemble

            try:
                return assemble(traced, work)
            except NotPutTogetherError as error:
                why = str(error)
    finally:
        clear(work)
    return _read(plan, work, *_answer(replace(plan, way="whole"), work, among, why))


def trace_blocks(plan: ComponentPlan, work: Path, among: Workers, number: int, of: int) -> int:
    """Have one of the workers trace every `of`-th block of the plan, from that `number` on, for the cache alone.

    Returns how many blocks the cache got. `work` is an existing empty folder. Raises TraceError as `trace_component`.
    """
    work, plan = work.resolve(), resolved(plan)
    _begin(plan, work, among, share=(number, of))
    answer, code = _answer(plan, work, among)
    if answer is None or "error" in answer:
        _read(plan, work, answer, code)  # raises
    return int((answer or {})["blocks_made"])


def _missing() -> str:
    """What tracing needs and is not installed; empty where it all is."""
    return next((name for name in ("mindspore", "mindone") if importlib.util.find_spec(name) is None), "")


def resolved(plan: ComponentPlan) -> ComponentPlan:
    """The plan with paths that do not depend on the current folder."""
    return replace(
        plan,
        folder=plan.folder.resolve(),
        checkpoint=_whole(plan.checkpoint),
        ip_adapter=_whole(plan.ip_adapter),
    )


def _whole(file: Path | None) -> Path | None:
    """The path from the root; of a link, the name is its own."""
    return None if file is None else file.parent.resolve() / file.name


def _why_whole(plan: ComponentPlan, work: Path, answer: Mapping[str, Any] | None, code: int) -> str:
    """Why the trace block by block, which was begun, came to nothing; empty where it did not, or was not begun."""
    if answer is not None:
        return str(answer.get("why_whole", ""))
    return f"the tracing process {_ending(code)}" if (work / BEGUN_FILE).exists() else ""


def _read(plan: ComponentPlan, work: Path, answer: Mapping[str, Any] | None, code: int) -> TracedComponent:
    if answer is None:
        raise TraceError(f"component {plan.name}: the tracing process {_ending(code)}; {_last_words(work)}")
    if "error" in answer:
        raise TraceError(answer["error"])
    return replace(from_json(TracedComponent, answer), plan=plan)


def _begin(
    plan: ComponentPlan, work: Path, among: Workers, why_whole: str = "", share: tuple[int, int] | None = None
) -> None:
    (work / _RESULT_FILE).unlink(missing_ok=True)
    content: dict[str, Any] = {"plan": to_json(plan), "way": plan.way, "why_whole": why_whole, "work": str(work)}
    content |= {"blocks": among.told, "share": share}
    among.begin(work / _REQUEST_FILE, content)


def _answer(plan: ComponentPlan, work: Path, among: Workers, why_whole: str = "") -> tuple[dict[str, Any] | None, int]:
    """What the worker answers, None where it died, and its exit code."""
    if not among.begun(work / _REQUEST_FILE):
        _begin(plan, work, among, why_whole)
    code = among.wait(work / _REQUEST_FILE)
    result = work / _RESULT_FILE
    return json.loads(result.read_text(encoding="utf-8")) if result.exists() else None, code


def environment() -> dict[str, str]:
    """The environment of a subprocess of ours: this one's, without what would choose protobuf's backend for it."""
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    root = str(Path(__file__).parents[2])
    paths = [root, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["HF_HUB_OFFLINE"] = "1"  # everything it needs is in the plan's folder
    return environment


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code} and no result"


def _last_words(work: Path) -> str:
    lines = (work / LOG_FILE).read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip() and _BANNER not in line]
    return f"its last words were: {said[-1][:200]}" if said else "it said nothing."
