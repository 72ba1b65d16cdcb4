"""A policy by `attnfuse tune`, and the budget that it is given.

The budget has to lie between what the formula is off in float32, below which nothing is possible, and what float16 in
high precision is off everywhere, above which there is nothing to decide. In between the geometric mean is taken, as
errors are far apart; cut off behind two digits.
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
    """The geometric mean of both errors, as an option is written."""
    mean = math.sqrt(uniform_of(uniform, FORMULA).error * uniform_of(uniform, FLOAT16).error)
    digits = 10.0 ** (math.floor(math.log10(mean)) - 1)
    return f"{math.floor(mean / digits) * digits:.1e}"


def _uniform(component: dict[str, Any]) -> tuple[Uniform, ...]:
    return tuple(Uniform(one["policy"], float(one["error"]), one["seconds"]) for one in component["uniform"])
