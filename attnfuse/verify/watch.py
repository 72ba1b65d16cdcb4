"""How far a verification is, and how long it will take. Imports nothing of the project.

Work is counted in whole runs of the graph; it is told in advance how many of them there will be, and what is done is
counted as it is done. More may come on the way, as where float64 has to decide: then the share that is done falls, and
the time that is left grows. It is not told before enough was done to tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_EVERY_SECONDS = 15.0
_ENOUGH = 0.03
"""The share that has to be done before the time left is told."""


@dataclass(slots=True)
class Watch:
    """Work done, and all that is expected; `tell` is given a sentence now and then, that begins with `what` is done."""

    tell: Callable[[str], None]
    what: str = "verifying"
    expected: float = 0.0
    done: float = 0.0
    began: float = field(default_factory=lambda: time.monotonic())
    told: float = field(default_factory=lambda: time.monotonic())

    def expect(self, work: float) -> None:
        """More is to be done."""
        self.expected += work

    def did(self, work: float) -> None:
        """Part of it is done."""
        self.done += work
        now = time.monotonic()
        if now - self.told >= _EVERY_SECONDS:
            self.told = now
            self.tell(self.sentence(now - self.began))

    def sentence(self, passed: float) -> str:
        """What is done, and how long the rest takes at the pace so far."""
        share = min(self.done / self.expected, 0.99) if self.expected else 0.0
        message = f"{self.what}: {share:.0%} done"
        return message if share < _ENOUGH else f"{message}, about {_duration(passed * (1 - share) / share)} left"


def _duration(seconds: float) -> str:
    return f"{max(round(seconds), 1)} s" if seconds < 90 else f"{round(seconds / 60)} min"


_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watched(tell: Callable[[str], None], what: str = "verifying") -> Iterator[Watch]:
    """Tell of what is verified, or measured, in the block."""
    watch = Watch(tell, what)
    token = _WATCH.set(watch)
    try:
        yield watch
    finally:
        _WATCH.reset(token)


def expect(work: float) -> None:
    """So many whole runs more."""
    if (watch := _WATCH.get()) is not None:
        watch.expect(work)


def did(work: float) -> None:
    """So much of one is done."""
    if (watch := _WATCH.get()) is not None:
        watch.did(work)
