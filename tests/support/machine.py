"""A machine of several: `python -m tests.support.machine NAME AHEAD PLACE WAIT COMMAND…` runs a command of attnfuse as
one of that name would whose clock is so many seconds ahead, with stand-ins for what traces and for its own processes.

Each trace leaves a file NAME-N.traced in PLACE, made before it begins; with WAIT it then waits for a file `go` there.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from attnfuse import cli
from attnfuse.cli import batch
from attnfuse.store import remote
from attnfuse.tracing.contract import ComponentPlan, TracedComponent
from tests.farm.conftest import Here, compile_here, trace_by
from tests.support.tracer import Tracer
from tests.support.waiting import wait_for

CLAIM_SECONDS = 2.0
"""What a claim of the dead has others wait."""


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    name, ahead, place, wait, *command = arguments
    folder, tracer, now = Path(place), Tracer(), time.time

    def trace(plan: ComponentPlan, work: Path) -> TracedComponent:
        (folder / f"{name}-{len(tracer.traced)}-{os.getpid()}.traced").touch()
        if int(wait):
            wait_for((folder / "go").exists)
        time.sleep(0.2)  # so that others meet it
        return tracer(plan, work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: name)
        patch.setattr(time, "time", lambda: now() + float(ahead))
        patch.setattr(remote, "_CLAIM_SECONDS", CLAIM_SECONDS)
        patch.setenv("XDG_CACHE_HOME", str(folder / name / "home"))
        sources = folder / f"{name}-{os.getpid()}" / "sources"
        trace_by(trace, patch, sources)
        compile_here(patch)
        patch.setattr(batch, "LocalWorkers", lambda *_: Here())
        return cli.run(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
