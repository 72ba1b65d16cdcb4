"""`attnfuse explain`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from attnfuse import compiler
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import census_options
from attnfuse.cli.outcome import say_left_out
from attnfuse.cli.request import SourceOptions
from attnfuse.errors import UsageError
from attnfuse.names import dotted, nearest
from attnfuse.report.explain import explain, summary
from attnfuse.serialisation import to_json

SCHEMA = "attnfuse.sites/1"


@click.command(
    "explain",
    cls=HelpfulCommand,
    examples=(
        "attnfuse explain unet.mindir",
        "attnfuse explain unet.mindir down_blocks.0.attentions.0.transformer_blocks.0.attn1",
    ),
    codes=(3, 70, 130),
)
@census_options
@click.argument("site", required=False)
def explain_command(site: str | None, **options: Any) -> int:
    """Explain in full what was found, proved and decided at SITE of SOURCE; without SITE, list the sites.

    --json prints each as the report has it.
    """
    shared = SourceOptions(**options)
    outcome = shared.execute(compiler.inspect, shared.request())
    sites = {record.id: record for result in outcome.components for record in result.sites}
    chosen = sites if site is None else {(name := _find_site(site, list(sites))): sites[name]}
    if shared.as_json:
        document = {"schema": SCHEMA, "sites": [to_json(record) for record in chosen.values()]}
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
    elif site is None:
        for record in chosen.values():
            click.echo(summary(record))
    else:
        click.echo("".join(map(explain, chosen.values())), nl=False)
    return say_left_out(outcome.report) if site is None else 0


def _find_site(wanted: str, names: Sequence[str]) -> str:
    """The site of that id, or the only one whose id ends in it; slashes and dots in it are alike."""
    if wanted in names:
        return wanted
    ends = [name for name in names if dotted(name) == dotted(wanted)]
    ends = ends or [name for name in names if dotted(name).endswith(f".{dotted(wanted)}")]
    if len(ends) == 1:
        return ends[0]
    near = nearest(wanted, names, similarity=0)
    hint = f"{len(ends)} end in it" if ends else f"the nearest is {near}" if near else "there is none at all"
    raise UsageError(f"there is no single site {wanted!r} ({hint}); attnfuse explain SOURCE lists the sites.")
