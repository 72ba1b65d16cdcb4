"""`attnfuse passes`."""

from __future__ import annotations

import json

import click

from attnfuse import pass_manager
from attnfuse.cli.help import HelpfulCommand
from attnfuse.pass_options import values


@click.command(
    "passes",
    cls=HelpfulCommand,
    examples=("attnfuse passes",),
    codes=(3, 70),
)
def passes_command() -> int:
    """List the installed passes in the order they run, each with its options."""
    for step in pass_manager.discover():
        click.echo(f"{step.order:>4}  {step.id}: {step.summary}  ({type(step).__module__})")
        for option, value in values(step).items():
            click.echo(f"        {option} = {json.dumps(value)}")
    return 0
