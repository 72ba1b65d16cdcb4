"""The subprocess that workers come from: `python -m attnfuse.tracing.server PARENT JOBS MEMORY`.

It imports MindSpore and what every trace needs, once, and forks a worker for each request: what the worker is then is
what a process of its own would be that had imported the same, and nothing that one trace leaves behind reaches another.
No thread of MindSpore runs before it is told of a device, which happens in the worker.

Requests come on stdin, a JSON document a line: their number, the request file, and the file for what the worker prints.
JOBS workers run at a time; one that holds more than MEMORY bytes, if that is not 0, is killed. Answers go to stdout: a
number and the exit code, as soon as the worker has ended. The server ends with PARENT, or when its stdin is closed, and
its workers end with it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import tempfile
import traceback
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from attnfuse.processes import die_with, resident_memory
from attnfuse.tracing import worker

_LOOK_MS = 200
"""How often it is looked what workers hold."""


def main(arguments: list[str]) -> int:
    """Import, then serve until there is nobody to serve."""
    parent, jobs, memory = map(int, arguments)
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is told to all processes: what it means is for the parent
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    gc.disable()  # what is imported and built stays; MindSpore collects before each of its compilations
    with suppress(Exception):  # a worker that needs it meets the same, and tells
        worker.prepare()
    gc.collect()
    gc.freeze()  # a collection in a worker would touch, and so copy, what all have in common
    _serve(0, answers, jobs, memory)
    return 0


def _serve(requests: int, answers: int, jobs: int, memory: int) -> None:
    looked_at = select.poll()
    looked_at.register(requests, select.POLLIN)
    waiting: deque[dict[str, Any]] = deque()
    # By a pipe that only the worker holds open: its number, its process, and the file of what it prints.
    running: dict[int, tuple[int, int, str]] = {}
    rest = b""
    while True:
        for descriptor, _ in looked_at.poll(_LOOK_MS if memory and running else None):
            if descriptor == requests:
                chunk = os.read(requests, 2**16)
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                waiting.extend(map(json.loads, lines))
            else:
                number, process, _ = running.pop(descriptor)
                looked_at.unregister(descriptor)
                os.close(descriptor)
                code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                os.write(answers, f"{number} {code}\n".encode())
        if memory:
            for _, process, log in running.values():
                _hold(process, memory, log)
        while waiting and len(running) < jobs:
            request = waiting.popleft()
            ended, held = os.pipe()
            process = os.fork()
            if process == 0:
                _work(request["request"], request["log"])
            os.close(held)
            looked_at.register(ended, select.POLLIN)
            running[ended] = request["number"], process, request["log"]


def _hold(process: int, memory: int, log: str) -> None:
    """Kill a worker that holds more, and say so where its words are."""
    if resident_memory(process) > memory:
        with suppress(OSError), Path(log).open("a", encoding="utf-8") as file:
            file.write(f"\nit held more than the {memory / 2**30:.1f} GiB it may\n")
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _work(request: str, log: str) -> NoReturn:
    code = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.chdir(Path(request).parent)  # MindSpore writes rank_0/ and kernel_meta/ where it stands
        tempfile.tempdir = str(Path(request).parent)  # who kills the worker removes that folder
        code = worker.main([request])
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
