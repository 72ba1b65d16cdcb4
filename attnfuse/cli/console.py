"""What is for the eye goes to stderr: plain lines, and the console of tables and progress."""

from __future__ import annotations

import click
from rich.console import Console

_WIDTH = 140  # of tables where stderr is no terminal


def stderr_console() -> Console:
    """The console of tables and progress, of a fixed width where stderr is no terminal."""
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(stderr=True, highlight=False, width=_WIDTH)


def say(text: str) -> None:
    """Say it on one line."""
    click.echo(" ".join(text.split()), err=True)


def say_lines(text: str) -> None:
    """Say it as it is."""
    click.echo(text, err=True)
