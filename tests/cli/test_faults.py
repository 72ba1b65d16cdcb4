"""What the system may do to a compile at any step: the output is whole or as it was, the cache sound, and one sentence
says why. What `kill -9` leaves is tested in test_killed.py."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from attnfuse import cli, incremental, output
from attnfuse.store.entries import FORMAT
from attnfuse.store.store import Store
from tests.cli.conftest import Answer, Command, tree
from tests.farm.conftest import write_pipeline
from tests.support.console import ROOT, environment
from tests.support.split import write_split
from tools.fuzz.kills import damaged

STEPS = ("mkdir", "link", "fsync", "rename", "replace", "unlink", "rmdir")
"""What changes the disk."""
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
MOST = 200
"""Steps that a compile does not have."""


class Compile:
    """A compile into a place of its own, with a cache. `sound` is what it makes, `other` what another policy makes."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.command = command
        self.out, self.cache = folder / "place" / "out", folder / "cache"
        self.out.parent.mkdir()
        source = write_split(folder / "in")
        self.arguments = ["compile", str(source), "-o", str(self.out), "--cache-dir", str(self.cache)]
        self.arguments += ["--progress", "never"]
        self.sound = self.made()
        self.other = self.made("--no-flash", "*")
        assert self.sound != self.other

    def made(self, *more: str) -> dict[str, bytes]:
        """What a compile makes that nothing happens to."""
        answer = self.command(*self.arguments, *more)
        assert answer.code == 0, answer.err
        return tree(self.out)

    def lay(self, stood: dict[str, bytes]) -> None:
        """Have that stand where it compiles to, and no cache."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.rmtree(self.cache, ignore_errors=True)
        for name, content in stood.items():
            (self.out / name).parent.mkdir(parents=True, exist_ok=True)
            (self.out / name).write_bytes(content)

    def run(self, stood: dict[str, bytes], fault: AbstractContextManager[object] | None = None) -> Answer:
        """Run it while that happens. It is whole where it says so, and else as it stood; the cache is sound."""
        self.lay(stood)
        with fault or nullcontext():
            answer = self.command(*self.arguments)
        if answer.code == 0:
            assert tree(self.out) == self.sound
        else:
            assert answer.code == 2, answer.err
            assert answer.error.endswith(".")
            assert tree(self.out) == stood
        assert list(damaged(self.cache)) == []
        return answer

    def check_tidy(self) -> None:
        """The next run makes the same, and removes what others left."""
        assert self.made() == self.sound
        assert [path.name for path in self.out.parent.iterdir()] == ["out"]
        assert list(self.cache.glob(f"{FORMAT}/writing/*")) == []


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand for the sources of what compiles: a cache that is new each time has to look at all of them."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "module.py").touch()
    os.utime(tmp_path / "sources" / "module.py", (0, 0))
    monkeypatch.setattr(incremental, "_places", lambda name: [tmp_path / "sources"])


@pytest.fixture
def compile_(command: Command, tmp_path: Path) -> Compile:
    return Compile(command, tmp_path)


class Fault:
    """The call of that number fails; `met` says whether there was one."""

    def __init__(self, number: int, error: int) -> None:
        self.number, self.error, self.taken = number, error, 0

    @property
    def met(self) -> bool:
        return self.taken >= self.number

    def is_due(self) -> bool:
        self.taken += 1
        return self.taken == self.number

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            if self.is_due():
                raise OSError(self.error, os.strerror(self.error))
            return function(*args, **kwargs)

        return step


@contextmanager
def on_the_disk(fault: Fault) -> Iterator[None]:
    """A call that changes the disk fails."""
    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, fault.before(getattr(os, name)))
        patch.setattr(output, "_exchange", fault.before(output._exchange))
        yield


@contextmanager
def in_a_file(fault: Fault) -> Iterator[None]:
    """A file cannot be opened to be written to, or takes nothing: what is written to /dev/full is refused."""
    opened = io.open

    def failing(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode).intersection("wax+") and fault.is_due():
            if fault.number % 4 == 1 or kwargs.get("opener") is not None:
                raise OSError(fault.error, os.strerror(fault.error))
            file = "/dev/full"
        return opened(file, mode, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", failing)
        yield


@pytest.mark.parametrize(("where", "least"), [(on_the_disk, 4), (in_a_file, 2)])
def test_no_space_no_quota_and_read_only_at_any_step(
    compile_: Compile, where: Callable[[Fault], AbstractContextManager[None]], least: int
) -> None:
    codes = []
    for number in range(1, MOST, 2):
        fault = Fault(number, ERRORS[number % len(ERRORS)])
        codes.append(compile_.run(compile_.other if number % 4 < 2 else {}, where(fault)).code)
        if not fault.met:
            break
    else:
        pytest.fail("the command never came to its end")
    assert codes.count(2) > least
    compile_.check_tidy()


@pytest.mark.parametrize("size", [0, 3_000])
def test_files_that_may_not_grow(compile_: Compile, size: int) -> None:
    """What the kernel does to a process at its limit (setrlimit(2), RLIMIT_FSIZE)."""
    compile_.lay(compile_.other)
    code, said = in_a_fork(compile_.arguments, lambda: _limit(size))
    assert code == 2, said
    assert said.startswith("error: ")
    assert said.endswith(".\n")
    assert tree(compile_.out) == compile_.other
    assert list(damaged(compile_.cache)) == []
    compile_.check_tidy()


def _limit(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def in_a_fork(arguments: list[str], first: Callable[[], None]) -> tuple[int, str]:
    """The command's exit code and stderr, in a fork that does `first` first."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(arguments, writing, first)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def _become(arguments: list[str], stderr: int, first: Callable[[], None]) -> NoReturn:
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(stderr, 2)
        first()
        with os.fdopen(2, "w", closefd=False) as said, contextlib.redirect_stderr(said):
            code = cli.run(arguments)
        os._exit(code)
    finally:
        os._exit(99)


