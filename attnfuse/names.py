"""Words of messages, and names: how many of something, what to say where a name is unknown, and where a path leads.

Imports nothing of the project.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath


def nearest(given: str, known: Iterable[str], *, similarity: float = 0.5) -> str | None:
    """The known name that is most like the given one; None where none has that similarity, of 0 to 1, to it."""
    found = difflib.get_close_matches(given, list(known), n=1, cutoff=similarity)  # at 0.5 fp16 means float16
    return found[0] if found else None


def dotted(name: str) -> str:
    """A site's id, or a pattern of such, with dots where it has slashes: both are written, and mean the same."""
    return name.replace("/", ".")


def suggestion(given: str, known: Iterable[str]) -> str:
    """The end of a sentence that names an unknown name: the nearest of those that are known, and all of them."""
    known = list(known)
    if not known:
        return "there are none."
    near, listed = nearest(given, known), ", ".join(known)
    return f"known: {listed}." if near is None else f"did you mean {near!r}? Known: {listed}."


def counted(count: int, noun: str) -> str:
    """`1 node`, `2 nodes`: for nouns that take an s."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def shortened(text: str, most: int) -> str:
    """The text, or as much of its beginning as fits into so many characters."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def leads_out(name: str) -> bool:
    """Whether the name of a file, relative to a folder, is no path below that folder."""
    path = PurePosixPath(name)
    return not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name


def some(keys: Sequence[str]) -> str:
    """`tensor 'a'`, `tensors 'a', 'b', 'c' and 4 more`."""
    shown = ", ".join(repr(key) for key in keys[:3])
    return f"tensor{'s' if len(keys) > 1 else ''} {shown}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
