"""Many compiles: what they have in common is traced first, each trace once, and then each is compiled.

Traces are done by workers, of this machine or of a cluster; compiles are processes of this machine, which find the
traces in the cache. What is written is what each compile by itself would write.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnfuse.compiler import CompileRequest, prepare
from attnfuse.errors import AttnfuseError, InternalError, SourceError, UsageError
from attnfuse.farm.local import Ended, run_each
from attnfuse.farm.state import BatchState, made_of
from attnfuse.farm.traces import TraceResult, block_units, trace_unit
from attnfuse.farm.units import Answer, Unit, Workers
from attnfuse.names import counted
from attnfuse.serialisation import from_json

_WORST = (70, 4, 3, 2, 1, 5)
"""Exit codes that a batch ends with, the first that one of its entries has."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One compile of a batch: its options as on the command line, and the request that they come to. `where` is what
    stands before what is wrong with it: the batch and the number of its table."""

    options: tuple[str, ...]
    request: CompileRequest
    output: Path
    where: str


@dataclass(slots=True)
class Result:
    """What became of an entry. `before` is whether an earlier run of the batch had finished it.

    `totals` are those of its report, `errors` what was said of what went wrong, `seconds` what its own process took.
    """

    entry: Entry
    code: int = 0
    before: bool = False
    errors: tuple[str, ...] = ()
    totals: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As the batch's document has it."""
        return {
            "source": self.entry.request.source,
            "output": str(self.entry.output),
            "exit_code": self.code,
            "finished_before": self.before,
            "errors": list(self.errors),
            "totals": dict(self.totals),
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class Outcome:
    """What became of a batch. `traced` are the traces that were made for it, `kept` those that were in the cache."""

    results: list[Result]
    kept: int = 0
    traced: int = 0
    blocks: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def code(self) -> int:
        """The exit code: 0 where all is well, else that of the worst entry."""
        codes = {result.code for result in self.results}
        return next((code for code in _WORST if code in codes), max(codes, default=0))

    def to_json(self) -> dict[str, Any]:
        """The batch's document."""
        return {
            "schema": "attnfuse.batch/1",
            "exit_code": self.code,
            "entries": [result.to_json() for result in self.results],
            "traces": {
                "made": self.traced,
                "from_cache": self.kept,
                "failed": dict(self.failed),
                "blocks_made": self.blocks,
            },
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class How:
    """How a batch is done: who traces, how many compiles run at a time, with which variables of the environment.

    `tool` tells this attnfuse from any other. `done` is told of each thing that is finished, of how many there are, and
    what it was. `of_cluster` are options of compiles that verify numbers, for whom the workers do that.
    """

    workers: Callable[[], AbstractContextManager[Workers]]
    compiles: int
    settings: Mapping[str, str]
    tool: str
    done: Callable[[int, int, str], None]
    of_cluster: Sequence[str] = ()


def run_batch(entries: Sequence[Entry], state: BatchState, how: How) -> Outcome:
    """Do a batch. What goes wrong with one entry is told of that, and keeps none of the others.

    Raises UsageError, before anything is done, for an entry whose options cannot be meant, and for workers that are not
    there.
    """
    began = time.monotonic()
    outcome = Outcome([Result(entry) for entry in entries])
    planned = _Planned()
    run = _Run(how, outcome, planned, state)
    with how.workers() as workers:  # before it is known whether there is anything to trace: an address may be wrong
        for result in outcome.results:
            try:
                planned.add(result, state, how.tool)
            except UsageError as error:
                raise UsageError(f"{result.entry.where}: {error}") from None
            except AttnfuseError as error:
                result.code, result.errors = error.exit_code, (str(error),)
        outcome.kept = planned.kept
        if planned.units:
            run.trace(workers)
    run.compile()
    outcome.seconds = time.monotonic() - began
    return outcome


@dataclass(slots=True)
class _Planned:
    """What is to be done: units by the key of their trace, each with what it is, and entries, each with what it is made
    of."""

    units: dict[str, tuple[Unit, str]] = field(default_factory=dict)
    entries: dict[str, tuple[Result, str]] = field(default_factory=dict)
    kept: int = 0

    def add(self, result: Result, state: BatchState, tool: str) -> None:
        """Plan an entry, unless it is finished. Raises AttnfuseError where it cannot be compiled."""
        entry = result.entry
        prepared = prepare(entry.request)
        traces = prepared.traces
        keys = [] if traces is None else [(plan, key) for plan in prepared.plans if (key := traces.key(plan))]
        paths = [*prepared.paths, *(Path(text) for text in entry.options if Path(text) != entry.output)]
        # Where it is cached changes nothing that is written.
        options = [text for text in entry.options if not text.startswith("--cache-")]
        made = made_of([*options, tool, *(key.key for _, key in keys)], dict.fromkeys(paths))
        result.before = state.is_finished(entry.output, made)
        if result.before:
            return
        self.entries[str(entry.output)] = result, made
        for plan, key in keys:
            assert traces is not None
            if key.key in self.units:
                continue
            if traces.is_kept(key):
                self.kept += 1
            else:
                self.units[key.key] = trace_unit(plan, key, traces.store), f"{plan.name} of {entry.output}"


class _Run:
    """A batch under way."""

    def __init__(self, how: How, outcome: Outcome, planned: _Planned, state: BatchState) -> None:
        self._how = how
        self._outcome = outcome
        self._planned = planned
        self._state = state
        self._count = 0

    def compile(self) -> None:
        """Have all compiles done that are not finished."""
        entries = self._planned.entries
        commands = {name: _command(result.entry, self._how.of_cluster) for name, (result, _) in entries.items()}
        for name, ended in run_each(commands, self._how.compiles, self._how.settings):
            result, made = entries[name]
            _tell(result, ended)
            if result.code in (0, 5):
                self._state.finish(result.entry.output, made)
            self._did(f"{name}: {'compiled' if result.code == 0 else f'exit code {result.code}'}")

    def trace(self, workers: Workers) -> None:
        """Have all traces made; workers that would have nothing to do trace blocks of them."""
        units = {unit.digest: (unit, what) for unit, what in self._planned.units.values()}
        texts = {digest: unit.text for digest, (unit, _) in units.items()}
        free = max(workers.count - len(units), 0)
        for place, (unit, _) in enumerate(units.values()):
            texts |= {one.digest: one.text for one in block_units(unit, (free + len(units) - 1 - place) // len(units))}
        left = set(units)
        for digest, answer in workers.perform(texts):
            if digest in units:
                left.remove(digest)
                self._traced(units[digest][1], answer)
            elif not answer.error:  # else whoever does the trace traces them
                self._outcome.blocks += from_json(TraceResult, answer.result).blocks
            if not left:
                break

    def _traced(self, what: str, answer: Answer) -> None:
        if answer.error:
            self._outcome.failed[what] = answer.error
            self._did(f"{what}: {answer.error}")
            return
        result = from_json(TraceResult, answer.result)
        self._outcome.traced += result.made
        self._outcome.blocks += result.blocks
        self._did(f"{what}: traced in {result.seconds:.1f} s, {counted(result.blocks, 'block')} of its own")

    def _did(self, what: str) -> None:
        self._count += 1
        self._how.done(self._count, len(self._planned.units) + len(self._planned.entries), what)


def _command(entry: Entry, of_cluster: Sequence[str]) -> list[str]:
    own = of_cluster if entry.request.verify in ("sampled", "full") else ()
    return [sys.executable, "-m", "attnfuse", "compile", "--json", "--progress", "never", *own, *entry.options]


def _tell(result: Result, ended: Ended) -> None:
    """What a compile's exit code and words say."""
    result.seconds = ended.seconds
    if ended.code < 0:
        is_killed = -ended.code == signal.SIGKILL
        result.code = SourceError.exit_code if is_killed else InternalError.exit_code
        why = ", as where memory runs out; do fewer at once (--workers)" if is_killed else ""
        result.errors = (f"its process was ended by a signal ({signal.strsignal(-ended.code)}){why}.",)
        return
    result.code = ended.code
    try:
        document = json.loads(ended.out)
    except ValueError:
        document = {}
    result.totals = document.get("totals", {})
    said = [line.removeprefix("error: ") for line in ended.err.splitlines() if line.startswith("error: ")]
    if result.code and not said:
        said = [line for line in ended.err.splitlines() if line.strip()][-1:]
    result.errors = tuple(said)
