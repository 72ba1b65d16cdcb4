"""What compile() and tune() return, for a program and for a notebook."""

from __future__ import annotations

import html
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnfuse.names import counted
from attnfuse.output import write_file
from attnfuse.report.model import ComponentEntry, Report, Totals
from attnfuse.report.rows import COSTS, costs_of
from attnfuse.report.units import human_seconds

_SHOWN_COMPONENTS, _SHOWN_WARNINGS, _WIDTH = 12, 5, 110
_COLUMNS = ("sites", "fused", "kept", "missed", "not_attention", "casts", "padded_heads", "score_bytes_saved")


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """A compile that held.

    `report` is what became of every attention site; `output` where it was written, None where nothing was asked to
    be; `files` the bytes of each file there, by its name relative to `output`; `verification` the figures of the
    check that was asked for, as in verification.json; `dropped` what became of an earlier one there.
    """

    report: Report
    output: Path | None
    files: Mapping[str, int]
    verification: Mapping[str, Any] | None = None
    dropped: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should look at: rules that match nothing, weights that overflow, doubtful nodes."""
        sites = (site for component in self.report.components for site in component.sites)
        lost = [self.dropped] if self.dropped else []
        return (*self.report.warnings, *lost, *(f"{site.id}: {text}" for site in sites for text in site.warnings))

    def __repr__(self) -> str:
        """A screen at most: what became of the sites of each component, what it costs, and the first warnings."""
        report, totals = self.report, self.report.totals
        where = "not written" if self.output is None else f"{counted(len(self.files), 'file')} in {self.output}"
        lines = [f"{totals.fused} of {totals.sites} sites fused for {report.runtime} on {report.soc}, {where}"]
        lines += _first(map(_told, report.components), _SHOWN_COMPONENTS)
        lines += _first((f"warning: {text}" for text in self.warnings), _SHOWN_WARNINGS)
        return f"<Outcome: {f'{chr(10)}  '.join(lines)}>"

    def _repr_html_(self) -> str:
        """A table for notebooks: a row per component, then what is not fused or not supported and why, the warnings."""
        report = self.report
        head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in ("component", *_COLUMNS))
        rows = [_row(component.name, component.totals) for component in report.components]
        rows.append(_row("total", report.totals))
        reasons: dict[tuple[str, str, str], int] = {}
        for component in report.components:
            for site in component.sites:
                if site.status in ("kept", "missed"):
                    key = (site.status, site.reason, site.rule or "")
                    reasons[key] = reasons.get(key, 0) + 1
        notes = [
            f"{status} {count}: {reason}" + (f" (rule: {rule})" if rule else "")
            for (status, reason, rule), count in sorted(reasons.items())
        ]
        notes += [
            f"{component.name}: unsupported {entry.count} ({entry.op}): {entry.reason}"
            for component in report.components
            for entry in component.unsupported
        ]
        notes += [f"warning: {text}" for text in self.warnings]
        items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
        caption = f"attention sites for {report.runtime} on {report.soc}"
        return (
            f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table>" + (f"<ul>{items}</ul>" if items else "")
        )


@dataclass(frozen=True, slots=True, repr=False)
class Tuned:
    """A policy that keeps the budget.

    `text` is the policy in TOML, with the figures in comments; `document` the same figures as attnfuse.tuning/1
    (docs/documents.md); `warnings` what the user should look at.
    """

    text: str
    document: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def policy(self) -> dict[str, Any]:
        """The policy as plain values, which `compile` takes."""
        return tomllib.loads(self.text)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the policy to a file, whole or not at all. Raises OutputError."""
        write_file(Path(path), self.text.encode())

    def __repr__(self) -> str:
        """A line for each component, and the warnings."""
        budget = self.document["budget"]
        lines = [
            f"{one['name']}: off by {float(one['error']):.2e} of {budget:.2e}, estimated at "
            f"{human_seconds(one['seconds'])}, {counted(one['measured'], 'graph')} measured"
            for one in self.document["components"]
        ]
        lines += _first((f"warning: {text}" for text in self.warnings), _SHOWN_WARNINGS)
        return f"<Tuned: {f'{chr(10)}  '.join(lines)}>"


def _told(component: ComponentEntry) -> str:
    """`unet: 32 of 32 fused; bytes moved 172 → 92.4 MiB ×0.54, peak …`."""
    own = component.totals
    pairs = zip(COSTS, costs_of(component.cost), strict=False)
    costs = [f"{what} {cost.change} {cost.ratio}" for (what, _, _), cost in pairs]
    return f"{component.name}: {own.fused} of {own.sites} fused; {', '.join(costs[:2]) or component.cost.not_estimated}"


def _first(lines: Iterable[str], most: int) -> list[str]:
    """At most that many, each of one line that a screen holds, and how many more there are."""
    told = [" ".join(line.split()) for line in lines]
    shown = [line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…" for line in told[:most]]
    return shown + ([f"… {len(told) - most} more"] if len(told) > most else [])


def _row(name: str, totals: Totals) -> str:
    cells = "".join(f"<td>{getattr(totals, column)}</td>" for column in _COLUMNS)
    return f"<tr><th>{html.escape(name)}</th>{cells}</tr>"