def test_two_compiles_into_one_output_and_one_cache(compile_: Compile) -> None:
    for _ in range(2):
        compile_.lay({})
        pids = []
        for more in ([], ["--no-flash", "*"]):
            pid = os.fork()
            if pid == 0:
                _become([*compile_.arguments, *more], os.open(os.devnull, os.O_WRONLY), lambda: None)
            pids.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert codes == [0, 0]
        assert tree(compile_.out) in (compile_.sound, compile_.other)
        assert list(damaged(compile_.cache)) == []
    compile_.check_tidy()


def test_a_cache_that_vanishes_on_the_way(compile_: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one on a share does that is unmounted: the output needs none."""
    for number in range(1, MOST, 5):
        fault = Fault(number, errno.ESTALE)

        def vanishing(function: Callable[..., Any], fault: Fault = fault) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                if fault.is_due():
                    shutil.rmtree(compile_.cache)
                return function(*args)

            return call

        with monkeypatch.context() as patch:
            for name in ("get", "put", "tidy"):
                patch.setattr(Store, name, vanishing(getattr(Store, name)))
            answer = compile_.run({})
        assert answer.code == 0, answer.err
        assert "Traceback" not in answer.err
        if not fault.met:
            break
    assert 5 < number < MOST - 5
    compile_.check_tidy()


@pytest.mark.parametrize("error", [errno.ESTALE, errno.EIO])
def test_a_cache_on_a_share_that_fails(compile_: Compile, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and the output is made without."""

    def fails(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr("attnfuse.store.folder.tempfile.NamedTemporaryFile", fails)
        answer = compile_.run({})
    assert answer.code == 0, answer.err
    assert f"the cache {compile_.cache} cannot be written: {os.strerror(error)}" in answer.err


@pytest.mark.parametrize("now", [0, 4_102_444_800], ids=["1970", "2100"])
def test_a_clock_that_was_set(compile_: Compile, now: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back to its beginning, or far ahead: what stands is known or made again, and is the same."""
    clock = SimpleNamespace(time=lambda: float(now), time_ns=lambda: now * 10**9, sleep=lambda _: None)
    with monkeypatch.context() as patch:
        for module in ("attnfuse.store.store.time", "attnfuse.cache.digests.time"):
            patch.setattr(module, clock)
        compile_.run({})
        assert compile_.made() == compile_.sound
    assert compile_.made() == compile_.sound


def test_a_clock_that_goes_backwards(compile_: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each look it is an hour earlier, as where a host is set by one that is wrong."""
    looks = itertools.count()

    def now() -> float:
        return 2_000_000_000.0 - 3600 * next(looks)

    clock = SimpleNamespace(time=now, time_ns=lambda: int(now() * 1e9), sleep=lambda _: None, monotonic=time.monotonic)
    with monkeypatch.context() as patch:
        for module in ("attnfuse.store.store.time", "attnfuse.cache.digests.time", "attnfuse.store.folder.time"):
            patch.setattr(module, clock)
        for _ in range(3):
            compile_.run(compile_.other)
            assert compile_.made() == compile_.sound
    assert next(looks) > 3
    assert compile_.made() == compile_.sound


@pytest.mark.mindspore
def test_a_trace_whose_worker_is_killed(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel does it where memory runs out: a signal to a process that is there."""
    source = write_pipeline(tmp_path / "killed")
    hungry = ROOT / "tests" / "support" / "hungry"
    monkeypatch.setenv("PYTHONPATH", f"{hungry}{os.pathsep}{environment()['PYTHONPATH']}")
    answer = command("compile", source, "-o", tmp_path / "out", "--cache-dir", tmp_path / "cache")
    assert answer.code == 3
    assert "component unet: the tracing process was killed by SIGKILL; " in answer.error
    assert not (tmp_path / "out").exists()
    assert list(damaged(tmp_path / "cache")) == []


def test_a_verification_whose_worker_is_killed(compile_: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel does it where memory runs out: nothing is written, and the process is told."""

    def killed(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, -signal.SIGKILL, "", "")

    compile_.lay(compile_.other)
    monkeypatch.setattr("attnfuse.processes.run", killed)
    answer = compile_.command(*compile_.arguments, "--verify", "static")
    assert answer.code == 4
    assert "died (exit code -9)" in answer.error
    assert "out of memory" in answer.error
    assert tree(compile_.out) == compile_.other
    assert [path.name for path in compile_.out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.EIO, errno.ESTALE])
def test_whatever_the_system_refuses_is_no_defect(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(error, os.strerror(error), "/some/where")

    monkeypatch.setattr("attnfuse.cli.policy.json_schema", refuses)
    answer = command("policy", "schema")
    assert answer.code == 2
    assert answer.error.endswith((".", ")"))
    assert "defect" not in answer.err
