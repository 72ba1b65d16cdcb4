"""What of docs/real-weights.md is written by runs: tables of a row for each policy, and what was found beside them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from attnfuse.names import counted
from attnfuse.report.units import human_seconds
from attnfuse.verify.numbers.comparison import SCATTER
from tools.realweights.compiling import Error, Result
from tools.realweights.sites import SiteErrors, together
from tools.realweights.tuning import FLOAT16, FORMULA, Tuned

_BEGIN, _END = "<!-- tables: {} -->", "<!-- end of tables: {} -->"
MARGIN = 1.25
"""How much further the outputs may be from float64 than the formula in the same types (docs/verification.md)."""


def ratio(errors: Iterable[Error]) -> float:
    """The largest share of its own formula's error that one has; 0 of none."""
    return max((one.fused / one.own if one.own else float(one.fused > 0) for one in errors), default=0.0)


def holds(result: Result) -> bool:
    """Whether each site is no further off than its formula, but for their scatter, and outputs within the margin."""
    sites, outputs = result.errors_of_sites, result.errors_of_outputs
    is_scatter = all(one.above <= SCATTER for one in result.over_inputs)
    return bool(outputs) and all(one.fused <= one.allowed for one in sites) and is_scatter and ratio(outputs) <= MARGIN


def text(results: Sequence[Result]) -> str:
    """Markdown of one model's results: the table, and what was found beside it."""
    parts = [table(results)]
    over = [_over_inputs(one.policy, one.over_inputs) for one in results if one.over_inputs]
    parts += ["".join(over)] if over else []
    parts += [_tuned(one.tuned) for one in results if one.tuned is not None]
    return "\n".join(parts)


def table(results: Sequence[Result]) -> str:
    """A row for each policy."""
    compared = list(dict.fromkeys(name for one in results for name in one.figures))
    heading = [
        "policy",
        "sites fused",
        "estimate",
        "site, of its formula's error",
        "output",
        "its formula's",
        *compared,
    ]
    lines = [_row(heading), _row(["---"] * len(heading))]
    lines += [_row(_cells(one, compared)) for one in results]
    return "\n".join(lines) + "\n"


def _cells(one: Result, compared: Sequence[str]) -> list[str]:
    known = [one.policy, f"{one.fused} of {one.sites}", human_seconds(one.seconds)]
    if not one.errors_of_outputs:
        return [*known, *["–"] * (3 + len(compared))]
    worst = max(one.errors_of_outputs, key=lambda error: error.fused)
    figures = [f"{one.figures[name]:.3g}" if name in one.figures else "–" for name in compared]
    share = f"at most ×{ratio(one.errors_of_sites):.2f}" if one.errors_of_sites else "–"
    return [*known, share, f"{worst.fused:.2e}", f"{worst.own:.2e}", *figures]


def _over_inputs(policy: str, several: Sequence[SiteErrors]) -> str:
    """What sites are off over several inputs, of their formulas' errors."""
    above = [one for one in several if one.ratio > 1]
    most, furthest = max(several, key=lambda one: one.ratio), max(several, key=lambda one: one.above)
    whole = together(several)
    return _wrapped(
        f"* {policy}, over {len(whole.fused)} inputs: {len(above)} of {counted(len(several), 'site')} above the "
        f"formula's error, the furthest by {_percent(most.ratio - 1)}, the surest by {furthest.above:.1f} standard "
        f"errors; all together {_percent(whole.ratio - 1)}, give or take {_percent(whole.standard_error).lstrip('+')}.",
        "  ",
    )


def _percent(share: float) -> str:
    return f"{100 * share:+.2f} %".replace("-", "−")


def _tuned(found: Tuned) -> str:
    """What the budget was, what came of it, and the policy itself."""
    formula, float16 = found.of(FORMULA), found.of(FLOAT16)
    why = (
        "and the budget leaves a quarter of the squared error that the second adds"
        if float16.error > formula.error
        else "which is no more than the rest of the graph is off by itself, and the budget is the formula's error"
    )
    said = _wrapped(
        f"The tuned policy was given a budget of {found.budget:.2e}: the formula is off by {formula.error:.2e} in "
        f"float32, float16 in high precision everywhere by {float16.error:.2e}, {why}. "
        f"{counted(found.measured, 'graph')} were measured. It is off by {found.error:.2e}, and estimated at "
        f"{human_seconds(found.seconds)}; the cheapest policy for all sites that keeps the budget, "
        f"{found.cheapest.policy}, at {human_seconds(found.cheapest.seconds)}. The formula everywhere is estimated at "
        f"{human_seconds(formula.seconds)}, float16 in high precision everywhere at {human_seconds(float16.seconds)}."
    )
    return f"{said}\n```toml\n{found.policy}```\n"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent) + "\n"


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
