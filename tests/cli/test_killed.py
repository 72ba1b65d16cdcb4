"""kill -9 at any moment: the output is absent or whole (or still the old one), and the next run tidies up."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from attnfuse import cli, output, pass_manager
from tests.support.checkpoints import XL_TEXT_ENCODER, write_pipeline
from tests.support.console import command, environment
from tests.support.graphs import GraphBuilder, transformer
from tests.support.split import write_split
from tests.support.toy_pass import ToyPass
from tests.support.waiting import PATIENCE, alive, children, wait_for


def whole(out: Path) -> bool:
    """Whether the output is all there, by its own manifest; False where it is absent."""
    is_file = out.suffix == ".mindir"
    if not out.exists():
        return False
    folder = out.parent if is_file else out
    manifest = json.loads((folder / (f"{out.stem}.manifest.json" if is_file else "manifest.json")).read_bytes())
    assert (folder / (f"{out.stem}.report.json" if is_file else "report.json")).exists()
    for name, entry in manifest["outputs"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"]
    return True


def left_over(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.name.startswith(".attnfuse")]


# What changes the disk; the child dies just before the n-th of these.
STEPS = ("mkdir", "link", "fsync", "rename", "replace", "unlink", "rmdir")


def die_before_step(number: int, arguments: list[str]) -> int:
    """Run the command in a fork that kills itself before step `number`; the wait status."""
    child = os.fork()
    if child == 0:
        _child(number, arguments)
    return os.waitpid(child, 0)[1]


def _child(number: int, arguments: list[str]) -> NoReturn:
    try:
        taken = 0

        def counting(function: Callable[..., Any]) -> Callable[..., Any]:
            def step(*args: Any, **kwargs: Any) -> Any:
                nonlocal taken
                taken += 1
                if taken == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return step

        for name in STEPS:
            setattr(os, name, counting(getattr(os, name)))
        output._exchange = counting(output._exchange)
        os._exit(cli.run(arguments))
    finally:
        os._exit(99)


@pytest.mark.parametrize(("out", "before"), [("out", False), ("out", True), ("out.mindir", True)])
def test_killed_before_any_step_on_the_disk(
    tmp_path: Path, out: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pass_manager, "discover", lambda: (ToyPass(),))
    source = write_split(tmp_path / "in")
    target = tmp_path / "place" / out
    target.parent.mkdir()
    compile_ = ["compile", str(source), "-o", str(target), "--progress", "never", "--json"]
    if before:
        assert cli.run([*compile_, "--no-flash", "*"]) == 0
    seen = {p: p.read_bytes() for p in (tmp_path / "in").rglob("*") if p.is_file()}
    survived = []
    for number in range(1, 100):
        status = die_before_step(number, compile_)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        if out == "out" or not before:
            # A graph file and its reports are several files: replaced one by one, the graph last.
            survived.append(whole(target))
        assert target.exists() or not before
    else:
        pytest.fail("the command never came to its end")
    assert number > 10
    if not before:
        assert False in survived
    assert whole(target)
    assert left_over(target.parent) == []
    assert {p: p.read_bytes() for p in seen} == seen


def heavy() -> GraphBuilder:
    """48 MiB of weights, so that a run takes a while on the disk."""
    builder = transformer()
    for index in range(12):
        builder.parameter(f"heavy.{index}", np.full((1024, 1024), index, np.float32))
    return builder


class Asking:
    """The command in a fork that copies what it could link, and asks, by a dot on `stdout`, before each sync."""

    def __init__(self, arguments: list[str]) -> None:
        (asked, answering), (answered, asking) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _ask(arguments, asked, asking)
        os.close(asked)
        os.close(asking)
        self.stdin, self.stdout = os.fdopen(answering, "wb", 0), os.fdopen(answered, "rb", 0)
        self.code: int | None = None

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdin.close()
        self.stdout.close()
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _ask(arguments: list[str], stdin: int, stdout: int) -> NoReturn:
    sync = os.fsync

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    def fsync(file: int) -> None:
        os.write(1, b".")
        os.read(0, 1)
        time.sleep(0.01)
        sync(file)

    try:
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.link, os.fsync = refuse, fsync  # type: ignore[assignment]
        os._exit(cli.run(arguments))
    finally:
        os._exit(99)


def test_killed_at_random_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_split(tmp_path / "in", builder=heavy())
    target = tmp_path / "place" / "out"
    target.parent.mkdir()
    monkeypatch.setattr(pass_manager, "discover", lambda: (ToyPass(),))
    arguments = ["compile", str(source), "-o", str(target), "--progress", "never"]
    with Asking(arguments) as unharmed:
        unharmed.stdin.write(b"." * 1000)
        syncs = unharmed.stdout.read().count(b".")
    assert unharmed.code == 0
    assert syncs > 5
    assert whole(target)

    # A run asks before each sync and is killed a moment after it was let go on for the last time: a moment counted in
    # seconds from the start may lie past the end of a run that finds warm caches.
    moments = random.Random(20)
    for trial in range(10):
        if trial % 2:
            for path in sorted(target.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            target.rmdir() if target.exists() else None
        stood = whole(target)
        with Asking(arguments) as process:
            for _ in range(moments.randrange(1, syncs)):
                assert process.stdout.read(1)
                process.stdin.write(b".")
            time.sleep(moments.uniform(0, 0.03))
            os.kill(process.pid, signal.SIGKILL)
        assert process.code == -signal.SIGKILL
        assert whole(target) or not stood, "a run that was killed took the old output away"
    with Asking(arguments) as process:
        process.stdin.write(b"." * 1000)
        process.stdout.read()
    assert process.code == 0
    assert whole(target)
    assert left_over(target.parent) == []


@pytest.mark.slow
def test_killed_while_the_cache_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pass_manager, "discover", lambda: (ToyPass(),))
    source = write_split(tmp_path / "in")
    out, cache = tmp_path / "place" / "out", tmp_path / "cache"
    out.parent.mkdir()
    compile_ = ["compile", str(source), "-o", str(out), "--cache-dir", str(cache), "--progress", "never", "--json"]
    left = 0
    for number in range(1, 100):
        status = die_before_step(number, compile_)
        left += len(list(cache.glob("*/writing/*")))
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert whole(out) or not out.exists()
        if number % 2:  # else the next run finds what stands there
            shutil.rmtree(out, ignore_errors=True)
    else:
        pytest.fail("the command never came to its end")
    assert left, "nothing was killed while it wrote an entry"
    assert cli.run(compile_) == 0
    assert list(cache.glob("*/writing/*")) == []
    assert cli.run(["compile", str(source), "-o", str(tmp_path / "plain"), "--progress", "never", "--json"]) == 0
    assert {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file()} == {
        p.name: p.read_bytes() for p in (tmp_path / "plain").rglob("*") if p.is_file()
    }
    assert left_over(out.parent) == []


STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]

#: What the command waits in until it is told to stop: the function that is put in place, and the options.
MOMENTS: dict[str, tuple[str, list[str]]] = {
    "links": ("os.link", []),
    "an entry of the cache": ("os.replace", ["--cache-dir", "cache"]),
    "publishing": ("attnfuse.output._exchange", []),
}


@pytest.mark.parametrize(
    ("moment", "signal_", "code"), [("publishing", *STOPS[0]), *((moment, *STOPS[1]) for moment in MOMENTS)]
)
def test_asked_to_stop(tmp_path: Path, signal_: signal.Signals, code: int, moment: str) -> None:
    function, options = MOMENTS[moment]
    source = write_split(tmp_path / "in", builder=heavy())
    arguments: list[str | Path] = ["compile", source, "-o", tmp_path / "place" / "out", *options]
    (tmp_path / "place").mkdir()
    before = {}
    if moment == "publishing":  # what stands there must be exchanged
        subprocess.run(command(*arguments, toy=True), env=environment(), check=True, capture_output=True)
        before = {p: p.read_bytes() for p in (tmp_path / "place").rglob("*") if p.is_file()}
    python, dash, program, *rest = command(*arguments, toy=True)
    # Naps, not one long sleep: a signal between the interpreter's last look and the system call would be seen after it.
    wait = (
        "import os, time\nimport attnfuse.output\n"
        f"{function} = lambda *a: (print('here', flush=True), [time.sleep(0.02) for _ in range(30000)])\n"
    )
    with subprocess.Popen(
        [python, dash, wait + program, *rest],
        env=environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal_)
        _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "Traceback" not in error
    assert {p: p.read_bytes() for p in (tmp_path / "place").rglob("*") if p.is_file()} == before
    assert left_over(tmp_path / "place") == []
    assert list((tmp_path / "cache").glob("*/writing/*")) == []


@pytest.mark.mindspore
@pytest.mark.parametrize(
    ("worker", "signal_", "code"), [("tracing", *STOPS[0]), ("tracing", *STOPS[1]), ("verifying", *STOPS[1])]
)
def test_asked_to_stop_while_a_subprocess_works(
    tmp_path: Path, signal_: signal.Signals, code: int, worker: str
) -> None:
    (tmp_path / "place").mkdir()
    arguments: list[str | Path] = ["compile", "-o", tmp_path / "place" / "out", "--cache-dir", tmp_path / "cache"]
    if worker == "tracing":
        model = write_pipeline(
            tmp_path / "in", "StableDiffusionPipeline", {"text_encoder": XL_TEXT_ENCODER}, "DDIMScheduler"
        )
        arguments += [model / "text_encoder"]
    else:
        arguments += [write_split(tmp_path / "in"), "--verify", "static"]
    # What the worker meets in MindSpore's place, so that it still works when the signal comes.
    held = "import os, pathlib, time; pathlib.Path(os.environ['HELD']).touch(); time.sleep(600)"
    (tmp_path / "mindspore.py").write_text(held)
    paths = {"HELD": str(tmp_path / "held"), "PYTHONPATH": f"{tmp_path}{os.pathsep}{environment()['PYTHONPATH']}"}
    with subprocess.Popen(
        command(*arguments, toy=True), env=environment(**paths), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        wait_for(lambda: (tmp_path / "held").exists() or process.poll() is not None)
        found = children(process.pid)
        process.send_signal(signal_)
        _, error = process.communicate(timeout=PATIENCE)
    assert found, error
    assert process.returncode == code
    assert "Traceback" not in error
    assert list((tmp_path / "place").iterdir()) == []
    assert list((tmp_path / "cache").glob("*/writing/*")) == []
    # One that was being started while the signal came is not known to the command: it finds out by itself.
    wait_for(lambda: not any(alive(number) for number in found))
