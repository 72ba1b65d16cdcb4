"""A graph before and after, under the same rules.

May import `estimate`, `program` and `records` of this package.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from attnfuse.cost.estimate import estimate_with_sites
from attnfuse.cost.program import NotEstimated
from attnfuse.cost.records import Comparison, SiteCost, SiteNodes
from attnfuse.ir.graph import Model

DEFECT = "the cost model has a defect"


def compare(
    before: Model, after: Model, soc: str, sites: tuple[Sequence[SiteNodes], Sequence[SiteNodes]] = ((), ())
) -> Comparison:
    """Estimate both graphs on a SoC, with the shares of attention sites, of whose nodes `sites` tells for each graph.

    Nothing that goes wrong here stops a compile: the graphs are what they are without figures. A defect is told as one.
    """
    try:
        source, shares_before = estimate_with_sites(before, soc, sites[0])
        result, shares_after = estimate_with_sites(after, soc, sites[1])
    except NotEstimated as reason:
        return Comparison(None, None, str(reason))
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{at.filename.rpartition('/')[2]}:{at.lineno}"
        return Comparison(None, None, f"{DEFECT}: {type(error).__name__} at {place}: {error}")
    named = dict.fromkeys(one.site for side in sites for one in side)
    shares = (SiteCost(name, shares_before.get(name), shares_after.get(name)) for name in named)
    return Comparison(source, result, "", tuple(shares))
