"""What is for the eye goes to stderr: plain lines, and the console of tables and progress."""

from __future__ import annotations

import click
from rich.console import Console, Group
from rich.text import Text

_WIDTH = 80  # of tables where stderr is no terminal


def stderr_console() -> Console:
    """The console of tables and progress, of a fixed width where stderr is no terminal."""
    return _console(is_stderr=True)


def stdout_console() -> Console:
    """The console of a table that is the result."""
    return _console(is_stderr=False)


def _console(*, is_stderr: bool) -> Console:
    console = Console(stderr=is_stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=is_stderr, highlight=False, width=_WIDTH)


def show(console: Console, parts: Group) -> None:
    """Show tables, and lines: where nobody looks at once, a line is one line however long it is."""
    for part in parts.renderables:
        console.print(part, soft_wrap=isinstance(part, Text) and not console.is_terminal)


def say(text: str) -> None:
    """Say it on one line."""
    click.echo(" ".join(text.split()), err=True)


def say_lines(text: str) -> None:
    """Say it as it is."""
    click.echo(text, err=True)
