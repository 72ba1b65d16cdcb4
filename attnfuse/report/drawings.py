"""Coordinates of what the HTML report draws: memory over a run, and one site before and after.

Only numbers and texts: the template has the markup, so that nothing that a graph calls itself is taken for any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attnfuse.cost.records import Comparison
from attnfuse.decisions import SiteRecord
from attnfuse.report.units import human_bytes

_LEFT, _TOP, _WIDTH, _HEIGHT = 64.0, 10.0, 400.0, 140.0
_LINE = re.compile(r"\S+ = ([^\s(]+)\(.*\) : (.+)", re.DOTALL)
_MOST_BOXES = 9
_BOX, _STEP = 34, 52


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across a drawing, and what it stands for."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class MemoryDrawing:
    """Points of the two lines, "x,y" each; `result_area` is closed along the axis."""

    source: str
    result: str
    result_area: str
    ticks: tuple[Tick, ...]
    summary: str


def memory_drawing(cost: Comparison) -> MemoryDrawing | None:
    """Both graphs over their runs, in shares of their kernels; None where that is not known."""
    if cost.before is None or cost.after is None or not cost.before.memory or not cost.after.memory:
        return None
    most = max(*cost.before.memory, *cost.after.memory, 1)
    source, result = (_points(estimate.memory, most) for estimate in (cost.before, cost.after))
    floor = _TOP + _HEIGHT
    return MemoryDrawing(
        source,
        result,
        f"{_LEFT:g},{floor:g} {result} {_LEFT + _WIDTH:g},{floor:g}",
        tuple(Tick(_place(share, 1.0), human_bytes(round(most * share))) for share in (0.0, 0.5, 1.0)),
        f"Peak {human_bytes(cost.before.peak_bytes)} in the source, {human_bytes(cost.after.peak_bytes)} in the result",
    )


def _points(memory: Sequence[int], most: int) -> str:
    step = _WIDTH / max(len(memory) - 1, 1)
    return " ".join(f"{_LEFT + at * step:.1f},{_place(held, most):.1f}" for at, held in enumerate(memory))


def _place(value: float, most: float) -> float:
    return _TOP + _HEIGHT * (1 - value / most)


@dataclass(frozen=True, slots=True)
class Box:
    """One operator: its place from the top, its name, the type it makes, and whether that is a matrix of scores."""

    top: int
    name: str
    type: str
    is_score: bool = False


@dataclass(frozen=True, slots=True)
class SiteDrawing:
    """The operators of a site in the source, one below the other, and the one that stands for them."""

    id: str
    source: tuple[Box, ...]
    result: Box
    height: int
    saved: str


def site_drawing(sites: Iterable[SiteRecord]) -> SiteDrawing | None:
    """The fused site that saves most of those whose formula is known; None where there is none."""
    fused = [site for site in sites if site.status == "fused" and site.form == "formula" and site.region]
    if not fused:
        return None
    site = max(fused, key=lambda one: one.score_bytes_saved)
    nodes = [(found[1], found[2]) for line in site.region if (found := _LINE.fullmatch(line))]
    if len(nodes) > _MOST_BOXES:
        head = _MOST_BOXES // 2
        left = len(nodes) - 2 * head
        nodes = [*nodes[:head], (f"… {left} more", ""), *nodes[-head:]]
    lengths = (site.facts.query_length, site.facts.key_length)
    source = tuple(
        Box(10 + at * _STEP, _short(name), _short(made), _is_score(made, lengths))
        for at, (name, made) in enumerate(nodes)
    )
    height = 10 + max(len(source) - 1, 0) * _STEP + _BOX + 10
    about = " ".join(filter(None, (site.layout, site.compute_dtype)))
    result = Box(10, _short(site.operator or ""), _short(about))
    return SiteDrawing(site.id, source, result, height, human_bytes(site.score_bytes_saved))


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:29]}…"


def _is_score(made: str, lengths: tuple[int | None, int | None]) -> bool:
    found = re.search(r"(\d+), (\d+)\]$", made)
    return found is not None and (int(found[1]), int(found[2])) == lengths
