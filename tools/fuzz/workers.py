"""Many mutants in processes of their own: one that dies or never comes back is told with the mutant it died of."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tools.fuzz import mutants, seeds
from tools.fuzz.running import SECONDS, Outcome, Place

_PATIENCE = 30 * SECONDS
"""Seconds without a word of any process: they stand still, or never come back to Python."""
_BLOCK = 50


def _work(numbers: Sequence[int], pipe: Connection) -> None:
    with tempfile.TemporaryDirectory(prefix="attnfuse-fuzz-") as folder:
        place = Place(Path(folder))
        for number in numbers:
            pipe.send(number)
            pipe.send(place.run(mutants.make(number)))
    pipe.close()


@dataclass(slots=True)
class _Worker:
    process: multiprocessing.Process
    pipe: Connection
    left: list[int]


def _start(numbers: list[int]) -> _Worker:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_work, args=(numbers, theirs))
    process.start()
    theirs.close()
    return _Worker(process, ours, numbers)  # type: ignore[arg-type]  # of the fork context


def run(numbers: Sequence[int], jobs: int) -> Iterator[Outcome]:
    """What came of each mutant, in any order."""
    seeds.groups()  # once, before the processes part
    waiting = [list(numbers[at : at + _BLOCK]) for at in range(0, len(numbers), _BLOCK)]
    running: list[_Worker] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(_start(waiting.pop(0)))
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
