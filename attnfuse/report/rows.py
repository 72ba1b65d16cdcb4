"""What every form of the report shows: costs of a component, and why sites are not fused.

Each form has its own markup; the figures and sentences are made here, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attnfuse.codes import CODES
from attnfuse.cost.records import Comparison
from attnfuse.report.figures import Error
from attnfuse.report.model import Report
from attnfuse.report.units import BYTES, SECONDS, Units, both, ratio

COSTS: tuple[tuple[str, str, Units], ...] = (
    ("bytes moved", "bytes_moved", BYTES),
    ("peak", "peak_bytes", BYTES),
    ("time at least", "seconds", SECONDS),
    ("kernels", "kernels", ()),
)
"""Heading, field of `Estimate` and units, in the order in which they are shown."""
_SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """One figure of a component: `97.1 → 35.9 GiB`, `×0.37`."""

    change: str
    ratio: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some sites are not fused. `meaning` is what docs/codes.md says of the code."""

    status: str
    code: str
    meaning: str
    reason: str
    ids: tuple[str, ...]

    @property
    def places(self) -> str:
        """The first of the sites."""
        return some(self.ids)


def costs_of(cost: Comparison) -> tuple[Cost, ...]:
    """As `COSTS` has them; none where nothing is estimated."""
    if cost.before is None or cost.after is None:
        return ()
    figures = ((getattr(cost.before, field), getattr(cost.after, field), units) for _, field, units in COSTS)
    return tuple(Cost(both(before, after, units), ratio(before, after)) for before, after, units in figures)


def reasons_of(report: Report) -> list[Reason]:
    """One for each status, code and reason of sites that are kept or missed."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for component in report.components:
        for site in component.sites:
            if site.status in ("kept", "missed"):
                groups.setdefault((site.status, site.code, site.reason), []).append(site.id)
    return [
        Reason(status, code, CODES[code].meaning if code in CODES else "", reason, tuple(ids))
        for (status, code, reason), ids in sorted(groups.items())
    ]


def error_text(error: Error | None) -> str:
    """An error beside what it may reach; a dash where none was measured."""
    return "–" if error is None else f"{error.fused:.2e} of {error.tolerance:.2e}"


def some(names: Iterable[str]) -> str:
    """The first of several names."""
    listed: Sequence[str] = list(names)
    return ", ".join(listed[:_SHOWN_NAMES]) + (", …" if len(listed) > _SHOWN_NAMES else "")
