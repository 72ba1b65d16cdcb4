"""A pass with an option: of two negations in a row nothing is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from attnfuse.api import Context, Edit, Effects, Model, eliminate_dead_code


@dataclass(frozen=True, slots=True)
class CancelNegations:
    """Lets whoever reads −(−x) read x, which is the same number in every float type.

    `most` is how many are replaced at most: with fewer and fewer one finds the one that does harm.
    """

    id: ClassVar[str] = "cancel_negations"
    order: ClassVar[int] = 50
    summary: ClassVar[str] = "two negations in a row are none"

    most: Annotated[int, Field(ge=0)] = 1_000_000

    def run(self, model: Model, context: Context) -> bool:
        """All replacements are found first and applied at once."""
        edit, effects = Edit(model), Effects.of(model)
        before = set(model.primitives)
        for node in model.nodes:
            inner = model.producer(node.inputs[0]) if node.op == "Neg" else None
            if inner is None or inner.op != "Neg" or inner.name in edit.rename or len(edit.rename) == self.most:
                continue
            value = inner.inputs[0]
            is_output = any(use.node is None for use in model.uses(node.name))
            # −(−x) is memory of its own, x is not: where something writes to either, they are not the same.
            if not is_output and effects.is_never_mutated(model, value) and effects.is_never_mutated(model, node.name):
                edit.rename[node.name] = value
        if not edit.rename:
            return False
        replaced = sorted(edit.rename)
        edit.apply()
        eliminate_dead_code(model, replaced, before)
        return True
