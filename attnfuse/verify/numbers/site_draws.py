"""Operands drawn for one attention alone.

Query and key such that scores are around 1 or around ±30, and, where the site has a mask, a length or a bias of its
own, such that its rows are padded on the left or the right, have a single key, or none.

What is drawn may be scaled by what the scores are to be where it is query and key. Where it only becomes these, by
weights of the site's own, the scores are measured: with scores of some hundreds a softmax would be a maximum, which
hides a wrong scale, and a row without a key would not be what the report assumes of it (`baseline.LOST`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.verify.graph.fused_nodes import MalformedError, sizes
from attnfuse.verify.graph.sites import Cut, Site
from attnfuse.verify.lowering import Arithmetic
from attnfuse.verify.numbers.baseline import LOST
from attnfuse.verify.numbers.comparison import Side
from attnfuse.verify.numbers.inputs import OPEN, Draw, draw_inputs, telling_draws
from attnfuse.verify.numbers.scores import scores_of

SCORES = {"mixed": 1.0, "large": 10.0}
"""Standard deviation of the scores; among thousands of normal numbers some are three of them out."""

_LARGEST = 3.0
"""Standard deviations that the largest score is out where scores are scaled by what was measured."""
_TRIALS = 4
"""A score goes by the square of the factor, or by the factor alone, or by less where a weight is added: half of what
is missing is left each time, at most, of what can be reached."""


@dataclass(frozen=True, slots=True)
class Operands:
    """What is drawn for a site, by the names of its leaves. `masked`: its masks or lengths are what it is about."""

    label: str
    values: dict[str, Array]
    masked: bool


def operands(site: Site, part: Cut, original: Side, seed: int, *, no_fully_masked_rows: bool) -> list[Operands]:
    """Every draw of a site; `original` is the original's part of it, with its weights.

    With `no_fully_masked_rows` each row of each mask has hidden and seen keys.
    Raises VerificationError where the original's part cannot be run.
    """
    made: list[Operands] = []
    for n, (how, spread) in enumerate(SCORES.items()):
        made += _drawn(site, part, original, seed + n, spread, {how: OPEN}, masked=False)
    draws = {} if no_fully_masked_rows else {draw.label: draw for draw in telling_draws(part.original)}
    return made + _drawn(site, part, original, seed + len(SCORES), SCORES["mixed"], draws, masked=True)


def _drawn(
    site: Site, part: Cut, original: Side, seed: int, spread: float, draws: Mapping[str, Draw], *, masked: bool
) -> list[Operands]:
    """Draws of one seed, by their labels: query and key are the same in all, whatever is drawn beside them."""
    drawn = {label: draw_inputs(part.original, seed, draw) for label, draw in draws.items()}
    if not drawn:
        return []
    gain = _gain(site, part, original, next(iter(drawn.values())), spread)
    return [Operands(label, _scaled(site, values, gain), masked) for label, values in drawn.items()]


def _scaled(site: Site, values: dict[str, Array], gain: float) -> dict[str, Array]:
    names = {site.entries["query"], site.entries["key"]}
    return {
        name: (array.astype(np.float64) * gain).astype(array.dtype) if name in names else array
        for name, array in values.items()
    }


def _gain(site: Site, part: Cut, original: Side, values: dict[str, Array], spread: float) -> float:
    """What makes scores of that spread of query and key."""
    gain = _expected_gain(site, part.fused, spread)
    has_weights = any(True for _ in part.original.parameters())
    return _measured_gain(site, original, values, gain, spread) if has_weights else gain


def _expected_gain(site: Site, fused: Model, spread: float) -> float:
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


def _measured_gain(site: Site, original: Side, values: dict[str, Array], gain: float, spread: float) -> float:
    """The gain with which the largest score is one to LOST standard deviations out; or the nearest that was found."""
    scores = scores_of(original.model)
    for _ in range(_TRIALS if scores else 0):
        largest = float(original.run(Arithmetic.PLAIN, _scaled(site, values, gain), peaks=scores)[-1])
        if not (0 < largest < math.inf) or spread <= largest <= LOST * spread:
            break
        gain *= math.sqrt(_LARGEST * spread / largest)
    return gain
