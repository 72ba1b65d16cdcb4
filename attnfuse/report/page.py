"""The report as one HTML file: no network, no other file, the same bytes for the same report.

The template escapes all that it is given, for names are those of files that anybody may have made; and the page's own
policy lets a browser run the one script and take the one style sheet that it comes with, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from attnfuse.report.drawings import MemoryDrawing, memory_drawing, site_drawing
from attnfuse.report.figures import ComponentFigures, Error, figures_of
from attnfuse.report.model import AT_COMPILE_TIME, ComponentEntry, Report
from attnfuse.report.rows import COSTS, Cost, costs_of, error_text, reasons_of, some
from attnfuse.report.tree import Branch, site_tree
from attnfuse.report.units import BYTES, both, ratio


def page(report: Report, verification: Mapping[str, Any] | None = None) -> bytes:
    """The page of a report, with the errors that a certificate tells, as UTF-8.

    Raises SourceError where `verification` is no certificate.
    """
    figures = figures_of(verification)
    style, script = _text("report.css"), _text("report.js")
    text = _template().render(
        report=report,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        cards=tuple(_cards(report, figures)),
        components=[_Component.of(entry, figures.get(entry.name)) for entry in report.components],
        drawing=site_drawing(site for entry in report.components for site in entry.sites),
        reasons=reasons_of(report),
        headings=[what for what, _, _ in COSTS],
        operators=tuple(_operators(report)),
        verified=bool(figures),
    )
    return text.encode("utf-8", "backslashreplace")


@cache
def _template() -> Template:
    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["error"] = error_text
    return environment.get_template("report.html.j2")


def _text(name: str) -> str:
    return files("attnfuse.report").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy names what is inline."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@dataclass(frozen=True, slots=True)
class _Card:
    """One figure at the head of the page."""

    what: str
    value: str
    note: str


def _cards(report: Report, figures: Mapping[str, ComponentFigures]) -> Iterable[_Card]:
    totals = report.totals
    yield _Card(
        "attention sites fused", f"{totals.fused} of {totals.sites}", f"{totals.kept} kept, {totals.missed} missed"
    )
    costs = [(c.cost.before, c.cost.after) for c in report.components if c.cost.before and c.cost.after]
    if costs:
        moved = [sum(one.bytes_moved for one in side if one is not None) for side in zip(*costs, strict=True)]
        yield _Card("bytes moved", both(moved[0], moved[1], BYTES), ratio(moved[0], moved[1]))
        peaks = [max(one.peak_bytes for one in side if one is not None) for side in zip(*costs, strict=True)]
        yield _Card("largest peak of activations", both(peaks[0], peaks[1], BYTES), ratio(peaks[0], peaks[1]))
    if report.runtime == "lite":
        is_taken = not totals.unsupported
        note = "every node passes the tables" if is_taken else f"{totals.unsupported} nodes are not taken"
        yield _Card("deployable", "yes" if is_taken else "no", note)
    worst = max(
        (one.worst for one in figures.values() if one.worst is not None),
        key=lambda error: error.fused / error.tolerance if error.tolerance else error.fused,
        default=None,
    )
    if worst is not None:
        yield _Card("error nearest to its tolerance", f"{worst.fused:.2e}", f"of {worst.tolerance:.2e}")


@dataclass(frozen=True, slots=True)
class _Component:
    """One component as the page has it."""

    entry: ComponentEntry
    costs: tuple[Cost, ...]
    error: Error | None
    figures: ComponentFigures | None
    memory: MemoryDrawing | None
    tree: tuple[Branch, ...]

    @classmethod
    def of(cls, entry: ComponentEntry, figures: ComponentFigures | None) -> _Component:
        """What is worked out of one."""
        return cls(
            entry,
            costs_of(entry.cost),
            None if figures is None else figures.worst,
            figures,
            memory_drawing(entry.cost),
            site_tree(
                entry.sites,
                {} if figures is None else figures.sites,
                {share.site: share for share in entry.cost.sites},
            ),
        )


def _operators(report: Report) -> Iterable[tuple[str, str, int, str, str]]:
    """(component, operator, nodes, what stands for them or why they stay, where) of what is left for the user."""
    for component in report.components:
        for entry in component.unsupported:
            yield component.name, entry.op, entry.count, entry.reason, some(entry.modules or entry.nodes)
        for kernel in component.without_kernel:
            if kernel.otherwise != AT_COMPILE_TIME:
                reason = f"no AI Core kernel for {kernel.types}: {kernel.otherwise}"
                yield component.name, kernel.op, kernel.count, reason, some(kernel.modules or kernel.nodes)
