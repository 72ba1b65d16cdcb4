"""Other processes and what takes a while: waited for, not guessed at in seconds.

`PATIENCE` is for what must come and hangs where it does not: no figure of speed, so a slow machine may take it all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PATIENCE = 1800

T = TypeVar("T")


def wait_for(condition: Callable[[], T]) -> T:
    """The first true answer of `condition`."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline, f"it did not happen in {PATIENCE} s"
        time.sleep(0.02)
    return result


def _stat(pid: int) -> list[str]:
    """The fields of proc(5)'s stat from the third on, which is the state; none where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether the process runs. One that has ended, and that nobody has asked about yet, is dead."""
    found = _stat(pid)
    return bool(found) and found[0] not in "ZX"


def children(pid: int) -> list[int]:
    """What the process started and what still runs of it."""
    everyone = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [other for other in everyone if (found := _stat(other)) and found[1] == str(pid) and found[0] not in "ZX"]


def tick(path: Path) -> None:
    """Wait until a file that is written now has a later time than `path`: a file system's clock is coarse."""
    since = path.stat()
    probe = path.with_name(f".{path.name}.probe")

    def ticked() -> bool:
        probe.touch()
        return probe.stat().st_mtime_ns > max(since.st_mtime_ns, since.st_ctime_ns)

    try:
        wait_for(ticked)
    finally:
        probe.unlink()
