"""The tables of docs/real-weights.md: a row for each policy of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.realweights.compiling import Error, Result

_BEGIN, _END = "<!-- tables: {} -->", "<!-- end of tables: {} -->"
MARGIN = 1.25
"""How much further the outputs may be from float64 than the formula in the same types (docs/verification.md)."""


def ratio(errors: Iterable[Error]) -> float:
    """The largest share of its own formula's error that one has; 0 of none."""
    return max((one.fused / one.own if one.own else float(one.fused > 0) for one in errors), default=0.0)


def holds(result: Result) -> bool:
    """Whether each site is no further off than its formula, but for their scatter, and outputs within the margin."""
    sites, outputs = result.errors_of_sites, result.errors_of_outputs
    return bool(outputs) and all(one.fused <= one.allowed for one in sites) and ratio(outputs) <= MARGIN


def table(results: Sequence[Result]) -> str:
    """Markdown of one model's results."""
    compared = list(dict.fromkeys(name for one in results for name in one.figures))
    heading = ["policy", "sites fused", "site, of its formula's error", "output", "its formula's", *compared]
    lines = [_row(heading), _row(["---"] * len(heading))]
    lines += [_row(_cells(one, compared)) for one in results]
    return "\n".join(lines) + "\n"


def _cells(one: Result, compared: Sequence[str]) -> list[str]:
    if not one.errors_of_outputs:
        return [one.policy, f"{one.fused} of {one.sites}", *["–"] * (3 + len(compared))]
    worst = max(one.errors_of_outputs, key=lambda error: error.fused)
    figures = [f"{one.figures[name]:.3g}" if name in one.figures else "–" for name in compared]
    return [
        one.policy,
        f"{one.fused} of {one.sites}",
        f"at most ×{ratio(one.errors_of_sites):.2f}",
        f"{worst.fused:.2e}",
        f"{worst.own:.2e}",
        *figures,
    ]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def put(page: Path, model: str, text: str) -> None:
    """Put tables in the place of those that the page has of a model. Raises ValueError where it has none."""
    begin, end = _BEGIN.format(model), _END.format(model)
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{page} has no lines {begin} and {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
