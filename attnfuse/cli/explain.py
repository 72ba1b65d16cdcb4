"""`attnfuse explain`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from attnfuse import compiler
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import census_options, refuse_given
from attnfuse.cli.outcome import say_left_out
from attnfuse.cli.request import SourceOptions
from attnfuse.decisions import SiteRecord
from attnfuse.errors import UsageError
from attnfuse.names import dotted, nearest, suggestion
from attnfuse.report.explain import explain, summary
from attnfuse.report.model import Report
from attnfuse.report.reading import read_report
from attnfuse.serialisation import to_json
from attnfuse.source_files import is_output

SCHEMA = "attnfuse.sites/1"
_OF_WRITTEN = {"source", "site", "components", "as_json", "progress"}
"""The parameters that mean something for a folder that was compiled."""


@click.command(
    "explain",
    cls=HelpfulCommand,
    examples=(
        "attnfuse explain unet.mindir",
        "attnfuse explain unet.mindir down_blocks.0.attentions.0.transformer_blocks.0.attn1",
        "attnfuse explain out mid_block.attentions.0.transformer_blocks.0.attn1",
    ),
    codes=(3, 70, 130),
)
@census_options
@click.argument("site", required=False)
@click.pass_context
def explain_command(context: click.Context, /, site: str | None, **options: Any) -> int:
    """Explain in full what was found, proved and decided at SITE of SOURCE; without SITE, list the sites.

    SOURCE may be a folder that compile wrote: what was decided then is told, and nothing is traced. --json prints each
    site as the report has it.
    """
    shared = SourceOptions(**options)
    if is_output(Path(shared.source)):
        report, records = _written(context, shared)
    else:
        outcome = shared.execute(compiler.inspect, shared.request())
        report, records = outcome.report, [record for result in outcome.components for record in result.sites]
    sites = {record.id: record for record in records}
    chosen = sites if site is None else {(name := _find_site(site, list(sites))): sites[name]}
    if shared.as_json:
        document = {"schema": SCHEMA, "sites": [to_json(record) for record in chosen.values()]}
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
    elif site is None:
        for record in chosen.values():
            click.echo(summary(record))
    else:
        click.echo("".join(map(explain, chosen.values())), nl=False)
    return say_left_out(report) if site is None else 0


def _written(context: click.Context, shared: SourceOptions) -> tuple[Report, list[SiteRecord]]:
    """The report of a folder that was compiled, and the sites in it of the components that are asked for."""
    others = {parameter.name or "" for parameter in context.command.params} - _OF_WRITTEN
    refuse_given(context, others, f"is for a source, and {shared.source} was compiled already; drop it.")
    report, _ = read_report(Path(shared.source))
    known = [component.name for component in report.components]
    for name in shared.components:
        if name not in known:
            raise UsageError(f"{shared.source} has no component {name!r}; {suggestion(name, known)}")
    chosen = [one for one in report.components if not shared.components or one.name in shared.components]
    return report, [site for component in chosen for site in component.sites]


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
