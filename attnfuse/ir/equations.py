"""Equations of einsum: which index each axis of the operands and of the result ranges over.

The notation is NumPy's, as MindSpore's `ops.einsum` takes it: a letter for each axis, `...` for those before, between
or behind them that broadcast, and a result that may be left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Labels: TypeAlias = tuple[str, ...]
"""The index of each axis: a letter, or the number of an axis that `...` stands for, counted from the last of them."""


@dataclass(frozen=True, slots=True)
class Equation:
    """The axes of each operand, and those of the result."""

    operands: tuple[Labels, ...]
    result: Labels


def read_equation(text: str, ranks: Sequence[int]) -> Equation | None:
    """The equation for operands of so many axes; None for a text that is none, or does not go with them."""
    before, arrow, after = text.replace(" ", "").partition("->")
    terms = before.split(",")
    if len(terms) != len(ranks):
        return None
    operands = [_labels(term, rank) for term, rank in zip(terms, ranks, strict=True)]
    known = [labels for labels in operands if labels is not None]
    if len(known) != len(operands):
        return None
    spread = max((_spread(labels) for labels in known), key=len, default=())
    result = _result(after, spread) if arrow else (*spread, *_single(known))
    if result is None or len(set(result)) != len(result) or not set(result) <= {x for one in known for x in one}:
        return None
    return Equation(tuple(known), result)


def _labels(term: str, rank: int) -> Labels | None:
    """The axes of one operand."""
    head, dots, tail = term.partition("...")
    hidden = rank - len(head) - len(tail)
    if (not (head + tail).isalpha() and head + tail) or hidden < 0 or (hidden and not dots):
        return None
    return (*head, *(str(number) for number in range(hidden, 0, -1)), *tail)


def _result(term: str, spread: Labels) -> Labels | None:
    head, dots, tail = term.partition("...")
    if not (head + tail).isalpha() and head + tail:
        return None
    return (*head, *(spread if dots else ()), *tail)


def _spread(labels: Labels) -> Labels:
    return tuple(label for label in labels if label.isdigit())


def _single(operands: Sequence[Labels]) -> list[str]:
    """The letters of a result that is left out: those that stand once, in the order of the alphabet."""
    counts = Counter(label for labels in operands for label in labels if label.isalpha())
    return sorted(label for label, count in counts.items() if count == 1)
