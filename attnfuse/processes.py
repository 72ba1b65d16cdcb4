"""What there is to know of this process, and that none of ours outlives the one that wanted it.

Imports nothing of the project.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent, of that id, dies; end it at once where it is dead already.

    A parent that is killed with -9, or interrupted in the middle of starting a process, kills no child itself.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was told
        sys.exit(1)


def stop_once(patience: float = 5.0) -> None:
    """Have the first SIGINT raise KeyboardInterrupt, the first SIGTERM SystemExit(143), and ignore others for a while.

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
        sys.exit(128 + number)

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
