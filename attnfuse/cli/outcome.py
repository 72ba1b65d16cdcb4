"""What is said of a finished run: its table or document, its warnings and errors, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import click

from attnfuse.cli import exit_codes
from attnfuse.cli.console import say, show, stderr_console
from attnfuse.cli.request import SourceOptions
from attnfuse.compiler import CompileOutcome
from attnfuse.errors import OutputError, TraceError
from attnfuse.names import counted
from attnfuse.report.figures import figures_of
from attnfuse.report.model import Report
from attnfuse.report.table import render
from attnfuse.verify import NOT_VERIFIED, Verification


def report_outcome(
    outcome: CompileOutcome, options: SourceOptions, *, operators: bool = False, writes: bool = True
) -> int:
    """Print and write the report, with `operators` each one that was legalised; the exit code it comes to.

    `writes`: the command writes what it compiles, where nothing is against that.
    """
    document = outcome.report.to_json()
    if outcome.verification is not None:
        document["verification"] = outcome.verification.to_json()
    text = json.dumps(document, indent=1, ensure_ascii=False)
    if options.report_file is not None:
        write_report(options.report_file, text)
    if options.as_json:
        click.echo(text)
        for warning in outcome.report.warnings:  # which the table has among its lines
            say(f"warning: {warning}")
    else:
        figures = figures_of(None if outcome.verification is None else document["verification"])
        show(stderr_console(), render(outcome.report, figures, operators=operators))
    if outcome.cache_error:
        say(f"warning: {outcome.cache_error}; the next compile may take longer.")
    left_out = say_left_out(outcome.report)
    for unmet in outcome.unmet:
        say(f"error: {unmet}{'; nothing was written' if writes else ''}.")
    for name in outcome.verified_before:
        say(f"{name}: not verified again: the certificate is of the same files")
    if outcome.verification is not None:
        say_verification(outcome.verification)
        if not outcome.verification.passed:
            say("error: verification failed; nothing was written.")
            return exit_codes.VERIFICATION
    if outcome.unmet:
        return exit_codes.UNMET
    if left_out:
        return left_out
    return 0 if outcome.verification is None else code_of(outcome.verification)


def say_left_out(report: Report) -> int:
    """Say which components could not be had; the exit code that comes to."""
    for failed in report.failed:
        say(f"error: component {failed.name} was left out: {failed.reason}.")
    return TraceError.exit_code if report.failed else 0


def code_of(verification: Verification) -> int:
    """The exit code that a verification comes to."""
    if not verification.passed:
        return exit_codes.VERIFICATION
    return 0 if verification.complete else exit_codes.PARTLY_VERIFIED


def write_report(file: Path, text: str) -> None:
    """Write it to that file. Raises OutputError where that is not possible."""
    try:
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"the report {file} cannot be written: {error.strerror or error}.") from None


def say_verification(verification: Verification) -> None:
    """Say on stderr what was verified of each component, with its figures and findings."""
    for component in verification.components:
        if component.passed:
            how = "verified in part" if component.not_verified else "verified"
            say(f"{component.name}: {how} ({component.level}; {', '.join(component.executors)})")
        for figures in component.outputs:
            say(
                f"{component.name}: output {figures.output}: relative error {figures.fused:.2e}, "
                f"unfused baseline {figures.baseline:.2e}, tolerance {figures.tolerance:.2e}"
            )
        worst = max(component.sites, key=lambda site: site.figures.fused, default=None)
        if worst is not None:
            count = len(
                {site.module for site in component.sites}
            )  # one may have several results, and sizes it is run at
            say(
                f"{component.name}: per-site check of {counted(count, 'site')}: "
                f"relative error at most {worst.figures.fused:.2e}, tolerance {worst.figures.tolerance:.2e}"
            )
        for file in component.data:
            say(f"{component.name}: run on {file.name} (sha256 {file.sha256})")
        for note in component.notes:
            say(f"{component.name}: note: {note}")
        for warning in component.warnings:
            say(f"warning: {component.name}: {warning}")
        for text in component.not_verified:
            say(f"{component.name}: NOT VERIFIED: {text}")
        for finding in component.findings:
            say(f"{component.name}: DIFFERS: {finding}")
    say(f"not verified: {'; '.join(NOT_VERIFIED)}")
