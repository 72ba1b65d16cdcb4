"""The report in Markdown, for the summary of a CI job: what it comes to at a glance, the rest folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attnfuse.names import counted
from attnfuse.report.figures import figures_of
from attnfuse.report.model import Report
from attnfuse.report.require import Requirement
from attnfuse.report.rows import COSTS, costs_of, error_text, reasons_of

# What Markdown or HTML would take for markup, in a name that a graph gave itself.
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~$@-])")


def markdown(
    report: Report, verification: Mapping[str, Any] | None = None, requirements: Sequence[Requirement] = ()
) -> str:
    """The text, ending in a newline. Raises SourceError where `verification` is no certificate."""
    return "\n".join(_lines(report, verification, requirements)) + "\n"


def _lines(
    report: Report, verification: Mapping[str, Any] | None, requirements: Sequence[Requirement]
) -> Iterator[str]:
    totals = report.totals
    yield f"## attnfuse: {totals.fused} of {totals.sites} sites fused for {report.runtime} on {_plain(report.soc)}"
    yield ""
    for failed in report.failed:
        yield f"**{_plain(failed.name)} was left out**: {_plain(failed.reason)}"
        yield ""
    figures = figures_of(verification)
    errors = ["error of tolerance"] if figures else []
    yield from _row("component", *(what for what, _, _ in COSTS), *errors, "fused", "kept", "missed")
    yield from _row("---", *("---:" for _ in range(len(COSTS) + len(errors) + 3)))
    for component in report.components:
        own, found = component.totals, figures.get(component.name)
        costs = [f"{cost.change} {cost.ratio}".rstrip() for cost in costs_of(component.cost)]
        error = [error_text(None if found is None else found.worst)] if figures else []
        numbers = (f"{own.fused} of {own.sites}", str(own.kept), str(own.missed))
        yield from _row(_plain(component.name), *(costs or [""] * len(COSTS)), *error, *numbers)
    yield ""
    yield "Estimated, not measured: no Ascend kernel ran."
    if requirements:
        yield ""
        yield from _row("requirement", "")
        yield from _row("---", "---")
        for requirement in requirements:
            unmet = requirement.unmet(report)
            yield from _row(_plain(str(requirement)), "met" if unmet is None else f"**not met**: {_plain(unmet)}")
    if totals.unsupported:
        yield ""
        yield f"**Not deployable**: {counted(totals.unsupported, 'node')} of the result are not taken."
    reasons = [
        f"{reason.status} {len(reason.ids)} ({_plain(reason.code)}): {_plain(reason.reason)}: {_plain(reason.places)}"
        for reason in reasons_of(report)
    ]
    yield from _folded("Not fused", reasons)
    yield from _folded("Warnings", map(_plain, report.warnings))


def _row(*cells: str) -> Iterator[str]:
    yield f"| {' | '.join(cells)} |"


def _folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    listed = list(lines)
    if listed:
        yield ""
        yield f"<details><summary>{title} ({len(listed)})</summary>"
        yield ""
        yield from (f"- {line}" for line in listed)
        yield ""
        yield "</details>"


def _plain(text: str) -> str:
    """The text as it reads, on one line, whatever it holds."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", line)
