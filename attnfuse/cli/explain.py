"""`attnfuse explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from attnfuse import compiler
from attnfuse.cli.options import source_options
from attnfuse.cli.request import SourceOptions
from attnfuse.errors import UsageError
from attnfuse.names import dotted, nearest
from attnfuse.report.explain import explain, summary


@click.command("explain")
@source_options
@click.argument("site", required=False)
def explain_command(site: str | None, **options: Any) -> int:
    """Explain in full what was found, proved and decided at SITE of SOURCE; without SITE, list the sites."""
    shared = SourceOptions(**options)
    outcome = shared.execute(compiler.inspect, shared.request())
    sites = {record.id: record for result in outcome.components for record in result.sites}
    if site is None:
        for record in sites.values():
            click.echo(summary(record))
        return 0
    click.echo(explain(sites[_find_site(site, list(sites))]), nl=False)
    return 0


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
