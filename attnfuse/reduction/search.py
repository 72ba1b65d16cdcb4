"""Fewer and fewer nodes, as long as what is looked for stays: first by halves along the order of the nodes, then bit by
bit (delta debugging: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).

What is offered and is no smaller than the best so far is not tried, nor is anything twice. The same graph and the same
answers give the same result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto
from attnfuse.names import counted
from attnfuse.reduction.merging import merged_inputs, merged_weights
from attnfuse.reduction.parts import Cutter, alone, node_count

Graphs: TypeAlias = tuple[ModelProto, ...]
"""A graph; or a graph and its rewrite, which take the same inputs and give the same outputs."""

Holds: TypeAlias = Callable[[Graphs], bool]
"""Whether what is looked for is there, still."""

Tell: TypeAlias = Callable[[str], None]
"""Says to the user how far it is."""

_TOLD = 0.8
"""It is told when of the nodes that were told last so many are left."""


class Search:
    """The smallest graphs so far, of which `holds` is known to be true, and the count of those that were tried."""

    def __init__(self, graphs: Graphs, holds: Holds, tell: Tell) -> None:
        """`holds` is true of the graphs that the search begins with."""
        self.best = graphs
        self.tried = 0
        self._size = _size(graphs)
        self._told = self._size[0]
        self._holds = holds
        self._tell = tell
        self._known = {_digest(graphs): True}

    def offer(self, graphs: Graphs) -> bool:
        """Take the graphs as the best where they are smaller and it holds of them; whether it holds."""
        key = _digest(graphs)
        if key not in self._known:
            size = _size(graphs)
            if size >= self._size:
                return False
            self.tried += 1
            self._known[key] = self._holds(graphs)
            if self._known[key]:
                self.best, self._size = graphs, size
                if size[0] < _TOLD * self._told:
                    self._told = size[0]
                    self._tell(f"{_nodes(graphs)} left, {counted(self.tried, 'graph')} tried")
        return self._known[key]

    def any_of(self, several: Iterable[Graphs]) -> bool:
        """Take the first of which it holds; whether there is one."""
        return any(_size(graphs) < self._size and self.offer(graphs) for graphs in several)

    def fewer_nodes(self) -> None:
        """For one graph: the fewest of its nodes, such that it does not hold with any one of them less."""
        while self.any_of((graph,) for graph in alone(self.best[0])):
            pass
        self._fewest(lambda names, count: names[:count])
        self._fewest(lambda names, count: names[len(names) - count :])
        size = len(self._cutter().names)
        while True:
            before = self._size
            self._without_blocks(size)
            while self.any_of(merged_inputs(self.best)) or self.any_of(merged_weights(self.best)):
                pass
            if self._size == before:
                return
            size = 2  # what became possible is near what went

    def _cutter(self) -> Cutter:
        return Cutter(Model(self.best[0]))

    def _fewest(self, some: Callable[[Sequence[str], int], Sequence[str]]) -> None:
        """By halves, as few as hold of the nodes on one side. It need not hold of more of them: what is found holds."""
        cutter = self._cutter()
        least, most = 0, len(cutter.names)
        while most - least > 1:
            middle = (least + most) // 2
            if self._offer_part(cutter, some(cutter.names, middle)):
                most = middle
            else:
                least = middle

    def _without_blocks(self, size: int) -> None:
        """Blocks of neighbouring nodes go, smaller and smaller ones, as long as it holds."""
        while size > 1:
            size = (size + 1) // 2
            at, cutter = 0, self._cutter()
            while at < len(cutter.names):
                names, before = cutter.names, self._size
                self._offer_part(cutter, [*names[:at], *names[at + size :]])
                if self._size < before:  # else the part could not be without them
                    cutter = self._cutter()
                else:
                    at += size

    def _offer_part(self, cutter: Cutter, names: Iterable[str]) -> bool:
        part = cutter.part(names)
        return part is not None and self.offer((part,))


def _size(graphs: Graphs) -> tuple[int, int, int, int]:
    """What is smaller comes first: nodes of the larger graph and of all, then what enters and leaves, then bytes."""
    nodes = list(map(node_count, graphs))
    edges = sum(len(g.graph.input) + len(g.graph.output) + len(g.graph.parameter) for g in graphs)
    return max(nodes), sum(nodes), edges, sum(g.ByteSize() for g in graphs)


def _nodes(graphs: Graphs) -> str:
    return " and ".join(counted(node_count(graph), "node") for graph in graphs)


def _digest(graphs: Graphs) -> bytes:
    found = hashlib.sha256()
    for graph in graphs:
        found.update(codec.serialise(graph))
    return found.digest()
