"""The search, over figures that are made up: what is kept, reverted and given back, and how much is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pytest

from attnfuse.tuning.choices import BFLOAT16, CHOICES, FAST, FORMULA, HIGH, Assignment, Choice
from attnfuse.tuning.search import Found, search
from attnfuse.tuning.units import Group

INF = math.inf
OWN = 1e-7
SECONDS: Mapping[Choice, float] = {FORMULA: 10.0, HIGH: 4.0, BFLOAT16: 4.0, FAST: 3.0}


@dataclass
class Figures:
    """Seconds and errors that add up over units: errors as squares, over that of the formula."""

    errors: Callable[[int, Choice], float]
    seconds_of: Callable[[int, Choice], float] = lambda _, choice: SECONDS[choice]
    measured: list[Assignment] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    expected: int = 0
    prepared: list[Assignment] = field(default_factory=list)

    def seconds(self, assignment: Assignment) -> float:
        return 100 + sum(self.seconds_of(unit, choice) for unit, choice in enumerate(assignment))

    def error(self, assignment: Assignment, what: str) -> float:
        self.measured.append(assignment)
        self.said.append(what)
        own = [self.errors(unit, choice) for unit, choice in enumerate(assignment) if choice != FORMULA]
        return math.sqrt(OWN**2 + sum(error**2 for error in own))

    def expect(self, runs: int) -> None:
        self.expected += runs

    def prepare(self, assignments: Iterable[Assignment]) -> None:
        self.prepared += assignments


def found(figures: Figures, groups: list[Group], budget: float) -> Found:
    units = sum(len(group.units) for group in groups)
    result = search(figures, groups, {choice.name: (choice,) * units for choice in CHOICES}, budget)
    assert len(figures.measured) == len(set(figures.measured)) == result.measured, "each is measured once"
    assert set(figures.prepared) <= set(figures.measured), "nothing is measured that nobody asks for"
    if result.best is not None:
        assert result.best.error <= budget
        kept = [trial.seconds for trial in result.uniform.values() if trial.error <= budget]
        assert result.best.seconds <= min(kept, default=INF)
    return result


def groups(*sizes: int) -> list[Group]:
    made, first = [], 0
    for size in sizes:
        made.append(Group(tuple(range(first, first + size)), CHOICES))
        first += size
    return made


def usual(_: int, choice: Choice) -> float:
    return {HIGH: 1e-4, BFLOAT16: 1e-3, FAST: 3e-4}[choice]


def chosen(result: Found) -> Assignment:
    assert result.best is not None
    return result.best.assignment


def test_the_cheapest_that_keeps_the_budget_needs_no_search() -> None:
    figures = Figures(usual)
    result = found(figures, groups(3, 2), 1e-2)
    assert chosen(result) == (FAST,) * 5
    assert result.measured == len(CHOICES)


def test_nothing_keeps_a_budget_below_all_errors() -> None:
    figures = Figures(usual)
    result = found(figures, groups(3), OWN / 2)
    assert result.best is None
    assert result.base.error == OWN
    assert result.base.assignment == (FORMULA,) * 3


def test_what_overflows_is_reverted_and_nothing_else() -> None:
    """One unit of a group of many overflows in float16, in any precision; bfloat16 is too coarse."""

    def errors(unit: int, choice: Choice) -> float:
        return INF if unit == 5 and choice in (HIGH, FAST) else usual(unit, choice)

    figures = Figures(errors)
    result = found(figures, groups(8, 2), 9.9e-4)
    assert [number for number, choice in enumerate(chosen(result)) if choice == FORMULA] == [5]
    assert result.uniform[HIGH.name].error == result.uniform[FAST.name].error == INF
    assert result.uniform[BFLOAT16.name].error > 9.9e-4
    kept = next(trial for trial in result.uniform.values() if trial.error <= 9.9e-4)
    assert kept.assignment == (FORMULA,) * 10
    assert result.measured <= 20


def test_of_many_alike_one_may_be_far_off() -> None:
    """Its error is finite, and all others together are a hundredth of it."""
    figures = Figures(lambda unit, choice: 0.1 if unit == 2 else usual(unit, choice))
    result = found(figures, groups(8), 9.9e-4)
    assert [number for number, choice in enumerate(chosen(result)) if choice == FORMULA] == [2]
    assert result.measured <= 16


def test_bfloat16_is_for_what_overflows() -> None:
    def errors(unit: int, choice: Choice) -> float:
        return INF if unit == 1 and choice in (HIGH, FAST) else usual(unit, choice)

    figures = Figures(errors)
    assert chosen(found(figures, groups(1, 1, 1), 1.5e-3)) == (FAST, BFLOAT16, FAST)
    assert not any(one[0] == BFLOAT16 or one[2] == BFLOAT16 for one in figures.measured[len(CHOICES) :])


def test_bfloat16_is_not_tried_where_float16_holds_all() -> None:
    figures = Figures(usual, lambda _, choice: 10.0 if choice == FORMULA else 4.0)
    result = found(figures, [Group((n,), (FORMULA, HIGH, BFLOAT16)) for n in range(2)], 1.2e-4)
    assert sorted(choice.name for choice in chosen(result)) == [HIGH.name, FORMULA.name]
    assert not any(BFLOAT16 in one for one in figures.measured[len(CHOICES) :])


def test_errors_per_saved_second_decide() -> None:
    """Three groups are too much together: the one that goes saves the least for its error."""
    prices = {0: 2.0, 1: 9.5, 2: 2.0}

    def seconds(unit: int, choice: Choice) -> float:
        return 10.0 if choice == FORMULA else prices[unit]

    result = found(Figures(lambda _, __: 7e-4, seconds), groups(1, 1, 1), 1e-3)
    assert [choice == FORMULA for choice in chosen(result)] == [False, True, False]


def test_scores_in_float16_are_not_for_nothing() -> None:
    """Where fast precision saves no time over high it is not even tried."""
    figures = Figures(usual, lambda _, choice: 10.0 if choice == FORMULA else 4.0)
    result = found(figures, groups(2, 2), 1.8e-4)
    assert chosen(result).count(HIGH) == 3
    assert not any(FAST in one for one in figures.measured[len(CHOICES) :])


def test_errors_that_do_not_add_up_are_found_in_the_whole() -> None:
    """Together they are three times as far off as the sum of their squares says."""

    class Coupled(Figures):
        def error(self, assignment: Assignment, what: str) -> float:
            changed = sum(choice != FORMULA for choice in assignment)
            return super().error(assignment, what) * (3 if changed > 1 else 1)

    result = found(Coupled(usual), groups(1, 1, 1, 1), 1.1e-3)
    assert sorted(choice.name for choice in chosen(result)) == [FAST.name, *[HIGH.name] * 3]


def test_a_source_that_is_coarser_than_the_fused_node_is_no_base() -> None:
    """Of 16-bit sources the formula rounds its scores: fused is nearer to float64, and cheaper."""

    class Low(Figures):
        def error(self, assignment: Assignment, what: str) -> float:
            self.measured.append(assignment)
            return math.sqrt(sum({FORMULA: 4e-4, HIGH: 2e-4, FAST: 8e-4}[choice] ** 2 for choice in assignment))

    low = [Group((0, 1), (FORMULA, HIGH, FAST))]
    uniform = {choice.name: (choice,) * 2 for choice in (FORMULA, HIGH, FAST)}
    result = search(Low(usual), low, uniform, 5e-4)
    assert result.base.assignment == (HIGH, HIGH)
    assert chosen(result) == (HIGH, HIGH)
    # One of the two may be fast: the second half of the group is not, as the first one was.
    assert chosen(search(Low(usual), low, uniform, 9e-4)) == (FAST, HIGH)


def test_an_option_that_costs_more_is_not_measured() -> None:
    """Short sequences: casts cost more than scores in memory."""

    def seconds(unit: int, choice: Choice) -> float:
        return {0: 12.0, 1: 2.0}[unit] if choice != FORMULA else 10.0

    figures = Figures(usual, seconds)
    result = found(figures, groups(1, 1), 2e-4)
    assert chosen(result) == (FORMULA, HIGH)
    assert [a for a in figures.measured[len(CHOICES) :] if a[0] != FORMULA] == []


@pytest.mark.parametrize("budget", [2e-4, 4e-4, 6e-4, 8e-4, 1.2e-3])
def test_it_is_as_good_as_all_assignments_of_a_few_units(budget: float) -> None:
    """Held to the best of all 256; what is left to the greedy search costs a tenth at the most."""
    errors = {0: 1.0, 1: 2.0, 2: 0.5, 3: 1.5}
    prices = {0: 1.0, 1: 0.5, 2: 0.8, 3: 0.2}
    figures = Figures(
        lambda unit, choice: errors[unit] * usual(unit, choice),
        lambda unit, choice: 10.0 if choice == FORMULA else SECONDS[choice] * prices[unit],
    )
    result = found(figures, groups(1, 1, 1, 1), budget)
    every = [(a, b, c, d) for a in CHOICES for b in CHOICES for c in CHOICES for d in CHOICES]
    keeping = [figures.seconds(one) for one in every if figures.error(one, "") <= budget]
    assert result.best is not None
    assert result.best.seconds <= 1.1 * min(keeping)


def test_what_is_independent_is_told_before_it_is_asked_for() -> None:
    figures = Figures(usual)
    found(figures, groups(1, 1, 1, 1), 4e-4)
    alone = figures.measured[len(CHOICES) : len(CHOICES) + 4]
    assert [one.count(FORMULA) for one in alone] == [3] * 4
    assert figures.prepared == [*((choice,) * 4 for choice in CHOICES), *alone]
