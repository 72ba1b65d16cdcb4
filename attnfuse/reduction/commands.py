"""What is looked for: a command refuses the graph, as it refuses the whole one.

The command is one of the shell's, so that it may be a pipeline; `{}` in it stands for the path of the graph. It runs in
the current folder with nothing on stdin, and what it prints is thrown away. It refuses a graph where it ends with the
exit code that it ends with on the whole one, which is not 0: a crash is no refusal, and neither is another error.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from attnfuse.errors import UsageError

PLACE = "{}"
_LOOK_SECONDS = 0.1
_NOT_FOUND = {126: "cannot be run", 127: "was not found"}
"""What a shell's exit code says of the command itself."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command with `{}` for the path. Raises UsageError where it has none."""

    text: str

    def __post_init__(self) -> None:
        if PLACE not in self.text:
            raise UsageError(
                f"--while {self.text!r} has no {PLACE} for the path of the graph; put one where it takes it."
            )

    def run(self, graph: Path) -> int:
        """The exit code on this graph, negative for a signal. Raises UsageError where there is no such command.

        Whatever is raised, a signal's exception too, nothing of the command is left running.
        """
        line = self.text.replace(PLACE, shlex.quote(str(graph)))
        quiet = subprocess.DEVNULL
        with subprocess.Popen(
            ["/bin/sh", "-c", line], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        ) as process:
            try:
                code = _waited(process)
            finally:
                _end_group(process.pid)
        if code in _NOT_FOUND:
            raise UsageError(f"the command of --while {_NOT_FOUND[code]}: {line}")
        return code


def _waited(process: subprocess.Popen[bytes]) -> int:
    """Waits a little at a time: see `attnfuse.processes`."""
    while True:
        try:
            return process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _end_group(leader: int) -> None:
    """End the command's processes that are left, if any."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
