"""All the work of a verification, counted before it is begun."""

from __future__ import annotations

from collections.abc import Sequence

from attnfuse.ir.graph import Model
from attnfuse.verify.graph.sites import Cut, ReplacedOperator, Site
from attnfuse.verify.lowering import Arithmetic
from attnfuse.verify.numbers import finer
from attnfuse.verify.numbers.site_draws import SCORES
from attnfuse.verify.numbers.site_numbers import key_of
from attnfuse.verify.numbers.work import cost, work


def whole(original: Model, fused: Model, feeds: int) -> float:
    """Runs of the whole graphs on that many inputs."""
    exact = cost(Arithmetic.FINER if finer.is_worth(original, fused) else Arithmetic.EXACT)
    return feeds * (work(original) + work(fused)) * (1 + exact)


def sites(pairs: Sequence[tuple[Site, Cut]]) -> float:
    """Of each site what it meets, and of those that are alike one on drawn operands."""
    alike = {key_of(part): part for _, part in pairs}
    return sum(met(part) for _, part in pairs) + sum(map(drawn, alike.values()))


def met(part: Cut) -> float:
    """Three runs of a site on what it meets."""
    both = work(part.original) + work(part.fused)
    exact = cost(Arithmetic.FINER if finer.is_worth(part.original, part.fused) else Arithmetic.EXACT)
    return work(part.fused) + exact * both


def drawn(part: Cut) -> float:
    """Of a site on drawn operands, in float64."""
    return len(SCORES) * alone(part)


def replaced(parts: Sequence[tuple[ReplacedOperator, Cut]]) -> float:
    """Of those that are alike one."""
    return sum(map(alone, {key_of(part): part for _, part in parts}.values()))


def alone(part: Cut) -> float:
    """Both graphs of a part in float64."""
    return cost(Arithmetic.EXACT) * (work(part.original) + work(part.fused))
