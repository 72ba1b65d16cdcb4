"""What a source is checked for before anything is done with it, and what every pass leaves to what it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from attnfuse.ir.check import Checker, Finding, Sort
from attnfuse.ir.graph import Model
from attnfuse.ir.numbering import Numbering
from attnfuse.ir.readable import unreadable_leaves
from attnfuse.ir.writers import Writer, lost, writers_of


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a graph: `sentence` names a node or value.

    `is_sources` where the source contradicts itself, and it only shows when a constant stands for what was computed:
    axes of a Transpose, say, that an Arange makes.
    """

    sentence: str
    is_sources: bool = False


class Verifier:
    """Holds one graph, as it changes, to what is known of it."""

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

    def fault(self, model: Model, unneeded: Mapping[str, str]) -> Fault | None:
        """What is wrong with the graph and was not in the source; `unneeded` as `pass_manager.Context` has it."""
        leaf = next(unreadable_leaves(model, model.touched_since(self._history)), None)
        self._history = list(model.history)
        if leaf is not None:
            return Fault(leaf)
        found = next((finding for finding in self._checker.check(model) if finding not in self._found), None)
        before = writers_of(self._source, self._numbering) if self._writers is None else self._writers
        self._writers = writers_of(model, self._numbering)
        said = lost(before, self._writers, model, unneeded, self._numbering)
        if found is not None:
            return Fault(str(found), self._is_sources(found, model))
        return next(map(Fault, said), None)

    def _is_sources(self, found: Finding, model: Model) -> bool:
        """Whether a node has what it had in the source, inputs of the same types, and not one constant more there."""
        before, after = self._source.producer(found.node), model.producer(found.node)
        if found.sort is not Sort.TYPES or before is None or after is None or before.op != after.op:
            return False
        if before.proto.attribute != after.proto.attribute or len(before.inputs) != len(after.inputs):
            return False
        inputs = list(zip(before.inputs, after.inputs, strict=True))
        same = all(self._source.types_of(one) == model.types_of(other) for one, other in inputs)
        return same and any(model.is_literal(other) and not self._source.is_literal(one) for one, other in inputs)
