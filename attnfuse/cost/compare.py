"""A graph before and after, under the same rules.

May import `estimate`, `program` and `records` of this package.
"""

from __future__ import annotations

from attnfuse.cost.estimate import estimate
from attnfuse.cost.program import NotEstimated
from attnfuse.cost.records import Comparison
from attnfuse.ir.graph import Model


def compare(before: Model, after: Model, soc: str) -> Comparison:
    """Estimate both graphs on a SoC."""
    try:
        return Comparison(estimate(before, soc), estimate(after, soc), "")
    except NotEstimated as reason:
        return Comparison(None, None, str(reason))
