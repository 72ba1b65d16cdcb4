"""A graph before and after, under the same rules.

May import `estimate`, `program` and `records` of this package.
"""

from __future__ import annotations

import traceback

from attnfuse.cost.estimate import estimate
from attnfuse.cost.program import NotEstimated
from attnfuse.cost.records import Comparison
from attnfuse.ir.graph import Model

DEFECT = "the cost model has a defect"


def compare(before: Model, after: Model, soc: str) -> Comparison:
    """Estimate both graphs on a SoC.

    Nothing that goes wrong here stops a compile: the graphs are what they are without figures. A defect is told as one.
    """
    try:
        return Comparison(estimate(before, soc), estimate(after, soc), "")
    except NotEstimated as reason:
        return Comparison(None, None, str(reason))
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{at.filename.rpartition('/')[2]}:{at.lineno}"
        return Comparison(None, None, f"{DEFECT}: {type(error).__name__} at {place}: {error}")
