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
    """Of each site three runs on what it meets, and of those that are alike one on drawn operands."""
    alike: dict[bytes, float] = {}
    total = 0.0
    for _, part in pairs:
        both = work(part.original) + work(part.fused)
        exact = cost(Arithmetic.FINER if finer.is_worth(part.original, part.fused) else Arithmetic.EXACT)
        total += work(part.fused) + exact * both
        alike[key_of(part)] = both
    return total + len(SCORES) * cost(Arithmetic.EXACT) * sum(alike.values())


def replaced(parts: Sequence[tuple[ReplacedOperator, Cut]]) -> float:
    """Of those that are alike one, in float64."""
    alike = {key_of(part): work(part.original) + work(part.fused) for _, part in parts}
    return cost(Arithmetic.EXACT) * sum(alike.values())
