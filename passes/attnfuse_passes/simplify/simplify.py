"""The pass that simplifies: for MindSpore Lite, nodes that change nothing go, and types without a kernel give way.

Graphs for `--runtime mindspore` are left to the compiler of MindSpore, which has eliminations of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnfuse.api import Context, Effects, Model, Property
from attnfuse_passes.rewrite import rewrite
from attnfuse_passes.simplify import arithmetic, casts, doubles, dropout, layout, narrow, repeated, transposed
from attnfuse_passes.simplify.rules import Simplification

FAMILIES = (layout, casts, arithmetic, dropout, repeated, narrow, doubles, transposed)
"""The modules whose import filled the table of rules."""
_MOST_ROUNDS = 100
"""Each round takes nodes away; no graph has so long a row of them that wait for each other."""


@dataclass(frozen=True, slots=True)
class Simplify:
    """Takes nodes away that change nothing, also those that fusing and legalising left."""

    id: ClassVar[str] = "simplify"
    order: ClassVar[int] = 250
    summary: ClassVar[str] = "nodes that change nothing go"
    requires: ClassVar[frozenset[Property]] = frozenset({Property.INLINED})

    def run(self, model: Model, context: Context) -> bool:
        """Ask the rules, and again what is left, until none has anything to say."""
        if context.target.runtime != "lite":
            return False
        changed = False
        for _ in range(_MOST_ROUNDS):
            if not rewrite(model, context, Effects.of(model), [Simplification()]):
                break
            changed = True
        return changed
