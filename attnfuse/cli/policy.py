"""`attnfuse policy show` and `attnfuse policy schema`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from attnfuse import compiler
from attnfuse.cli.console import say
from attnfuse.cli.options import source_options
from attnfuse.cli.request import SourceOptions
from attnfuse.policy import json_schema
from attnfuse.records import decisions


@click.group("policy")
def policy_group() -> None:
    """Inspect policies before compiling."""


@policy_group.command("show")
@source_options
def policy_show_command(**options: Any) -> int:
    """List what the rules decide for every attention site of SOURCE, and which of them decides."""
    shared = SourceOptions(**options)
    request = shared.request()
    outcome = shared.execute(compiler.inspect, request)
    shown = decisions(request.policy, outcome.components)
    if shared.as_json:
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False))
    else:
        for site in shown:
            click.echo(f"{site['id']}: {_decision_text(site)}")
    for warning in outcome.report.warnings:
        say(f"warning: {warning}")
    return 0


def _decision_text(site: Mapping[str, Any]) -> str:
    """`flash on (default); cast to float16 (p.toml [defaults]); float32, cross, head_dim 64, 4096 × 77`."""
    cast = site["force_cast_dtype"]
    parts = [
        f"flash {'on' if site['flash'] else 'off'} ({site['flash_rule']})",
        f"{'keep what is not 16 bits' if cast is None else f'cast to {cast}'} ({site['force_cast_dtype_rule']})",
    ]
    if site["masked_rows"] == "attended":
        parts.append(f"rows attended ({site['masked_rows_rule']})")
    lengths = [site["query_length"], site["key_length"]]
    known = [site["dtype"], site["attention"]]
    known.append(None if site["head_dim"] is None else f"head_dim {site['head_dim']}")
    known.append(None if lengths == [None, None] else " × ".join("?" if n is None else str(n) for n in lengths))
    facts = ", ".join(fact for fact in known if fact is not None)
    return "; ".join([*parts, facts] if facts else parts)


@policy_group.command("schema")
def policy_schema_command() -> int:
    """Print the JSON Schema of a policy file."""
    click.echo(json.dumps(json_schema(), indent=1))
    return 0
