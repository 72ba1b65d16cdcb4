"""How the engine tells what it is doing; the command line decides what a person sees of it. Imports nothing.

A compile goes through its components in order, and through these stages in each: see `STAGES`.
"""

from __future__ import annotations

from typing import Protocol

STAGES = ("read", "trace", "rewrite", "weights", "digest", "verify", "write")


class Progress(Protocol):
    """Told of every step as it begins."""

    def stage(self, component: str, stage: str) -> None:
        """A stage begins; `component` is empty for what concerns the whole output."""

    def amount(self, done: int, total: int) -> None:
        """Bytes done in the stage, of how many."""


class Silent:
    """Tells nobody."""

    def stage(self, component: str, stage: str) -> None:
        """Ignore it."""

    def amount(self, done: int, total: int) -> None:
        """Ignore it."""
