"""`attnfuse text`."""

from __future__ import annotations

from pathlib import Path

import click

from attnfuse.cli.destinations import check_writable
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import PATH
from attnfuse.errors import UsageError
from attnfuse.output import write_file
from attnfuse.printing import graph_as_text, graph_of_text


@click.command(
    "text",
    cls=HelpfulCommand,
    examples=(
        "attnfuse text unet.mindir --short",
        "attnfuse text unet.mindir -o unet.txt",
        "attnfuse text unet.txt --parse -o unet.mindir",
    ),
    codes=(3, 70),
)
@click.argument("file", type=PATH)
@click.option("--parse", is_flag=True, help="Read FILE as text and write the .mindir.")
@click.option("--short", is_flag=True, help="Only the main graph, one node a line, for reading.")
@click.option("-o", "--output", type=PATH, help="Output file.  [default: stdout; needed with --parse]")
def text_command(file: Path, parse: bool, short: bool, output: Path | None) -> int:
    """Print the graph FILE (.mindir) as text, from which --parse makes the same bytes.

    What a bug report needs: the text can be cut down and edited. Data that lie beside the graph stay there.
    """
    if parse and short:
        raise UsageError("--short is for reading, and --parse makes a graph of the whole text; drop one.")
    if parse and output is None:
        raise UsageError("an output is needed: give -o OUTPUT.mindir.")
    if output is not None and output.resolve() == file.resolve():
        raise UsageError(f"the output {output} is the file that is read; name another.")
    if output is not None:
        check_writable(output, "output")
    content = graph_of_text(file) if parse else graph_as_text(file, short=short).encode()
    if output is None:
        click.echo(content, nl=False)
    else:
        write_file(output, content)
    return 0
