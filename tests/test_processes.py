"""What a process knows of itself, and how others are run: to their end, or to that of the one that wanted them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from attnfuse import processes
from tests.support.console import environment
from tests.support.waiting import PATIENCE, alive, tick, wait_for

TELL = "import sys; sys.stdin.readline(); from attnfuse.processes import started_ns; print(started_ns())"


def test_when_it_was_started(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.touch()
    time.sleep(0.1)  # the kernel counts in hundredths of a second
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", TELL], env=environment(), stdin=pipe, stdout=pipe, text=True
    ) as process:
        time.sleep(0.1)
        after.touch()
        tick(after)
        said, _ = process.communicate("\n", timeout=PATIENCE)
    assert before.stat().st_mtime_ns < int(said) < after.stat().st_mtime_ns


def test_it_ends_with_its_parent() -> None:
    """A grandchild whose parent was killed, or is another than it was told, ends by itself."""
    child = "import sys, time; from attnfuse.processes import die_with; die_with(int(sys.argv[1])); time.sleep(600)"
    done = subprocess.run(
        [sys.executable, "-c", child, str(os.getppid())], env=environment(), check=False, timeout=PATIENCE
    )
    assert done.returncode == 1
    parent = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], env=environment(), stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        grandchild = int(held.stdout.readline())
        held.kill()
    wait_for(lambda: not alive(grandchild))


def test_only_the_first_signal_stops() -> None:
    """A second one, of another kind too, does not cut off what the first set off; after the patience it does."""
    child = (
        "import os, signal, time, types; from attnfuse import processes\n"
        "clock = types.SimpleNamespace(now=100.0, monotonic=lambda: clock.now)\n"
        "processes.time = clock\n"
        "processes.stop_once(patience=5)\n"
        "try:\n    signal.raise_signal(signal.SIGINT)\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n"
        "    clock.now += 4.9\n"
        "    signal.raise_signal(signal.SIGINT)\n    signal.raise_signal(signal.SIGTERM)\n"
        "    print('cleaned up', flush=True)\n    clock.now += 0.2\n"
        "    signal.raise_signal(signal.SIGTERM)\n    time.sleep(600)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", child], env=environment(), check=False, timeout=PATIENCE, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleaned up\n", "")


class Stopped(BaseException):
    """What the signal of these tests raises, as a user's handler may."""


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Return an event: once it is set, a signal arrives that interrupts no system call of this thread.

    As does one between the interpreter's last look for signals and the call: another thread takes it.
    """

    def handler(number: int, frame: FrameType | None) -> NoReturn:
        raise Stopped

    def signalling() -> None:
        waits.wait()
        time.sleep(0.2)
        if not over.is_set():
            signal.raise_signal(signal.SIGUSR1)

    waits, over = threading.Event(), threading.Event()
    old = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=signalling)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        waits.set()
        thread.join()
        signal.signal(signal.SIGUSR1, old)


LONG = "import time; print('begun', flush=True); time.sleep(100); open('ended', 'w')"


@pytest.mark.parametrize("piped", [False, True])
def test_a_signal_that_interrupts_nothing_ends_a_run(
    tmp_path: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch, piped: bool
) -> None:
    plain = subprocess.Popen.communicate

    def communicate(process: subprocess.Popen[str], *arguments: Any, **more: Any) -> Any:
        stop.set()
        return plain(process, *arguments, **more)

    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
    out = subprocess.PIPE if piped else subprocess.DEVNULL
    with pytest.raises(Stopped):
        processes.run([sys.executable, "-c", LONG], cwd=tmp_path, stdout=out)
    assert not (tmp_path / "ended").exists()


def test_a_signal_that_interrupts_nothing_ends_the_reading_of_lines(tmp_path: Path, stop: threading.Event) -> None:
    with subprocess.Popen([sys.executable, "-c", LONG], cwd=tmp_path, stdout=subprocess.PIPE) as process:

        def read() -> None:
            for line in processes.lines(process):
                assert line == "begun"
                stop.set()

        with pytest.raises(Stopped):
            read()
        process.kill()
    assert not (tmp_path / "ended").exists()


def test_a_run_is_told_and_tells() -> None:
    """More than a pipe holds, both ways, over many looks for signals: before it reads, and before it writes."""
    long = "a line\n" * 100_000
    slow = "time.sleep(0.4); said = sys.stdin.read(); time.sleep(0.4); sys.stdout.write(said)"
    program = f"import sys, time; {slow}; sys.exit(3)"
    pipe = subprocess.PIPE
    done = processes.run([sys.executable, "-c", program], said=long, stdout=pipe, stderr=pipe)
    assert (done.returncode, done.stdout, done.stderr) == (3, long, "")


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run([sys.executable, "-c", LONG], seconds=0.3, cwd=tmp_path)
    assert not (tmp_path / "ended").exists()


def test_lines_are_told_as_they_are_written() -> None:
    program = (
        "import os, sys\n"
        "for said in (b'one\\ntwo ', b'halves\\n', b'\\n\\xff\\nno break'):\n"
        "    os.write(1, said); sys.stdin.readline()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        found = processes.lines(process)
        assert next(found) == "one"
        process.stdin.write(b"go on\n" * 3)
        process.stdin.close()
        assert list(found) == ["two halves", "", "�", "no break"]


def test_peak_memory_is_that_of_this_program_alone() -> None:
    tell = "from attnfuse.processes import peak_memory; print(peak_memory())"
    program = (
        "import subprocess, sys; from attnfuse.processes import peak_memory\n"
        "held = bytearray(2**28)\n"
        f"subprocess.run([sys.executable, '-c', {tell!r}], check=True)\n"
        "del held\n"
        "print(peak_memory())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), check=True, capture_output=True, text=True
    )
    child, parent = (int(line) for line in done.stdout.splitlines())
    assert 2**20 < child < 2**27
    assert 2**28 < parent < 2**29


def test_what_the_machine_has() -> None:
    assert 1 <= processes.cores() <= (os.cpu_count() or 1)
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    assert 0 < processes.available_memory() <= int(total.split()[1]) * 1024
