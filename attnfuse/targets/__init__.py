"""What each runtime and SoC accepts: data with sources, and what checks a request against it.

`support`, which looks at graphs, is imported by its own name: the rest is needed where MindSpore is loaded, and
protobuf cannot be.
"""

from attnfuse.targets.attention import FusedNodeFacts
from attnfuse.targets.facts import Refusal, TensorFacts
from attnfuse.targets.fused import head_padding, refusals
from attnfuse.targets.limits import RUNTIMES, SOCS, NodeKind, Target
from attnfuse.targets.operators import OPERATORS, Operator, accepts

__all__ = [
    "OPERATORS",
    "RUNTIMES",
    "SOCS",
    "FusedNodeFacts",
    "NodeKind",
    "Operator",
    "Refusal",
    "Target",
    "TensorFacts",
    "accepts",
    "head_padding",
    "refusals",
]
