"""What is for the eye goes to stderr: plain lines, and the console of tables and progress."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Iterator

import click
from rich.console import Console, Group
from rich.text import Text

from attnfuse.progress import Progress, Silent
from attnfuse.terminal import BarProgress, LineProgress

_WIDTH = 80  # of tables where stderr is no terminal


_INSTEAD = {"→": "->", "×": "x", "–": "-", "…": "...", "µ": "u", "·": "*", "−": "-", "√": "sqrt ", "ᵀ": "^T", "≤": "<="}
"""What is said in a locale without these characters; of any other, its number."""
_HANDLER = "attnfuse.instead"


def encode_what_cannot_be() -> None:
    """Have stdout and stderr take text that their locale has no characters for (ASCII, Latin-1, GBK)."""
    codecs.register_error(_HANDLER, _instead)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _instead(error: UnicodeError) -> tuple[str, int]:
    """Also within JSON, where a character may be told by its number: two of 16 bits, where it has more."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(one) or json.dumps(one)[1:-1] for one in text), error.end


class _Console(Console):
    """One whose reader may go away: the run ends as others do then, and not as if a requirement did not hold."""

    def on_broken_pipe(self) -> None:
        """Let the command's end see it, where rich would exit with 1."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def stderr_console() -> Console:
    """The console of tables and progress, of a fixed width where stderr is no terminal."""
    return _console(is_stderr=True)


def stdout_console() -> Console:
    """The console of a table that is the result."""
    return _console(is_stderr=False)


def _console(*, is_stderr: bool) -> Console:
    console = _Console(stderr=is_stderr, highlight=False)
    return console if console.is_terminal else _Console(stderr=is_stderr, highlight=False, width=_WIDTH)


@contextlib.contextmanager
def shown(*, silent: bool) -> Iterator[Progress]:
    """What shows the stages of a run: a bar on a terminal, lines elsewhere, or nothing."""
    if silent:
        yield Silent()
        return
    console = stderr_console()
    with BarProgress(console) if console.is_terminal else LineProgress(console) as progress:
        yield progress


def show(console: Console, parts: Group) -> None:
    """Show tables, and lines: where nobody looks at once, a line is one line however long it is."""
    for part in parts.renderables:
        console.print(part, soft_wrap=isinstance(part, Text) and not console.is_terminal)


def say(text: str) -> None:
    """Say it on one line, if stderr takes it: what is said is worth no other exit code."""
    with contextlib.suppress(OSError):
        click.echo(" ".join(text.split()), err=True)


def say_lines(text: str) -> None:
    """Say it as it is, if stderr takes it."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)
