"""`attnfuse passes`."""

from __future__ import annotations

import dataclasses

import click

from attnfuse import pass_manager


@click.command("passes")
def passes_command() -> int:
    """List the installed passes in the order they run, each with its options."""
    for step in pass_manager.discover():
        click.echo(f"{step.order:>4}  {step.id}: {step.summary}  ({type(step).__module__})")
        for option in _options_of(step):
            click.echo(f"        {option} = {getattr(step, option)!r}")
    return 0


def _options_of(step: object) -> list[str]:
    return [f.name for f in dataclasses.fields(step)] if dataclasses.is_dataclass(step) else []
