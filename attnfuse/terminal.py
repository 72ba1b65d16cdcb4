"""Progress for people, on stderr: a live bar and a line per component on a terminal, plain lines elsewhere.

Times and memory are told here and nowhere else: no output may depend on them. Only the command line makes these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichBars
from rich.text import Text

from attnfuse.processes import peak_memory
from attnfuse.progress import Progress
from attnfuse.report.units import human_bytes

_SAID = {
    "read": "reading",
    "trace": "tracing",
    "recall": "trace from cache",
    "digest": "hashing inputs",
    "rewrite": "fusing",
    "unchanged": "unchanged",
    "weights": "writing weights",
    "verify": "verifying",
    "golden": "running the unfused graphs",
    "tune": "tuning",
    "write": "syncing",
}


@dataclass(slots=True)
class _Stage:
    """One stage of one component, in seconds and bytes; `peak` is that of the process which did it.

    The seconds are those of that process where they are more: it may have begun before anybody waited for it.
    """

    name: str
    began: float
    seconds: float = 0.0
    peak: int = 0

    def end(self) -> None:
        """It ends now."""
        self.seconds = max(self.seconds, time.monotonic() - self.began)
        self.peak = self.peak or peak_memory()

    def __str__(self) -> str:
        return f"{_SAID[self.name]} {self.seconds:.1f} s ({human_bytes(self.peak)})"


@dataclass(slots=True)
class _Component:
    """What is known of a component so far."""

    name: str
    stages: list[_Stage] = field(default_factory=list)

    def stage(self, name: str) -> None:
        """Another stage begins."""
        self.end()
        self.stages.append(_Stage(name, time.monotonic()))

    def end(self) -> None:
        """The running stage ends."""
        if self.stages:
            self.stages[-1].end()

    @property
    def total(self) -> str:
        """Time in all, and the most memory that one process took."""
        seconds = sum(stage.seconds for stage in self.stages)
        return f"{seconds:.1f} s, peak memory {human_bytes(max(stage.peak for stage in self.stages))}"

    @property
    def story(self) -> str:
        """Every stage with its time and memory."""
        return ", ".join(map(str, self.stages))


class _Watch:
    """Keeps the time; what is shown is for the two below to say."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._component: _Component | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell of the last component, unless it was not finished."""
        if error is None:
            self._finish()

    def stage(self, component: str, stage: str) -> None:
        """See `attnfuse.progress.Progress`."""
        if self._component is None or self._component.name != component:
            self._finish()
            self._component = _Component(component)
        self._component.stage(stage)
        self._begun(f"{component or 'output'}: {_SAID[stage]}")

    def worker(self, seconds: float, peak: int) -> None:
        """See `attnfuse.progress.Progress`."""
        if self._component is not None:
            stage = self._component.stages[-1]
            stage.seconds, stage.peak = seconds, peak

    def _finish(self) -> None:
        if self._component is not None and self._component.name:
            self._component.end()
            self._ended(self._component)
        self._component = None

    def _begun(self, said: str) -> None:
        raise NotImplementedError

    def _ended(self, component: _Component) -> None:
        raise NotImplementedError

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class Account:
    """Hands progress on, and keeps what it took; `tell` is told of each stage as it ends.

    `peak` is the most memory, in bytes, that one process took so far.
    """

    def __init__(self, inner: Progress, tell: Callable[[str], None]) -> None:
        self.peak = 0
        self._inner = inner
        self._tell = tell
        self._began = time.monotonic()
        self._component = ""
        self._stage: _Stage | None = None

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._began

    def stage(self, component: str, stage: str) -> None:
        """See `attnfuse.progress.Progress`."""
        self.end()
        self._component, self._stage = component, _Stage(stage, time.monotonic())
        self._inner.stage(component, stage)

    def amount(self, done: int, total: int) -> None:
        """See `attnfuse.progress.Progress`."""
        self._inner.amount(done, total)

    def worker(self, seconds: float, peak: int) -> None:
        """See `attnfuse.progress.Progress`."""
        if self._stage is not None:
            self._stage.seconds, self._stage.peak = seconds, peak
        self._inner.worker(seconds, peak)

    def end(self) -> None:
        """The running stage, if one is, ends."""
        if self._stage is not None:
            self._stage.end()
            self.peak = max(self.peak, self._stage.peak)
            self._tell(f"{self._component or 'output'}: {self._stage}")
            self._stage = None


class LineProgress(_Watch):
    """One line as each stage begins, one as each component ends."""

    def amount(self, done: int, total: int) -> None:
        """Not told: a log is no place for a moving number."""

    def _begun(self, said: str) -> None:
        self._print(said)

    def _ended(self, component: _Component) -> None:
        self._print(f"{component.name}: {component.total}")


class BarProgress(_Watch):
    """A bar for the running stage; each finished component stays as a line above it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bars = RichBars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Bytes(),
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
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._bars.stop()

    def amount(self, done: int, total: int) -> None:
        """See `attnfuse.progress.Progress`."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def _begun(self, said: str) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(said, total=None)

    def _ended(self, component: _Component) -> None:
        self._print(f"{component.name}: {component.story}; {component.total}")


class _Bytes(DownloadColumn):
    """Bytes done, where it is known of how many."""

    def render(self, task: Task) -> Text:
        """See rich."""
        return Text() if task.total is None else super().render(task)


class CountProgress:
    """How many of how many are done: a bar on a terminal, a line for each elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = RichBars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.total:.0f}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def done(self, count: int, total: int, what: str) -> None:
        """So many are done; the last was this."""
        if self._task is None:
            self._task = self._bars.add_task("batch", total=total)
        self._bars.update(self._task, completed=count, total=total)
        self._console.print(f"{count} of {total}: {what}", markup=False, highlight=False, soft_wrap=True)
