"""Constant deduplication: each site and rule makes its own constants, so a mask would be kept once a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnfuse.api import CONSTANT, Context, Edit, Model, Property


@dataclass(frozen=True, slots=True)
class DeduplicateConstants:
    """Lets whatever reads a constant that attnfuse made read the first of its graph with the same value.

    The source's own constants stay as they are, doubled or not: where nothing was rewritten, no byte changes.
    """

    id: ClassVar[str] = "deduplicate_constants"
    order: ClassVar[int] = 300
    summary: ClassVar[str] = "equal constants that the passes made become one"
    requires: ClassVar[frozenset[Property]] = frozenset({Property.INLINED})

    def run(self, model: Model, context: Context) -> bool:
        """Look at the constants in file order: the first stands before every use of the others."""
        edit = Edit(model)
        first: dict[tuple[str, bytes], str] = {}
        for node in model.nodes:
            if node.op != CONSTANT:
                continue
            value = b"".join(a.SerializeToString(deterministic=True) for a in node.proto.attribute)
            kept = first.setdefault((node.graph.name, value), node.name)
            if kept != node.name and node.name.startswith("attnfuse_"):
                edit.rename[node.name] = kept
                edit.remove.add(node.name)
        edit.apply()
        return bool(edit.rename)
