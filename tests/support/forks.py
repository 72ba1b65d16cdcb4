"""Processes with MindSpore in them, forked from one that has imported it: the import takes ten seconds of a core.

Every inference is a process of its own, as a user has it, and so are the scripts of tests that need MindSpore. `run` is
`processes.run` for them: it asks a server, started when it is first needed, to fork. A fork has the imports and nothing
else that an earlier one did. Whatever is not such a process, or has settings of its own (a variable of the environment,
a path, another interpreter), is started the plain way. Traces have such a server of their own, attnfuse's, which every
command starts: `workers` has all that a test session traces come from one.
"""

from __future__ import annotations

import gc
import json
import math
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Final, NoReturn

from attnfuse import processes
from attnfuse.serialisation import to_json
from attnfuse.tracing import runner
from attnfuse.tracing.contract import BlockCache
from attnfuse.tracing.runner import UNSET, environment
from attnfuse.tracing.workers import Workers
from tests.support.waiting import PATIENCE

ROOT: Final = Path(__file__).resolve().parents[2]
PATHS: Final = (str(ROOT), str(ROOT / "passes"), str(ROOT / "runtime"))
WORKERS: Final = ("attnfuse.verify.inference.worker",)
"""The modules of attnfuse that run MindSpore in a process of their own."""

_PYTHON: Final = sys.executable
_FOUND: Final = frozenset((*PATHS, *sys.path))
_OWN: Final = ("PYTHONPATH", "PYTEST_CURRENT_TEST", "HF_HUB_OFFLINE", "GLOG_v", *UNSET)
"""Variables that may differ from the server's: the first is looked at, the others change nothing here."""

_SIZE: Final = 2**16
_STOP: Final = b"stop"
_plain: Final = processes.run
_plain_workers: Final = runner.workers
_lock: Final = threading.Lock()
_tracing: Final = threading.RLock()
_workers: Workers | None = None
_starting: ThreadPoolExecutor | None = None
"""The thread that starts the server of traces, which dies with it (prctl(2), PR_SET_PDEATHSIG): a test's may end."""
_server: subprocess.Popen[bytes] | None = None
_asking: socket.socket | None = None
_log: Final = os.memfd_create("forks")


def run(
    command: Sequence[str], *, said: str = "", seconds: float = math.inf, **options: Any
) -> subprocess.CompletedProcess[str]:
    """`processes.run`, forked where `command` is one of attnfuse's workers."""
    known = list(command[:2]) == [_PYTHON, "-m"] and command[2] in WORKERS
    if not known or not _usual(options.get("env", os.environ)):
        return _plain(command, said=said, seconds=seconds, **options)
    return _forked(command, said, seconds, **options)


