"""A worker process of this machine: `python -m attnfuse.farm.worker PARENT MEMORY`.

Units come on stdin, a text a line; answers go to stdout, as soon as each is done. It ends with PARENT, or when its
stdin is closed, and what it started ends with it. MEMORY is the limit of a trace in bytes, 0 where there is none.
"""

from __future__ import annotations

import os
import signal
import sys

from attnfuse.farm.perform import perform
from attnfuse.processes import die_with


def main(arguments: list[str]) -> int:
    """Do one unit after the other."""
    parent, memory = map(int, arguments)
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is told to all processes: what it means is for the parent
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        os.write(answers, perform(line, memory or None).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
