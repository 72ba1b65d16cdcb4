"""A policy by `attnfuse tune`, and the budget that it is given.

Below what the formula is off in float32 nothing is possible, and from what float16 in high precision is off everywhere
there is nothing to decide. Errors of roundings add up as squares: the budget leaves a quarter of the squared error that
float16 adds, so that about a quarter of the attentions may have it, or more where some add less than others. Where
float16 adds none that can be told from the rest of the graph's, the budget is the formula's own error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.realweights.command import attnfuse

FORMULA, FLOAT16 = "formula", "float16, high precision"
"""What tune calls the two policies."""
_ANYTHING = "1e30"
"""A budget that every policy keeps whose error is a number: figures are all that is asked for."""


@dataclass(frozen=True)
class Uniform:
    """One policy for all sites: its error, and the estimated seconds of one run."""

    policy: str
    error: float
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """What tune found: error and estimated seconds of it, and of the policies for all sites, `cheapest` that of them
    which keeps the budget at the least cost; how many graphs were measured, and the text of the policy."""

    budget: float
    error: float
    seconds: float
    measured: int
    uniform: tuple[Uniform, ...]
    cheapest: Uniform
    policy: str

    def of(self, policy: str) -> Uniform:
        """One policy for all sites, by tune's name of it."""
        return uniform_of(self.uniform, policy)


def uniform_of(several: Sequence[Uniform], policy: str) -> Uniform:
    """The one of that name; those that come to the same graph have theirs together."""
    return next(one for one in several if policy in one.policy.split("; "))


def tune(source: str, file: Path, options: Sequence[str]) -> Tuned:
    """Write the policy for a source of one component. Raises RuntimeError where there is none."""

    def run(budget: str) -> dict[str, Any]:
        said = attnfuse("tune", source, "--budget", budget, "-o", str(file), "--json", *options)
        (component,) = json.loads(said)["components"]
        found: dict[str, Any] = component
        return found

    # What the first run measures the second one finds in the cache.
    budget = between(_uniform(run(_ANYTHING)))
    found = run(budget)
    uniform = _uniform(found)
    kept = [one for one in uniform if one.error <= float(budget)]
    return Tuned(
        float(budget),
        float(found["error"]),
        found["seconds"],
        found["measured"],
        uniform,
        min(kept, key=lambda one: (one.seconds, one.error)),
        file.read_text(encoding="utf-8"),
    )


def between(uniform: Sequence[Uniform]) -> str:
    """A quarter of the way from the one squared error to the other, at least the first; three digits, rounded up, as an
    option is written."""
    formula, float16 = (uniform_of(uniform, policy).error for policy in (FORMULA, FLOAT16))
    budget = math.sqrt(formula**2 + max(float16**2 - formula**2, 0) / 4)
    digits = 10.0 ** (math.floor(math.log10(budget)) - 2)
    return f"{math.ceil(budget / digits) * digits:.2e}"


def _uniform(component: dict[str, Any]) -> tuple[Uniform, ...]:
    return tuple(Uniform(one["policy"], float(one["error"]), one["seconds"]) for one in component["uniform"])
