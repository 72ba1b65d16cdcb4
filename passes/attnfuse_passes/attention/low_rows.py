"""Masks before a softmax by hand that subtracts nothing from a row, or something else than its largest number.

A Softmax gives a row of one huge negative number the mean of value, as it subtracts the largest number first. exp of
such a number is 0, and a row of zeros has no softmax: 0 / 0. So a fill that hides a key is as good as −∞ there, and
what is added to the scores must be known to leave every row a key, or not to reach that low.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attnfuse.api import MatchFailure
from attnfuse_passes.attention.hiding import HIDING
from attnfuse_passes.attention.mask_values import ConstantFolder
from attnfuse_passes.attention.normal_form import Attention, Bias, Fill
from attnfuse_passes.attention.term_numbers import check_stays_hidden

# exp(−4) is far from what any float type rounds to 0, exp(−17) is not in float16; scores come on top.
_HARMLESS = 4.0


def settled(
    attention: Attention, terms: Sequence[Bias | Fill], known: ConstantFolder, *, no_fully_masked_rows: bool
) -> tuple[Bias | Fill, ...]:
    """The terms as the rest of planning may read them, which takes a softmax to subtract the largest number of a row.

    Raises MatchFailure where a row may be low as a whole, and would give something else than that, and where a fill
    does not hide a key from what is added behind.
    """
    check_stays_hidden(known, terms)
    if attention.low_rows == "mean" or no_fully_masked_rows:
        return tuple(terms)
    found: list[Bias | Fill] = []
    for term in terms:
        if isinstance(term, Fill):
            if math.isfinite(term.fill) and attention.low_rows != "nan":
                raise _failure(term, repr(term.fill))
            found.append(replace(term, fill=-math.inf) if term.fill <= HIDING else term)
            continue
        if not _is_harmless(term, known):
            raise _failure(term, "a bias that may lower all of a row")
        found.append(term)
    return tuple(found)


def _failure(term: Bias | Fill, found: str) -> MatchFailure:
    expected = "a softmax that subtracts the largest number of each row, behind its masks"
    return MatchFailure("facts.fully_masked_rows", term.at, expected, found)


def _is_harmless(term: Bias, known: ConstantFolder) -> bool:
    """Whether each row is left a number that is not low; −∞ in all of them is no number in a softmax either."""
    # Clamped, −∞ is a number like any other.
    minus_infinity = math.nan if term.clamped else -math.inf
    numbers = known.value(term.value)
    if numbers is None:
        possible = known.possible(term.value)
        return possible is not None and all(
            x * term.factor >= -_HARMLESS or x * term.factor == minus_infinity for x in possible
        )
    with np.errstate(invalid="ignore"):
        scaled = numbers.astype(np.float64) * term.factor
    fine = (scaled >= -_HARMLESS) | (scaled == minus_infinity)
    return bool(fine.all())