def script(*arguments: str, cwd: Path | None = None, log: IO[Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, `-m MODULE …` or `-c PROGRAM …`, as a script that needs MindSpore.

    What it prints goes to `log`, or into the answer.
    """
    out, err = (log, subprocess.STDOUT) if log else (subprocess.PIPE, subprocess.PIPE)
    return _forked([_PYTHON, *arguments], "", PATIENCE, stdout=out, stderr=err, cwd=cwd)


@contextmanager
def workers(jobs: int, blocks: BlockCache | None = None, memory: int | None = None) -> Iterator[Workers]:
    """`runner.workers`, of one server for all: two at a time, which whoever has one job does not ask for."""
    global _workers, _starting
    if sys.executable != _PYTHON or not _usual(environment()) or memory is not None:
        with _plain_workers(jobs, blocks, memory) as own:
            yield own
        return
    with _tracing:
        _workers = _workers or Workers(2, _environment())
        _starting = _starting or ThreadPoolExecutor(1)
        _starting.submit(_workers._started, ROOT).result()
        _workers.told = None if blocks is None else to_json(blocks)
        try:
            yield _workers
        finally:
            if _workers.busy:
                _end_workers()


def _end_workers() -> None:
    global _workers
    if _workers is not None:
        with _workers:
            _workers = None


def begin() -> None:
    """Take the environment as it is for the one that forks have."""
    _environment()


def close() -> None:
    """End the servers, if there are any."""
    _end_workers()
    global _server, _asking
    if _server is not None and _asking is not None:
        _asking.close()
        _server.wait()
    _server = _asking = None


def _usual(found: Mapping[str, str]) -> bool:
    def settings(given: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in given.items() if name not in _OWN}

    paths = filter(None, found.get("PYTHONPATH", "").split(os.pathsep))
    return settings(found) == settings(_environment()) and _FOUND.issuperset(paths)


@cache  # as it was: what a test sets later is its own
def _environment() -> dict[str, str]:
    return {**environment(), "PYTHONPATH": os.pathsep.join(PATHS)}


def _forked(
    command: Sequence[str],
    said: str,
    seconds: float,
    *,
    stdout: Any,
    stderr: Any,
    cwd: Path | None = None,
    env: object = None,
) -> subprocess.CompletedProcess[str]:
    with _file() as stdin, _file() as out, _file() as err:
        stdin.write(said.encode())
        stdin.seek(0)
        to_out = out if stdout == subprocess.PIPE else stdout
        to_err = {subprocess.PIPE: err, subprocess.STDOUT: to_out}.get(stderr, stderr)
        with _lock:
            files = [file.fileno() for file in (stdin, to_out, to_err)]
            try:
                code = _ask([*command[1:]], str(cwd or Path.cwd()), files, None if math.isinf(seconds) else seconds)
            except TimeoutError:
                raise subprocess.TimeoutExpired(command, seconds) from None
        texts = []
        for each in (out, err):
            each.seek(0)
            texts.append(each.read().decode())
    return subprocess.CompletedProcess(command, code, *texts)


def _file() -> IO[bytes]:
    return os.fdopen(os.memfd_create("forked"), "w+b")


def _ask(arguments: list[str], cwd: str, files: list[int], seconds: float | None) -> int:
    global _server, _asking
    if _asking is None:
        _asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            _server = subprocess.Popen(
                [_PYTHON, "-m", "tests.support.forks", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=_log,
                stderr=_log,
            )
    socket.send_fds(_asking, [json.dumps([arguments, cwd]).encode()], files)
    try:
        _asking.settimeout(seconds)
        answer = _asking.recv(_SIZE)
    except BaseException:
        _asking.settimeout(None)
        _asking.send(_STOP)
        _asking.recv(_SIZE)
        raise
    if not answer:
        said = os.pread(_log, _SIZE, 0).decode()[-3000:]
        raise AssertionError(f"the server that forks ended, while it ran {arguments}: {said}")
    return int(answer)


def _serve(number: int) -> None:
    """Fork for each request, one at a time, until the other end is closed."""
    with socket.socket(fileno=number) as asked:
        while True:
            request, files, _, _ = socket.recv_fds(asked, _SIZE, 3)
            if request == _STOP:  # what was to be stopped had ended by itself
                continue
            if not request:
                return
            child = os.fork()
            if child == 0:
                asked.close()
                arguments, cwd = json.loads(request)
                _become(arguments, cwd, files)
            for file in files:
                os.close(file)
            handle = os.pidfd_open(child)
            ends = select.poll()
            ends.register(handle, select.POLLIN)
            ends.register(asked, select.POLLIN)
            wanted = True
            if handle not in {file for file, _ in ends.poll()}:
                os.kill(child, signal.SIGKILL)
                wanted = asked.recv(_SIZE) == _STOP  # else nobody is there any more
            os.close(handle)
            _, status = os.waitpid(child, 0)
            if wanted:
                asked.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(arguments: list[str], cwd: str, files: list[int]) -> NoReturn:
    """Be the process that Python is with these arguments."""
    code = 1
    try:
        for target, file in enumerate(files):
            os.dup2(file, target)
        os.chdir(cwd)
        # The process that asks is not the parent; the server ends this one where the other one is gone.
        processes.die_with = lambda parent: None
        way, program, *rest = arguments
        sys.argv = [program if way == "-m" else way, *rest]
        if way == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            sys.modules["__main__"] = ModuleType("__main__")
            exec(program, sys.modules["__main__"].__dict__)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
        if isinstance(ending.code, str):
            sys.stderr.write(ending.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _import() -> None:
    """What the workers import, which is as it is imported and keeps nothing of what is done with it."""
    import mindspore  # noqa: F401
    from mindone import transformers  # noqa: F401
    from mindone.diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401


if __name__ == "__main__":
    _import()
    gc.freeze()  # MindSpore collects garbage before each compilation, which would walk, and copy, all of the imports
    _serve(int(sys.argv[1]))
    os._exit(0)  # MindSpore takes seconds to tidy up what was never used
