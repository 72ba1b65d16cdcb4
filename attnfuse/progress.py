"""How the engine tells what it is doing; the command line decides what a person sees of it. Imports nothing.

A compile goes through its components in order, and through some of these stages in each: see `STAGES`. "recall" stands
for a trace that was made before, "unchanged" for a graph and weights that stand in the output already.
"""

from __future__ import annotations

from typing import Protocol

STAGES = ("read", "trace", "recall", "digest", "rewrite", "unchanged", "weights", "verify", "golden", "tune", "write")


class Progress(Protocol):
    """Told of every step as it begins."""

    def stage(self, component: str, stage: str) -> None:
        """A stage begins, and the one before ends; `component` is empty for what concerns the whole output."""

    def amount(self, done: int, total: int) -> None:
        """Bytes done in the stage, of how many."""

    def worker(self, seconds: float, peak: int) -> None:
        """The time and the peak memory, in bytes, of the subprocess that did the running stage.

        With several jobs it may have been at it before the stage began.
        """


class Silent:
    """Tells nobody."""

    def stage(self, component: str, stage: str) -> None:
        """Ignore it."""

    def amount(self, done: int, total: int) -> None:
        """Ignore it."""

    def worker(self, seconds: float, peak: int) -> None:
        """Ignore it."""
