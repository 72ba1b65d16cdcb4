"""`attnfuse plugins`."""

from __future__ import annotations

import click

from attnfuse import pass_manager, plugins
from attnfuse.cli.console import say
from attnfuse.cli.help import HelpfulCommand


@click.command(
    "plugins",
    cls=HelpfulCommand,
    examples=("attnfuse plugins",),
    codes=(3, 70),
)
def plugins_command() -> int:
    """List what installed plugins bring: passes, identities, rewrites, operators, reporters."""
    pass_manager.discover()  # so that what is wrong with one is found here
    extensions = plugins.load().all
    for extension in extensions:
        if (plugin := extension.plugin) is not None:
            click.echo(f"{plugin.name} {plugin.version}: {plugins.GROUPS[extension.group]} {extension.name}")
    if not any(extension.plugin for extension in extensions):
        say("no plugin is installed (docs/plugins.md).")
    return 0
