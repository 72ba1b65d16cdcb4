"""`--require` expressions: a count of the report compared with another or with a number, or a name for one."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from attnfuse.errors import UsageError
from attnfuse.names import suggestion
from attnfuse.report.model import Totals

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
#: Requirements that have a name of their own. MindSpore takes every operator of its own, in types that the SoC has.
NAMED = {"deployable": ("unsupported", "==", "0")}
_EXPRESSION = re.compile(r"\s*([a-z_]+)\s*(==|!=|>=|<=|>|<)\s*([a-z_]+|\d+)\s*")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A count of `Totals`, a comparison, and another count or a number; `name` where it was asked for by one."""

    left: str
    comparison: str
    right: str
    name: str | None = None

    def __str__(self) -> str:
        told = f"{self.left}{self.comparison}{self.right}"
        return told if self.name is None else f"{self.name} ({told})"

    def unmet(self, totals: Totals) -> str | None:
        """Why it does not hold, or None where it holds."""
        left, right = _value(self.left, totals), _value(self.right, totals)
        if _COMPARE[self.comparison](left, right):
            return None
        told = [f"{name} is {_value(name, totals)}" for name in (self.left, self.right) if not name.isdigit()]
        return f"required {self}, but {' and '.join(told)}"


def parse_requirement(text: str) -> Requirement:
    """Read `fused==sites`, `missed==0`, `fused>=32`, `deployable`, … Raises UsageError for anything else."""
    if (name := text.strip()) in NAMED:
        return Requirement(*NAMED[name], name=name)
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--require {text!r} is not of the form COUNT==COUNT or COUNT>=NUMBER, such as fused==sites, "
            f"nor one of {', '.join(NAMED)}."
        )
    left, comparison, right = match.groups()
    for name in (left, right):
        if not name.isdigit() and name not in Totals.model_fields:
            hint = suggestion(name, Totals.model_fields)
            raise UsageError(f"--require {text!r} names the unknown count {name!r}; {hint}")
    return Requirement(left, comparison, right)


def _value(name: str, totals: Totals) -> int:
    return int(name) if name.isdigit() else int(getattr(totals, name))
