"""Many mutants in processes of their own: one that dies or never comes back is told with the mutant it died of."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeAlias

from tools.fuzz import cases, mutants, seeds
from tools.fuzz.cases import Bench, Kind
from tools.fuzz.outcomes import MEMORY_FOLDER, SECONDS, Outcome
from tools.fuzz.running import Place

_PATIENCE = 30 * SECONDS
"""Seconds without a word of any process: they stand still, or never come back to Python."""
_BLOCK = 1_000
_CASES = 4
"""Cases of other kinds in the time of a graph."""

Try: TypeAlias = Callable[[int], Outcome]
"""Makes the mutant of a number and runs it."""
Start: TypeAlias = Callable[[Path], Try]
"""What a process does in an empty folder of its own."""


def of_graphs(folder: Path) -> Try:
    """Tries mutants of graphs."""
    place = Place(folder)
    return lambda number: place.run(mutants.make(number))


def of_kind(kind: Kind) -> Start:
    """Tries mutants of another kind."""

    def start(folder: Path) -> Try:
        bench = Bench(folder)
        return lambda number: bench.run(cases.make(kind, number))

    return start


def _work(start: Start, numbers: Sequence[int], pipe: Connection) -> None:
    with tempfile.TemporaryDirectory(prefix="attnfuse-fuzz-", dir=MEMORY_FOLDER) as folder:
        tried = start(Path(folder))
        for number in numbers:
            pipe.send(number)
            pipe.send(tried(number))
    pipe.close()


@dataclass(slots=True)
class _Worker:
    process: multiprocessing.Process
    pipe: Connection
    left: list[int]


def _start(start: Start, numbers: list[int]) -> _Worker:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_work, args=(start, numbers, theirs))
    process.start()
    theirs.close()
    return _Worker(process, ours, numbers)  # type: ignore[arg-type]  # of the fork context


def run(numbers: Sequence[int], jobs: int, kind: Kind | None = None) -> Iterator[Outcome]:
    """What came of each mutant, of graphs or of another kind, in any order."""
    _ = seeds.groups() if kind is None else kind.seeds()  # once, before the processes part
    start, block = (of_graphs, _BLOCK) if kind is None else (of_kind(kind), _BLOCK * _CASES)
    waiting = [list(numbers[at : at + block]) for at in range(0, len(numbers), block)]
    running: list[_Worker] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(_start(start, waiting.pop(0)))
        ready = wait([worker.pipe for worker in running], _PATIENCE)
        for worker in [w for w in running if w.pipe in ready] if ready else list(running):
            try:
                told = worker.pipe.recv() if worker.pipe in ready else None
            except EOFError:
                told = None
            if isinstance(told, Outcome):
                worker.left.remove(told.number)
                yield told
            elif told is None:
                worker.process.kill()
                worker.process.join()
                running.remove(worker)
                if worker.left:
                    number = worker.left.pop(0)
                    yield Outcome(number, "hang" if not ready else "escaped", "the process died or never came back")
                    waiting.insert(0, worker.left)
