"""`--require` expressions: a count compared with another or a number, an estimate's ratio with a number, or a name."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from attnfuse.errors import UsageError
from attnfuse.names import suggestion
from attnfuse.report.model import Report, Totals

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
#: Requirements that have a name of their own. MindSpore takes every operator of its own, in types that the SoC has.
NAMED = {"deployable": ("unsupported", "==", "0")}
#: Estimates, result by source, that are held for each component: the name, and the field of `attnfuse.cost.Estimate`.
RATIOS = {"bytes": "bytes_moved", "peak": "peak_bytes", "kernels": "kernels", "time": "seconds"}
_EXPRESSION = re.compile(r"\s*([a-z_]+)\s*(==|!=|>=|<=|>|<)\s*([a-z_]+|[0-9]{1,18}(?:\.[0-9]{1,18})?)\s*")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A count of `Totals`, a comparison, and another count or a number; or one of `RATIOS` and a number.

    `name` where it was asked for by one.
    """

    left: str
    comparison: str
    right: str
    name: str | None = None

    def __str__(self) -> str:
        message = f"{self.left}{self.comparison}{self.right}"
        return message if self.name is None else f"{self.name} ({message})"

    def unmet(self, report: Report) -> str | None:
        """Why it does not hold, or None where it holds."""
        if self.left in RATIOS:
            return next(self._unmet_ratios(report), None)
        totals = report.totals
        left, right = _value(self.left, totals), _value(self.right, totals)
        if _COMPARE[self.comparison](left, right):
            return None
        actual = [f"{name} is {_value(name, totals)}" for name in (self.left, self.right) if not name.isdigit()]
        return f"required {self}, but {' and '.join(actual)}"

    def _unmet_ratios(self, report: Report) -> Iterator[str]:
        for component in report.components:
            ratio = component.cost.ratio(RATIOS[self.left])
            if ratio is None:
                why = component.cost.not_estimated or f"the source has no {self.left}"
                yield f"required {self}, but {component.name} is not estimated: {why}"
            elif not self._holds_of(ratio):
                yield f"required {self}, but the estimate of {component.name} is {self._told(ratio)} of its source's"

    def _holds_of(self, ratio: float) -> bool:
        return _COMPARE[self.comparison](ratio, float(self.right))

    def _told(self, ratio: float) -> str:
        """The ratio, rounded to no fewer places than it needs to be seen not to hold."""
        rounded = (f"{ratio:.{places}f}" for places in range(3, 16))
        return next((text for text in rounded if not self._holds_of(float(text))), repr(ratio))


def parse_requirement(text: str) -> Requirement:
    """Read `fused==sites`, `missed==0`, `fused>=32`, `bytes<=0.5`, `deployable`, … Raises UsageError otherwise."""
    if (name := text.strip()) in NAMED:
        return Requirement(*NAMED[name], name=name)
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--require {text!r} is not of the form COUNT==COUNT or COUNT>=NUMBER, such as fused==sites, "
            f"nor ESTIMATE<=NUMBER, such as bytes<=0.5, nor one of {', '.join(NAMED)}."
        )
    left, comparison, right = match.groups()
    if left in RATIOS:
        if not right[0].isdigit():
            raise UsageError(f"--require {text!r} compares the estimate {left!r} with {right!r}; give a number: 0.5.")
        return Requirement(left, comparison, right)
    if "." in right:
        raise UsageError(f"--require {text!r} compares the count {left!r} with {right}; give a whole number.")
    for name in (left, right):
        if not name.isdigit() and name not in Totals.model_fields:
            hint = suggestion(name, [*Totals.model_fields, *RATIOS])
            raise UsageError(f"--require {text!r} names the unknown count {name!r}; {hint}")
    return Requirement(left, comparison, right)


def _value(name: str, totals: Totals) -> int:
    return int(name) if name.isdigit() else int(getattr(totals, name))
