"""How large the numbers of a term get, where they are known: what leaves a type, and what may hide keys."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from attnfuse.api import MatchFailure, Model
from attnfuse_passes.attention.hiding import MASKING, absorbing, is_weighed
from attnfuse_passes.attention.mask_values import ConstantFolder
from attnfuse_passes.attention.normal_form import Bias, Fill

_ROUNDED = 1 + 2.0**-20
"""Factors that cancel, as log₂ e and ln 2, do so but for their rounding."""


def numbers_of(known: ConstantFolder, term: Bias) -> list[float] | None:
    """The numbers of a term, without its factor; None where they are not known."""
    value = known.value(term.value)
    numbers = known.possible(term.value) if value is None else np.unique(value.astype(np.float64))
    return None if numbers is None else [float(x) for x in numbers]


def is_extreme(known: ConstantFolder, term: Bias) -> bool:
    """Whether a number of the term's may be half as large as its type allows, or is not known."""
    numbers = numbers_of(known, term)
    return numbers is None or max(map(abs, numbers), default=0.0) >= term.added_in.largest / 2


def is_out_of_range(model: Model, known: ConstantFolder, term: Bias) -> bool:
    """Whether factors behind the term make of its numbers what the fused node does not."""
    return _is_spoiled(model, known, term) or _leaves_its_type(known, term)


def _is_spoiled(model: Model, known: ConstantFolder, term: Bias) -> bool:
    """Whether factors behind the term may take its finite numbers out of their type, on the way to what they are in
    the end; or turn what absorbs the scores into numbers far above them, where these are lost in every row."""
    if not term.peak:
        return False
    numbers = numbers_of(known, term)
    if numbers is None:
        return term.peak > max(abs(term.factor), 1.0) or (term.factor < 0 and not is_weighed(model, term.value))
    finite = [x for x in numbers if math.isfinite(x)]
    leaves = term.peak > max(abs(term.factor), 1.0)
    leaves = leaves and max(map(abs, finite), default=0.0) * term.peak > term.added_in.largest
    return leaves or (term.factor < 0 and min(finite, default=0.0) <= -absorbing(term.added_in))


def _leaves_its_type(known: ConstantFolder, term: Bias) -> bool:
    """Whether a factor behind a cast or a subtraction takes numbers of the term out of the type that they are added in,
    which they are not in there any more."""
    if term.inside is None or abs(term.factor) <= max(abs(term.inside), 1.0) * _ROUNDED:
        return False
    numbers = numbers_of(known, term)
    finite = None if numbers is None else [abs(x * term.factor) for x in numbers if math.isfinite(x)]
    return finite is None or max(finite, default=0.0) > term.added_in.largest


def check_scores_last(known: ConstantFolder, term: Bias) -> None:
    """Raise MatchFailure for a known number above 0 in which scores are lost: the keys that it draws attention to have
    all the weight, each the same."""
    limit, largest = absorbing(term.added_in) * abs(term.factor), _largest(known, term)
    if largest >= limit:
        expected = f"biases below {limit:g}, from which on scores are lost in {term.added_in}"
        raise MatchFailure("facts.bias_too_large", term.at, expected, f"one of {largest:g}")


def check_stays_hidden(known: ConstantFolder, terms: Sequence[Bias | Fill]) -> None:
    """Raise MatchFailure where known numbers that are added behind a fill are more than half of what it hides by."""
    for position, term in enumerate(terms):
        if isinstance(term, Fill) and math.isfinite(term.fill):
            back = sum(_largest(known, other) for other in terms[position + 1 :] if isinstance(other, Bias))
            if back > -term.fill / 2:
                expected, found = "a fill of −inf, or one below every score", f"{term.fill!r}, and {back:g} added to it"
                raise MatchFailure("facts.fill", term.at, expected, found)


def _largest(known: ConstantFolder, term: Bias) -> float:
    """The largest number that a term is known to add; 0 where it is none above."""
    numbers = numbers_of(known, term) or []
    return max((x * term.factor for x in numbers if 0 < x * term.factor < math.inf), default=0.0)


def may_be_low(model: Model, known: ConstantFolder, term: Bias | Fill) -> bool:
    """Whether a term may hide keys by a finite number."""
    if isinstance(term, Fill):
        return math.isfinite(term.fill)
    numbers = numbers_of(known, term)
    if numbers is None:
        return not is_weighed(model, term.value)
    return any(-math.inf < x * term.factor < MASKING for x in numbers)
