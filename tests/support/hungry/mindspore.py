"""In the place of MindSpore: a worker whose plan is of a folder `hungry` takes ever more memory, as a large model does,
and one of a folder `killed` is killed, as the kernel does it then; others are told that there is none."""

import json
import os
import signal
import time
from pathlib import Path


def _is_forked() -> bool:
    """Whether this is a worker, and not the process that workers are forked from."""
    parent = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("PPid:"))
    return "attnfuse.tracing.server" in Path(f"/proc/{parent.split()[1]}/cmdline").read_text()


if not _is_forked():
    raise ImportError("the server needs none")
_taken = []
_of = json.loads(Path("request.json").read_text())["plan"]["folder"]
if "killed" in _of:
    os.kill(os.getpid(), signal.SIGKILL)
while "hungry" in _of:
    _taken.append(b"x" * 2**24)
    if len(_taken) > 2**7:  # 2 GiB: whoever lets it have that does not look
        break
    time.sleep(0.01)
raise ImportError("there is none")
