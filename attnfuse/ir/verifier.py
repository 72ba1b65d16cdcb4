"""What a source is checked for before anything is done with it, and what every pass leaves to what it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attnfuse.ir.check import Checker, Sort
from attnfuse.ir.graph import Model
from attnfuse.ir.numbering import Numbering
from attnfuse.ir.readable import unreadable_leaves
from attnfuse.ir.writers import Writer, lost, writers_of


class Verifier:
    """Holds one graph, as it changes, to what is known of it. Faults are sentences that name a node or value."""

    def __init__(self, source: Model) -> None:
        """`source` is the graph before any change."""
        self._checker = Checker()
        self._leaves = list(unreadable_leaves(source))
        self._found = dict.fromkeys(self._checker.check(source))
        self._source = source
        self._history = list(source.history)
        """Of the graph that was looked at last."""
        self._numbering = Numbering()
        self._writers: Mapping[str, Writer] | None = None
        """Of the graph that was looked at last; read when they are first wanted, as of a faulty source they are not."""

    def source_faults(self) -> Iterator[str]:
        """What contradicts itself in the source. What is only left open there (a type, an order) is no fault of it."""
        yield from self._leaves
        yield from (str(finding) for finding in self._found if finding.sort is Sort.TYPES)

    def fault(self, model: Model, unneeded: Mapping[str, str]) -> str | None:
        """What is wrong with the graph and was not in the source; `unneeded` as `pass_manager.Context` has it."""
        leaf = next(unreadable_leaves(model, model.touched_since(self._history)), None)
        self._history = list(model.history)
        if leaf is not None:
            return leaf
        found = next((finding for finding in self._checker.check(model) if finding not in self._found), None)
        before = writers_of(self._source, self._numbering) if self._writers is None else self._writers
        self._writers = writers_of(model, self._numbering)
        said = lost(before, self._writers, model, unneeded, self._numbering)
        return next(said, None) if found is None else str(found)
