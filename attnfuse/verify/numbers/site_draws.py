"""Operands drawn for one attention alone.

Query and key such that scores are around 1 or around ±30, and, where the site has a mask, a length or a bias of its
own, such that its rows are padded on the left or the right, have a single key, or none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.verify.graph.fused_nodes import MalformedError, sizes
from attnfuse.verify.graph.sites import Cut, Site
from attnfuse.verify.numbers.inputs import Draw, draw_inputs, telling_draws

SCORES = {"mixed": 1.0, "large": 10.0}
"""Standard deviation of the scores; among thousands of normal numbers some are three of them out."""


@dataclass(frozen=True, slots=True)
class Operands:
    """What is drawn for a site, by the names of its leaves. `masked`: its masks or lengths are what it is about."""

    label: str
    values: dict[str, Array]
    masked: bool


def operands(site: Site, part: Cut, seed: int, *, no_fully_masked_rows: bool) -> list[Operands]:
    """Every draw of a site. With `no_fully_masked_rows` each row of each mask has hidden and seen keys."""
    made = [
        Operands(how, _scaled(site, part, draw_inputs(part.original, seed + n), spread), masked=False)
        for n, (how, spread) in enumerate(SCORES.items())
    ]
    draws: tuple[Draw, ...] = () if no_fully_masked_rows else telling_draws(part.original)
    for draw in draws:
        values = draw_inputs(part.original, seed + len(SCORES), draw)
        made.append(Operands(draw.label, _scaled(site, part, values, SCORES["mixed"]), masked=True))
    return made


def _scaled(site: Site, part: Cut, values: dict[str, Array], spread: float) -> dict[str, Array]:
    gain = _gain(site, part.fused, spread)
    for name in {site.entries["query"], site.entries["key"]} & values.keys():
        values[name] = (values[name].astype(np.float64) * gain).astype(values[name].dtype)
    return values


def _gain(site: Site, fused: Model, spread: float) -> float:
    """A score is the scale times a sum of as many products of normal numbers as a head has elements."""
    if site.attention is None:
        return 1.0
    types = [fused.type_of(v) for v in (site.attention.query, site.attention.key, site.attention.value)]
    try:
        query, key, value = (tensor_type for tensor_type in types if tensor_type is not None)
        head = sizes(site.attention, query, key, value).head_dim
    except (MalformedError, ValueError):
        return 1.0
    scale = abs(site.attention.scale)
    return float((spread / (scale * head**0.5)) ** 0.5) if scale and np.isfinite(scale) else 1.0
