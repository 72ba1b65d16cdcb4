"""A graph before and after, under the same rules.

May import `estimate` of this package.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.cost.estimate import Estimate, NotEstimated, estimate
from attnfuse.ir.graph import Model


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both estimates, or neither and the reason."""

    before: Estimate | None
    after: Estimate | None
    not_estimated: str = ""
    """Why there is no estimate; empty where there is one."""

    def ratio(self, quantity: str) -> float | None:
        """After divided by before of one field of Estimate; None where there is none to divide by."""
        if self.before is None or self.after is None or not getattr(self.before, quantity):
            return None
        return float(getattr(self.after, quantity)) / float(getattr(self.before, quantity))


def compare(before: Model, after: Model, soc: str) -> Comparison:
    """Estimate both graphs on a SoC."""
    try:
        return Comparison(estimate(before, soc), estimate(after, soc))
    except NotEstimated as reason:
        return Comparison(None, None, str(reason))
