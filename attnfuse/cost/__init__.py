"""What a graph costs on a device, as an estimate: bytes moved, kernels, peak memory, and a lower bound of the time.

The rules are those of CANN's graph engine, as far as its sources and published profiles tell (docs/cost.md); source and
result of a compilation go through the same ones. Nothing here runs or changes a graph. May import `attnfuse.ir` and
`attnfuse.targets`.
"""

from attnfuse.cost.compare import Comparison, compare
from attnfuse.cost.estimate import Estimate, NotEstimated, estimate

__all__ = ["Comparison", "Estimate", "NotEstimated", "compare", "estimate"]
