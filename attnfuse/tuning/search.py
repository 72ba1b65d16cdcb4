"""The cheapest assignment of forms whose error keeps a budget, by sensitivity. Knows no graph.

1. Each uniform policy is measured. The one with the least error is the base; where it breaks the budget nothing that
   was tried keeps it.
2. Each group of units that are alike gets the cheapest of its options, by the estimate of the whole with that group
   alone changed; an option that saves nothing over the base is left out. Where the whole keeps the budget that is all.
3. Else each group is measured by itself, in the base: what it adds to the error. Errors of roundings that are
   independent add up as squares. Groups are reverted, each to its next better option, the most error per time that was
   saved first, until the sum keeps the budget; then the whole is measured, and more are reverted where it does not.
4. What was reverted is given back where the whole keeps the budget with it: by group, and else by halves of a group, so
   that of many alike only those that are far off, or overflow, stay reverted.

Of all that was measured the cheapest is taken that keeps the budget, a uniform policy among them. The same figures give
the same result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from attnfuse.names import counted
from attnfuse.tuning.choices import BFLOAT16, CHOICES, FAST, HIGH, Assignment, Choice
from attnfuse.tuning.units import Group


class Laboratory(Protocol):
    """Estimates and measures assignments."""

    def seconds(self, assignment: Assignment) -> float:
        """The estimated time of the graph that it gives."""

    def error(self, assignment: Assignment, what: str) -> float:
        """The measured error of that graph; `what` says to people what is measured."""

    def expect(self, runs: int) -> None:
        """So many more are to be measured."""

    def prepare(self, assignments: Iterable[Assignment]) -> None:
        """Errors of all of these will be asked for: they may be measured side by side."""


@dataclass(frozen=True, slots=True)
class Trial:
    """An assignment with its figures: seconds of one run, estimated, and the error, measured."""

    assignment: Assignment
    seconds: float
    error: float


@dataclass(frozen=True, slots=True)
class Found:
    """What was found. `best` keeps the budget, None where nothing does; `base` has the least error of the uniform ones.

    `alone` is the error of the base with one group, by number, changed to an option, `saved` the seconds that saves; of
    those that were asked for.
    """

    best: Trial | None
    base: Trial
    uniform: Mapping[str, Trial]
    alone: Mapping[tuple[int, Choice], float]
    saved: Mapping[tuple[int, Choice], float]
    measured: int


def search(laboratory: Laboratory, groups: Sequence[Group], uniform: Mapping[str, Assignment], budget: float) -> Found:
    """The cheapest assignment that keeps the budget. `uniform` are those of uniform policies, by name."""
    return _Search(laboratory, groups, budget).run(uniform)


@dataclass(slots=True)
class _Search:
    laboratory: Laboratory
    groups: Sequence[Group]
    budget: float
    trials: dict[Assignment, Trial] = field(default_factory=dict)
    ladders: list[tuple[Choice, ...]] = field(default_factory=list)
    """Of each group its options, the cheapest first; the base's at the end."""
    saved: dict[tuple[int, Choice], float] = field(default_factory=dict)
    alone: dict[tuple[int, Choice], float] = field(default_factory=dict)
    base: Trial = field(default_factory=lambda: Trial((), 0.0, math.inf))

    def run(self, uniform: Mapping[str, Assignment]) -> Found:
        self.laboratory.expect(len(set(uniform.values())))
        self.laboratory.prepare(uniform.values())
        tried = {name: self.measure(assignment, f"{name} everywhere") for name, assignment in uniform.items()}
        self.base = min(tried.values(), key=lambda trial: (trial.error, trial.seconds))
        if self.base.error <= self.budget:
            self.ladders = [self.ladder(number) for number in range(len(self.groups))]
            self.descend()
        keeping = [trial for trial in self.trials.values() if trial.error <= self.budget]
        best = min(keeping, key=lambda trial: (trial.seconds, trial.error), default=None)
        return Found(best, self.base, tried, self.alone, self.saved, len(self.trials))

    def measure(self, assignment: Assignment, what: str) -> Trial:
        """The figures of an assignment; measured once."""
        if assignment not in self.trials:
            seconds = self.laboratory.seconds(assignment)
            self.trials[assignment] = Trial(assignment, seconds, self.laboratory.error(assignment, what))
        return self.trials[assignment]

    def ladder(self, number: int) -> tuple[Choice, ...]:
        """The options of a group that save time over the base's, the cheapest first, then the base's."""
        group = self.groups[number]
        own = self.base.assignment[group.units[0]]
        seconds = {}
        for option in group.options:
            seconds[option] = self.laboratory.seconds(changed(self.base.assignment, group.units, option))
            self.saved[number, option] = self.base.seconds - seconds[option]
        # Fast precision rounds all that high does, and the scores: without a saving there is nothing for it.
        useless = {FAST} if HIGH in seconds and seconds[HIGH] <= seconds.get(FAST, math.inf) else set()
        better = [option for option in seconds if seconds[option] < self.base.seconds and option != own]
        taken = [option for option in better if option not in useless]
        return (*sorted(taken, key=lambda option: (seconds[option], CHOICES.index(option))), own)

    def descend(self) -> None:
        """Revert from the cheapest, then give back."""
        at = [0] * len(self.groups)
        current = self.measure(self.assigned(at), "the cheapest form of each group")
        if current.error <= self.budget:
            return
        self.laboratory.expect(sum(len(ladder) > 1 for ladder in self.ladders) + 1)
        self.laboratory.prepare(self.alone_in_base(number, ladder[0]) for number, ladder in enumerate(self.ladders))
        current = self.reverted(at)
        for number in sorted(range(len(self.groups)), key=lambda n: -self.price(n, 0, at[n])):
            for option in self.ladders[number][: at[number]]:
                if self.is_coarser(number, option):
                    continue
                own = self.ladders[number][at[number]]
                units = tuple(unit for unit in self.groups[number].units if current.assignment[unit] == own)
                current, _ = self.given_back(current, units, option, self.excess_of(number, option))

    def assigned(self, at: Sequence[int]) -> Assignment:
        """The base, with each group at that place of its ladder."""
        made = self.base.assignment
        for number, place in enumerate(at):
            made = changed(made, self.groups[number].units, self.ladders[number][place])
        return made

    # --- reverting

    def reverted(self, at: list[int]) -> Trial:
        """The first whole that keeps the budget, reverting one group after the other; `at` are their places then."""
        scale = 1.0
        while True:
            excess = (self.excess_of(number, self.ladders[number][place]) for number, place in enumerate(at))
            total = self.base.error**2 + sum(excess)
            if total * scale <= self.budget**2:
                whole = self.measure(self.assigned(at), "all groups together")
                if whole.error <= self.budget:
                    return whole
                scale = whole.error**2 / total if math.isfinite(whole.error) and total else scale
            left = [number for number, place in enumerate(at) if place + 1 < len(self.ladders[number])]
            if not left:
                return self.base  # which keeps it
            worst = max(left, key=lambda number: self.worth(number, at[number]))
            at[worst] = self.next_place(worst, at[worst])

    def excess_of(self, number: int, option: Choice) -> float:
        """What a group adds to the square of the base's error by that option, as measured in the base alone."""
        assignment = self.alone_in_base(number, option)
        trial = self.measure(assignment, f"group {number + 1} of {len(self.groups)} alone, {option.name}")
        self.alone[number, option] = trial.error
        return max(trial.error**2 - self.base.error**2, 0.0)

    def alone_in_base(self, number: int, option: Choice) -> Assignment:
        """The base with one group changed."""
        return changed(self.base.assignment, self.groups[number].units, option)

    def next_place(self, number: int, place: int) -> int:
        """The next option that adds less; the base's adds nothing."""
        ladder = self.ladders[number]
        excess = self.excess_of(number, ladder[place])
        last = len(ladder) - 1
        for after in range(place + 1, last):
            if not self.is_coarser(number, ladder[after]) and self.excess_of(number, ladder[after]) < excess:
                return after
        return last

    def is_coarser(self, number: int, option: Choice) -> bool:
        """Whether another option rounds less for no more: bfloat16 is for what float16 cannot hold."""
        has_other = option == BFLOAT16 and HIGH in self.ladders[number]
        return has_other and math.isfinite(self.excess_of(number, HIGH))

    def price(self, number: int, cheap: int, dear: int) -> float:
        """Seconds that one place of a ladder costs more than another."""
        ladder = self.ladders[number]
        return self.saved[number, ladder[cheap]] - self.saved[number, ladder[dear]]

    def worth(self, number: int, place: int) -> tuple[float, float]:
        """The error (squared) that reverting takes away per second that it costs, and that error."""
        after, ladder = self.next_place(number, place), self.ladders[number]
        gain = self.excess_of(number, ladder[place])
        gain -= self.excess_of(number, ladder[after]) if math.isfinite(gain) else 0.0
        price = self.price(number, place, after)
        return (gain / price if price > 0 else math.inf), gain

    # --- giving back

    def given_back(
        self, current: Trial, units: tuple[int, ...], option: Choice, excess: float | None
    ) -> tuple[Trial, float | None]:
        """The whole with as many of these units changed to the option as keep the budget, and what all of them add.

        `excess` is what they add to the square of the error, None where that is not known. Of the units of a group each
        may add another share: of two halves one is measured, and the other adds the rest.
        """
        candidate = changed(current.assignment, units, option)
        if not units or self.laboratory.seconds(candidate) >= current.seconds:
            return current, excess
        if excess is None or excess <= self.budget**2 - current.error**2:
            self.laboratory.expect(1)
            trial = self.measure(candidate, f"{counted(len(units), 'module')} given back, {option.name}")
            excess = max(trial.error**2 - current.error**2, 0.0)
            if trial.error <= self.budget:
                return trial, excess
        if len(units) > 1:
            middle = len(units) // 2
            current, part = self.given_back(current, units[:middle], option, None)
            current, _ = self.given_back(current, units[middle:], option, _rest(excess, part))
        return current, excess


def _rest(whole: float, part: float | None) -> float | None:
    """What the other part adds; where both may be infinite nothing is known of it."""
    if part is None or math.isinf(part):
        return None
    return max(whole - part, 0.0)


def changed(assignment: Assignment, units: Sequence[int], option: Choice) -> Assignment:
    """The assignment with these units given the option."""
    made = list(assignment)
    for unit in units:
        made[unit] = option
    return tuple(made)
