"""Where the `attnfuse` command begins: an interrupt while the command line is still being imported is no traceback.

Imports nothing of the project before it can tell of that; all else is `attnfuse.cli`.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """The console script."""
    try:
        from attnfuse import cli

        cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was written.\n")
        sys.stderr.flush()
        os._exit(130)  # the interpreter's own end takes a second where half of what is imported is there


if __name__ == "__main__":
    main()
