"""Workers that trace, some at a time, and the process they come from (`attnfuse.tracing.server`).

Main side: imports `attnfuse.processes` and the standard library.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from attnfuse.processes import LOOK_SECONDS

NEEDED_BYTES: Final = 3 << 30
"""What a worker may need: those of the largest models that were measured took 1.6 to 2.9 GB (docs/benchmarks.md)."""

LOG_FILE = "trace.log"


def affordable(cores: int, memory: int, each: int = NEEDED_BYTES) -> int:
    """How many workers at a time that many cores and that many bytes of available memory are enough for."""
    return max(1, min(cores, memory // each))


class Workers:
    """Workers that come from one server, `jobs` at a time; all are gone when the context is left, whatever happens."""

    def __init__(self, jobs: int, environment: Mapping[str, str], told: Any = None, memory: int | None = None) -> None:
        """The server starts with the first request, and in its folder.

        `told` is what each is told beside what it is to do; one that holds more than `memory` bytes is killed.
        """
        self.jobs = jobs
        self.told = told
        self._memory = memory
        self._environment = environment
        self._server: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as this
        self._requests: dict[int, Path] = {}
        self._codes: dict[Path, int] = {}
        self._count = 0
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.kill()  # and with it, by the kernel, its workers
            while self._look():  # until none of them holds the pipe for answers any more
                pass
        self._said.close()

    def begin(self, request: Path, content: Mapping[str, Any]) -> None:
        """Have a worker do what the content asks for, as soon as one is free.

        The content goes into the file `request`; what the worker prints into `LOG_FILE` beside it.
        """
        server = self._started(request.parent)
        request.write_text(json.dumps({**content, "parent": server.pid}), encoding="utf-8")
        self._count += 1
        self._requests[self._count] = request
        line = {"number": self._count, "request": str(request), "log": str(request.parent / LOG_FILE)}
        assert server.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which shows where the answer is read
            server.stdin.write(json.dumps(line).encode() + b"\n")

    def begun(self, request: Path) -> bool:
        """Whether a worker was asked for what `wait` was not asked for yet."""
        return request in self._codes or request in self._requests.values()

    @property
    def busy(self) -> bool:
        """Whether there are answers that nobody has waited for."""
        return bool(self._requests or self._codes)

    def wait(self, request: Path) -> int:
        """The exit code of the worker that does what the file asks for, after its end; minus the signal it died of."""
        while request not in self._codes:
            self._look()
        return self._codes.pop(request)

    def _started(self, folder: Path) -> subprocess.Popen[bytes]:
        if self._server is not None and self._server.poll() is not None:  # it died, with whatever was asked of it
            while self._look():
                pass
        if self._server is None:
            self._said.truncate(0)
            self._server = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "attnfuse.tracing.server",
                    str(os.getpid()),
                    str(self.jobs),
                    str(self._memory or 0),
                ],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                cwd=folder,
                env=self._environment,
            )
        return self._server

    def _look(self) -> bool:
        """Take the answers that are there, or come within the time of a look; whether there can be more."""
        assert self._server is not None
        assert self._server.stdout is not None
        pipe = self._server.stdout.fileno()
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        if not ready.poll(LOOK_SECONDS * 1000):
            return True
        chunk = os.read(pipe, 2**16)
        if not chunk:
            self._ended(self._server)
            return False
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            number, code = map(int, line.split())
            self._codes[self._requests.pop(number)] = code
        return True

    def _ended(self, server: subprocess.Popen[bytes]) -> None:
        """The server died, and its workers with it: what was asked of them came to its end, and its last words."""
        code = server.wait()
        for pipe in filter(None, (server.stdin, server.stdout)):
            pipe.close()
        self._server, self._rest = None, b""
        for request in self._requests.values():
            self._codes[request] = code
            with (request.parent / LOG_FILE).open("ab") as log:
                self._said.seek(0)
                shutil.copyfileobj(self._said, log)
        self._requests.clear()
