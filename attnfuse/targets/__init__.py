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

__all__ = ["RUNTIMES", "SOCS", "FusedRequest", "NodeKind", "Refusal", "Target", "head_padding", "refusals"]
