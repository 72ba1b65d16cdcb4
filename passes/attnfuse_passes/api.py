"""All of the passes that a plugin may import, and nothing more: what identities are made of.

Graphs, the builder of nodes, the operator table, rewrites and passes are in `attnfuse.api`.
"""

from attnfuse_passes.attention.identities.registry import Identity
from attnfuse_passes.attention.identities.scale import constant_factor, keeps_shape
from attnfuse_passes.attention.identities.steps import (
    AddTerm,
    Convert,
    Effect,
    FillWhere,
    Layout,
    NanToZero,
    Ordered,
    Same,
    Scale,
)

__all__ = [
    "AddTerm",
    "Convert",
    "Effect",
    "FillWhere",
    "Identity",
    "Layout",
    "NanToZero",
    "Ordered",
    "Same",
    "Scale",
    "constant_factor",
    "keeps_shape",
]
