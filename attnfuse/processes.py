"""What there is to know of this process, and how others are run: each ends, in time, with the one that wanted it.

Python looks for signals between its own instructions. One that comes after the last look, but before the system call
that waits, interrupts nothing: it would be acted on when the wait is over, which may be minutes. So nothing here waits
for more than `LOOK_SECONDS` at once.
Imports nothing of the project.
"""

from __future__ import annotations

import ctypes
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

LOOK_SECONDS: Final = 0.1


def run(
    command: Sequence[str], *, said: str = "", seconds: float = math.inf, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end, with `said` on its stdin; `options` are those of Popen.

    What goes to pipes is in the answer, as text. Raises subprocess.TimeoutExpired where it takes longer than
    `seconds`. Whatever is raised, a signal's exception too, the process has been killed by then.
    """
    until = time.monotonic() + seconds
    # A file in memory, as `communicate` writes to a pipe in its first call only: the rest would never arrive.
    with os.fdopen(os.memfd_create("stdin"), "w+b") as stdin:
        stdin.write(said.encode())
        stdin.seek(0)
        with subprocess.Popen(command, text=True, stdin=stdin, **options) as process:
            try:
                while True:
                    try:
                        out, err = process.communicate(timeout=LOOK_SECONDS)
                        return subprocess.CompletedProcess(command, process.returncode, out, err)
                    except subprocess.TimeoutExpired:
                        if time.monotonic() > until:
                            raise
            except BaseException:
                process.kill()
                process.wait()
                raise


def lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """The lines a process writes to its stdout, which is a pipe, until it closes it."""
    pipe = process.stdout
    assert pipe is not None
    ready = select.poll()
    ready.register(pipe, select.POLLIN)
    rest = b""
    while True:
        if not ready.poll(LOOK_SECONDS * 1000):
            continue
        chunk = os.read(pipe.fileno(), 2**16)
        if not chunk:
            break
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent, of that id, dies; end it at once where it is dead already.

    A parent that is killed with -9, or interrupted in the middle of starting a process, kills no child itself.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was told
        sys.exit(1)


class Terminated(SystemExit):
    """SIGTERM asked this process to end: no code that runs meanwhile ended it."""


def stop_once(patience: float = 5.0) -> None:
    """Have the first SIGINT raise KeyboardInterrupt, the first SIGTERM Terminated(143), and ignore others for a while.

    Whoever presses Ctrl-C twice, or has a supervisor that signals the group and then its leader, would interrupt what
    the first one set off, and leave half of a folder. After `patience` seconds a signal counts again: the cleaning up
    may be what hangs.
    """
    since: float | None = None

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal since
        now = time.monotonic()
        if since is not None and now - since < patience:
            return
        since = now
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's background jobs want it
            signal.signal(number, stop)


def started_ns() -> int:
    """When this process was started, in nanoseconds as files' times are: whatever it imported it read later."""
    # proc(5): the 22nd field of stat is the start in ticks after boot; the command, in brackets, may hold spaces.
    ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
    since_boot = ticks * 10**9 // os.sysconf("SC_CLK_TCK")
    # A process that has to wait between the two clocks reads too early a time: the latest of some is the best.
    return max(time.time_ns() - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - since_boot) for _ in range(5))


def resident_memory(process: int | None = None) -> int:
    """What this process holds now, or that one, in bytes; 0 where the system does not tell."""
    return _status("VmRSS:", "self" if process is None else str(process))


def peak_memory() -> int:
    """The most memory this program ever held, in bytes; 0 where the system does not tell.

    Not getrusage's ru_maxrss: that goes through fork and exec, so it begins with what the parent held.
    """
    return _status("VmHWM:")


def _status(field: str, process: str = "self") -> int:
    """A size that the kernel tells of a process, in bytes."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status if line.startswith(field)), 0)


def cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0))


def available_memory() -> int:
    """How much memory programs can still take without swapping, in bytes; 0 where the system does not tell.

    That is MemAvailable of proc(5), or what the control group that this process is in may still take, where that is
    less (`memory.max` of the kernel's cgroup-v2).
    """
    try:
        status = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        group = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    free = next((int(line.split()[1]) * 1024 for line in status if line.startswith("MemAvailable:")), 0)
    for line in group:
        folder = Path(f"/sys/fs/cgroup/{line.removeprefix('0::/')}")
        with suppress(OSError, ValueError):  # "max" is no number
            limit = int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text())
            free = min(free, max(limit, 0))
    return free
