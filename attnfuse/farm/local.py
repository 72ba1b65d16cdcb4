"""Worker processes of this machine, so many at a time. A worker's death is a retried unit."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Self

from attnfuse.farm.units import TRIES, Answer
from attnfuse.processes import LOOK_SECONDS, resident_memory
from attnfuse.serialisation import parse_json
from attnfuse.tracing.runner import environment

_PATIENCE_SECONDS = 10.0
"""What a compile that is asked to stop gets to clean up."""


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    digest: str
    said: bytes = b""


class LocalWorkers:
    """Workers that are there as long as the context lasts; each does units in `memory` bytes, if that is told.

    One that holds more is ended, and the unit with it.
    """

    def __init__(self, count: int, memory: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are variables of their environment."""
        self.count = count
        self._memory = memory
        self._settings = settings or {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._idle: list[subprocess.Popen[bytes]] = []
        self._busy: dict[int, _Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in [*self._idle, *(worker.process for worker in self._busy.values())]:
            process.kill()  # and with it, by the kernel, what it started
            _close(process)
        self._idle, self._busy = [], {}
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def perform(self, texts: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
        """See `attnfuse.farm.units.Workers`."""
        waiting = deque(texts)
        tries = dict.fromkeys(texts, 0)
        while waiting or self._busy:
            while waiting and len(self._busy) < self.count:
                digest = waiting.popleft()
                tries[digest] += 1
                self._begin(digest, texts[digest])
            for digest, answer in self._look():
                if answer is not None:
                    yield digest, answer
                elif tries[digest] < TRIES:
                    waiting.appendleft(digest)
                else:
                    yield digest, Answer(f"the workers that were at it died, {TRIES} times")

    def _begin(self, digest: str, text: str) -> None:
        process = self._idle.pop() if self._idle else self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        self._busy[process.stdout.fileno()] = _Worker(process, digest)
        with suppress(BrokenPipeError):  # it has ended, which shows where the answer is read
            process.stdin.write(text.encode() + b"\n")

    def _started(self) -> subprocess.Popen[bytes]:
        # Of what they keep as long as they live, which they do not end themselves.
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True)
        return subprocess.Popen(
            [sys.executable, "-m", "attnfuse.farm.worker", str(os.getpid()), str(self._memory or 0)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment(), "TMPDIR": self._folder.name, **self._settings},
        )

    def _look(self) -> Iterator[tuple[str, Answer | None]]:
        """The answers that are there, or come within the time of a look; None of a worker that died."""
        ready = select.poll()
        for file in self._busy:
            ready.register(file, select.POLLIN)
        for file, _ in ready.poll(LOOK_SECONDS * 1000):
            worker = self._busy[file]
            chunk = os.read(file, 2**16)
            worker.said += chunk
            if chunk and not worker.said.endswith(b"\n"):
                continue
            del self._busy[file]
            if chunk:
                self._idle.append(worker.process)
                yield worker.digest, parse_json(Answer, worker.said)
            else:
                _close(worker.process)
                yield worker.digest, None
        for file, worker in list(self._busy.items()):
            if self._memory is not None and resident_memory(worker.process.pid) > self._memory:
                del self._busy[file]
                worker.process.kill()
                _close(worker.process)
                yield worker.digest, Answer(f"it held more than the {self._memory / 2**30:.2f} GiB that a worker may")


def _close(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    for pipe in filter(None, (process.stdin, process.stdout)):
        pipe.close()


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that was run to its end: its exit code, what it printed, and what it took."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True, slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]
    began: float = field(default_factory=time.monotonic)


def run_each(
    commands: Mapping[str, Sequence[str]], count: int, settings: Mapping[str, str]
) -> Generator[tuple[str, Ended], None, None]:
    """Run commands, so many at a time, and tell of each as it ends. Whatever is raised, none is left."""
    waiting = deque(commands)
    running: dict[str, _Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < count:
                name = waiting.popleft()
                out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  # closed where it ends
                process = subprocess.Popen(
                    commands[name], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **settings}
                )
                running[name] = _Running(process, out, err)
            handles = [os.pidfd_open(one.process.pid) for one in running.values()]
            try:
                select.select(handles, [], [], LOOK_SECONDS)
            finally:
                for handle in handles:
                    os.close(handle)
            for name, one in list(running.items()):
                if one.process.poll() is not None:
                    del running[name]
                    seconds = time.monotonic() - one.began
                    yield name, Ended(one.process.returncode, _text(one.out), _text(one.err), seconds)
    finally:
        for one in running.values():
            one.process.terminate()  # which has it clean up
        for one in running.values():
            try:
                one.process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
            one.out.close()
            one.err.close()


def _text(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode(errors="replace")
