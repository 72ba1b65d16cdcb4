"""Runs the command, as a user has it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def attnfuse(*arguments: str, codes: Sequence[int] = (0,)) -> str:
    """What it prints on stdout. Raises RuntimeError where its exit code is none of these."""
    command = [sys.executable, "-m", "attnfuse", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise RuntimeError(f"attnfuse {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
