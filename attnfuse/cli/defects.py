"""A defect of attnfuse or of a plugin: one sentence on stderr, and what reproduces it in a file."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence

from attnfuse.cli import exit_codes
from attnfuse.cli.console import say
from attnfuse.version import __version__


def report_defect(error: Exception, arguments: Sequence[str]) -> int:
    """Say that this is a defect of ours, and where what reproduces it lies; a traceback is not for the terminal."""
    file = keep_details(error, arguments)
    kept = "; its details could not be kept" if file is None else f"; please report it with {file}"
    say(f"error: a defect of attnfuse: {type(error).__name__}: {error}{kept}")
    return exit_codes.DEFECT


def keep_details(error: Exception, arguments: Sequence[str]) -> str | None:
    """Write down what is needed to reproduce a defect; the file's name, None where it cannot be written."""
    content = {
        "attnfuse": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "arguments": list(arguments),
        "error": f"{type(error).__name__}: {error}",
        "traceback": traceback.format_exception(error),
    }
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="attnfuse-defect-", suffix=".json", delete=False, encoding="utf-8"
        ) as file:
            json.dump(content, file, indent=1)
            return file.name
    except OSError:
        return None
