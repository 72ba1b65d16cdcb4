"""`attnfuse policy show` and `attnfuse policy schema`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from attnfuse import compiler
from attnfuse.cli.console import say
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import census_options
from attnfuse.cli.outcome import say_left_out
from attnfuse.cli.request import SourceOptions
from attnfuse.policy import json_schema
from attnfuse.records import policy_decisions


@click.group("policy")
def policy_group() -> None:
    """Inspect policies before compiling."""


@policy_group.command(
    "show",
    cls=HelpfulCommand,
    examples=("attnfuse policy show unet.mindir --policy policy.toml",),
    codes=(3, 70, 130),
)
@census_options
def policy_show_command(**options: Any) -> int:
    """List what the rules decide for every attention site of SOURCE, and which of them decides."""
    shared = SourceOptions(**options)
    request = shared.request()
    outcome = shared.execute(compiler.inspect, request)
    document = policy_decisions(request.policy, outcome.components)
    if shared.as_json:
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        for site in document["sites"]:
            click.echo(f"{site['id']}: {_decision_text(site['decision'], site['facts'])}")
    for warning in outcome.report.warnings:
        say(f"warning: {warning}")
    return say_left_out(outcome.report)


def _decision_text(decision: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """`flash on (default); cast to float16 (p.toml [defaults]); float32, cross, head_dim 64, 4096 × 77`."""
    cast = decision["force_cast_dtype"]
    parts = [
        f"flash {'on' if decision['flash'] else 'off'} ({decision['flash_rule']})",
        f"{'keep what is not 16 bits' if cast is None else f'cast to {cast}'} ({decision['force_cast_dtype_rule']})",
    ]
    if decision["assume_no_fully_masked_rows"]:
        parts.append(f"no fully masked rows assumed ({decision['assume_no_fully_masked_rows_rule']})")
    if decision["precision"] is not None:
        parts.append(f"{decision['precision']} precision ({decision['precision_rule']})")
    lengths = [facts["query_length"], facts["key_length"]]
    known = [facts["dtype"], facts["attention"]]
    known.append(None if facts["head_dim"] is None else f"head_dim {facts['head_dim']}")
    known.append(None if lengths == [None, None] else " × ".join("?" if n is None else str(n) for n in lengths))
    text = ", ".join(fact for fact in known if fact is not None)
    return "; ".join([*parts, text] if text else parts)


@policy_group.command(
    "schema", cls=HelpfulCommand, examples=("attnfuse policy schema > policy.schema.json",), codes=(70,)
)
def policy_schema_command() -> int:
    """Print the JSON Schema of a policy file."""
    click.echo(json.dumps(json_schema(), indent=1))
    return 0
