"""Progress for people, on stderr: a live bar on a terminal, one plain line per stage elsewhere.

May import `attnfuse.progress` and rich. Only the command line makes these.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichBars

_SAID = {
    "read": "reading",
    "trace": "tracing",
    "rewrite": "fusing",
    "weights": "writing weights",
    "digest": "hashing inputs",
    "verify": "verifying",
    "write": "syncing",
}


class LineProgress:
    """One line as each stage begins."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to clean up."""

    def stage(self, component: str, stage: str) -> None:
        """See `attnfuse.progress.Progress`."""
        self._console.print(f"{component or 'output'}: {_SAID[stage]}", markup=False, highlight=False)

    def amount(self, done: int, total: int) -> None:
        """Not told: a log is no place for a moving number."""


class BarProgress:
    """A bar for the running stage; finished components stay as lines above it."""

    def __init__(self, console: Console) -> None:
        self._bars = RichBars(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def stage(self, component: str, stage: str) -> None:
        """See `attnfuse.progress.Progress`."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(f"{component or 'output'}: {_SAID[stage]}", total=None)

    def amount(self, done: int, total: int) -> None:
        """See `attnfuse.progress.Progress`."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)
