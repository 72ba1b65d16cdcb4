"""`attnfuse report`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

from attnfuse.cli import exit_codes
from attnfuse.cli.console import say, show, stdout_console
from attnfuse.cli.destinations import check_apart, check_writable
from attnfuse.cli.help import HelpfulCommand
from attnfuse.cli.options import PATH, json_option, require_option
from attnfuse.errors import UsageError
from attnfuse.measured.compare import measurement
from attnfuse.measured.table import render as render_measured
from attnfuse.names import counted
from attnfuse.output import write_file
from attnfuse.report.figures import figures_of
from attnfuse.report.junit import junit
from attnfuse.report.markdown import markdown
from attnfuse.report.model import Report
from attnfuse.report.page import page
from attnfuse.report.reading import read_report
from attnfuse.report.require import Requirement, parse_requirement
from attnfuse.report.table import render
from attnfuse.serialisation import to_json

_Form: TypeAlias = Callable[[Report, Mapping[str, Any] | None, Sequence[Requirement]], bytes]
_FORMS: dict[str, _Form] = {
    "markdown": lambda report, verification, requirements: markdown(report, verification, requirements).encode(),
    "junit": junit,
    "html": lambda report, verification, _: page(report, verification),
}

_GATED = ("markdown", "junit")
"""The forms that tell which requirements hold."""


@click.command(
    "report",
    cls=HelpfulCommand,
    examples=(
        "attnfuse report out",
        "attnfuse report out --format junit --require fused==sites -o attnfuse.xml",
        'attnfuse report report.json --format markdown >> "$GITHUB_STEP_SUMMARY"',
        "attnfuse report out --measured measured",
    ),
    codes=(1, 3, 70),
)
@click.argument("written", metavar="OUT", type=PATH)
@click.option(
    "--format", "form", type=click.Choice(["text", *_FORMS]), default="text", show_default=True, help="How to show it."
)
@click.option(
    "--measured",
    type=PATH,
    metavar="FOLDER",
    help="Show what measure.py found on a host with a device, beside what was estimated.",
)
@json_option
@require_option
@click.option("-o", "--output", type=PATH, help="Output file.  [default: stdout]")
def report_command(
    written: Path, form: str, measured: Path | None, as_json: bool, require: tuple[str, ...], output: Path | None
) -> int:
    """Show the report of OUT again: an output of compile, a report.json, or what --report wrote.

    markdown is for the summary of a CI job, junit for what reads results of tests, html the page that compile writes.
    Exit code 1 where a requirement does not hold; markdown and junit tell which, the others do on stderr.

    With --measured FOLDER it is what a device said of the graphs in OUT, held to the estimate (docs/measured.md).
    """
    requirements = [parse_requirement(text) for text in require]
    if form == "text" and output is not None:
        raise UsageError("--format text is for reading here; drop -o, or ask for --format markdown, junit or html.")
    if as_json and measured is None:
        raise UsageError("--json is of --measured FOLDER; the report itself is report.json.")
    if measured is not None and (form != "text" or output is not None):
        raise UsageError("--measured is shown as text, or with --json; drop --format and -o.")
    if output is not None:
        check_apart("report", output, written, None)
        check_writable(output)
    report, verification = read_report(written)
    unmet = [text for requirement in requirements if (text := requirement.unmet(report)) is not None]
    if measured is not None:
        _show_measured(written, report, measured, as_json=as_json)
    elif form == "text":
        show(stdout_console(), render(report, figures_of(verification)))
    else:
        content = _FORMS[form](report, verification, requirements)
        if output is None:
            click.echo(content, nl=False)
        else:
            write_file(output, content)
    if form in _GATED:  # a job that shows both would tell it three times, with what compile told
        if unmet and output is not None:
            say(f"{counted(len(unmet), 'requirement')} not met: see {output}.")
    else:
        for text in unmet:
            say(f"error: {text}.")
    return exit_codes.UNMET if unmet else 0


def _show_measured(written: Path, report: Report, folder: Path, *, as_json: bool) -> None:
    """What the folder tells of the output, on stdout."""
    found = measurement(written, report, folder)
    if as_json:
        click.echo(json.dumps(to_json(found), indent=1, ensure_ascii=False))
    else:
        show(stdout_console(), render_measured(found, str(folder)))
