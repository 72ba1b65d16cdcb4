"""A subprocess of ours does not outlive the process that wanted it. Imports nothing of the project."""

from __future__ import annotations

import ctypes
import os
import signal
import sys


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent, of that id, dies; end it at once where it is dead already.

    A parent that is killed with -9, or interrupted in the middle of starting a process, kills no child itself.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was told
        sys.exit(1)
