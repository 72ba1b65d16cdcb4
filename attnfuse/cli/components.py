"""`attnfuse components`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from attnfuse.cli.console import say
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import beside_options, dtype_of, fetch_of, json_option, shape_options, shapes_of, with_options
from attnfuse.errors import SourceError
from attnfuse.report.parts import parts_document, render_parts
from attnfuse.sources import survey_source
from attnfuse.tracing.inputs import read_inputs


@click.command(
    "components",
    cls=HelpfulCommand,
    examples=(
        "attnfuse components ./stable-diffusion-v1-5",
        "attnfuse components SOURCE --height 1024 --width 1024 --json",
    ),
    codes=(3, 70, 130),
)
@with_options(click.argument("source"), *shape_options, *beside_options)
@json_option
def components_command(source: str, inputs_file: Path | None, as_json: bool, **options: Any) -> int:
    """List the parts of the pipeline SOURCE, and what each would be traced with, or why not; nothing is traced.

    Where parts do not fit together (a text encoder and the attention over its text, latents and the denoiser, a
    ControlNet and the UNet) it says so, and the exit code is 3.
    """
    given = () if inputs_file is None else read_inputs(inputs_file)
    parts = survey_source(source, dtype_of(options), shapes_of(options), given, fetch_of(options))
    if as_json:
        click.echo(json.dumps(parts_document(parts), indent=1, ensure_ascii=False))
    else:
        click.echo(render_parts(parts), nl=False)
    messages = list(dict.fromkeys(text for part in parts for text in part.contradictions))
    for text in messages:
        say(f"error: {text}")
    return SourceError.exit_code if messages else 0
