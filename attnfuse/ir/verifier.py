"""What a source is held to before anything is done with it, and what every pass leaves to what it was given.

May import `attnfuse.graph` and the other modules of this room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attnfuse.graph import Model
from attnfuse.ir.effects import Effects, lost
from attnfuse.ir.readable import unreadable


def source_faults(source: Model) -> Iterator[str]:
    """What is wrong with a graph that nobody has changed yet: sentences, each of which names a node or value."""
    yield from unreadable(source)


class Verifier:
    """Holds one graph, as it changes, to what is known of it. Faults are sentences that name a node or value."""

    def __init__(self, source: Model) -> None:
        """`source` is the graph before any change, and without faults."""
        self._effects = Effects.of(source)

    def fault(self, model: Model, unneeded: Mapping[str, str]) -> str | None:
        """What is wrong with the graph since it was last looked at; `unneeded` as `pipeline.Context` has it."""
        before, self._effects = self._effects, Effects.of(model)
        return next(unreadable(model), None) or next(lost(before, self._effects, model, unneeded), None)
