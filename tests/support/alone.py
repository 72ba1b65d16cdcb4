"""Programs run as a stranger's would: with nothing of what Python and this project are told by the environment here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.waiting import PATIENCE


def run_alone(command: Sequence[str | Path], folder: Path | None = None, **options: str) -> str:
    """What it says on stdout; it has to end well. `options` are variables it is given."""
    ours = ("PYTHON", "PROTOCOL_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(one) for one in command],
        cwd=folder,
        env={**environment, **options},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout
