"""What each runtime and SoC accepts: data with sources, and the one function that holds a request against it."""

from attnfuse.targets.limits import (
    RUNTIMES,
    SOCS,
    FusedRequest,
    NodeKind,
    Refusal,
    Target,
    head_padding,
    refusals,
)
from attnfuse.targets.lite_config import LITE_CONFIG
from attnfuse.targets.objections import objection
from attnfuse.targets.operators import OPERATORS, Operator, accepts

__all__ = [
    "LITE_CONFIG",
    "OPERATORS",
    "RUNTIMES",
    "SOCS",
    "FusedRequest",
    "NodeKind",
    "Operator",
    "Refusal",
    "Target",
    "accepts",
    "head_padding",
    "objection",
    "refusals",
]
