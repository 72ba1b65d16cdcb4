"""Reads the JSON and TOML documents that a user names: whatever they hold, the answer is a value or one reason.

Imports nothing of the project.
"""

from __future__ import annotations

import errno
import json
import tomllib
from pathlib import Path
from typing import Any, Literal


def read_text(path: Path) -> str:
    """The text of a regular file. Raises OSError, or ValueError for text that is not UTF-8."""
    check_regular(path)
    return path.read_text(encoding="utf-8")


def read_bytes(path: Path) -> bytes:
    """The content of a regular file. Raises OSError."""
    check_regular(path)
    return path.read_bytes()


def check_regular(path: Path) -> None:
    """Raise OSError for what is neither a file nor a folder: reading a pipe waits for a writer, and may never end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is not a regular file")


def parse(text: str, kind: Literal["JSON", "TOML"]) -> Any:
    """The value of a document. Raises ValueError, with what is wrong, also where Python's readers give up otherwise."""
    try:
        if kind == "JSON":
            return json.loads(text)
        value = tomllib.loads(text)
        repr(value)  # which raises for what was read of hexadecimal digits, and has too many others to be told
        return value
    except (json.JSONDecodeError, tomllib.TOMLDecodeError):
        raise
    except RecursionError:
        raise ValueError("its tables or lists are nested too deeply") from None
    except ValueError:  # of int()
        raise ValueError("a number in it has too many digits") from None


def reason(error: OSError | ValueError) -> str:
    """Why one of the two could not, for a sentence that names the file."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
