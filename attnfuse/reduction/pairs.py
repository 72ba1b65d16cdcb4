"""A graph and its rewrite, cut at the same values: the part of one between some values, and that of the other.

A rewrite keeps the name of what it makes anew, so a value of both graphs with one name and type is the same value. What
is drawn for a cut is drawn for both sides. That would make a difference of its own where one side reads a value and the
other what it is made of; so both sides must read every value that they are cut at, but where verification itself cuts
otherwise (`attnfuse.verify.graph.sites`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set

from attnfuse.ir.graph import Model
from attnfuse.mindir.schema import ModelProto
from attnfuse.reduction.layouts import with_fewer_reshapes, without_edge_layouts
from attnfuse.reduction.merging import merged_inputs, merged_weights
from attnfuse.reduction.padding import without_padded_layers
from attnfuse.reduction.parts import Cutter, node_count
from attnfuse.reduction.search import Graphs, Search

_AT_A_GLANCE = 12
"""Nodes of each graph, up to which no layout is moved: what the rewrite has is then what it was written with."""

_FEW = 40
"""Values of both graphs, up to which every one of them is tried for a cut."""


class Pair:
    """Takes parts of an original graph and of its rewrite; calls of functions are inlined in both."""

    def __init__(self, graphs: Graphs) -> None:
        self.models = Model(graphs[0]), Model(graphs[1])
        self._cutters = [Cutter(model) for model in self.models]
        self.outputs = [output.name for output in graphs[1].graph.output]
        self._own = [output.name for output in graphs[0].graph.output]

    def common(self) -> list[str]:
        """The float tensors that a node of each graph makes, of one type, in the rewrite's order; outputs are none."""
        original, fused = self.models
        return [
            name
            for name in self._cutters[1].names
            if name not in self.outputs
            and original.producer(name) is not None
            and (kind := fused.type_of(name)) is not None
            and kind.dtype.is_float
            and kind == original.type_of(name)
        ]

    def part(
        self, outputs: Sequence[str] | None, stops: Set[str], *, one_sided: Set[str] = frozenset()
    ) -> Graphs | None:
        """Both sides between the stops and the outputs, None for the graphs' own; None where they are not alike.

        Of `one_sided` a stop may be read by one side alone.
        """
        stops = {value for value in stops if not self.models[0].is_parameter(value)}  # both sides declare weights
        wanted = (self._own, self.outputs) if outputs is None else (list(outputs), list(outputs))
        sides = [cutter.behind(out, stops) for cutter, out in zip(self._cutters, wanted, strict=True)]
        if not all(nodes for nodes, _ in sides) or (set(sides[0][1]) ^ set(sides[1][1])) - one_sided:
            return None
        read = {
            value for model, (nodes, _) in zip(self.models, sides, strict=True) for value in _read_inputs(model, nodes)
        }
        given = [value.name for value in self.models[0].proto.graph.input if value.name in read]
        leaves = [*given, *sorted({*sides[0][1], *sides[1][1]} - set(given))]
        parts = [
            cutter.extract(nodes, out, leaves)
            for cutter, (nodes, _), out in zip(self._cutters, sides, wanted, strict=True)
        ]
        for part, other, model in zip(parts, reversed(parts), self.models, strict=True):
            _declare(part, other, model)
        return parts[0], parts[1]

    def giving_first(self, count: int) -> Graphs | None:
        """The part that gives the first values of both graphs, so many: those that none of the others is made of."""
        values = self.common()[:count]
        inner: set[str] = set()
        for value in values:
            inner |= self._cutters[0].behind([value], frozenset())[0] - {value} if value not in inner else set()
        return self.part([value for value in values if value not in inner], frozenset())

    def given_first(self, count: int) -> Graphs | None:
        """The part that reads the first values of both graphs, so many, in place of making them."""
        return self.part(None, set(self.common()[:count]))

    def smaller(self) -> Iterator[Graphs]:
        """Parts that give one value in place of the outputs, or read one more."""
        values = self.common()
        others = [name for name in self.outputs if name in self._own] if len(self.outputs) > 1 else []
        tried = [self.part([name], frozenset()) for name in (*values, *others)]
        tried += [self.part(None, {value}) for value in reversed(values)]
        yield from (graphs for graphs in tried if graphs is not None)


def shrink(search: Search) -> None:
    """Make the search's pair smaller: by halves while it is large, then by every value at which it can be cut."""
    pair = Pair(search.best)
    if (count := len(pair.common())) > _FEW:
        _by_halves(search, pair.giving_first, count)
        pair = Pair(search.best)
        count = len(pair.common())
        _by_halves(search, lambda left: pair.given_first(count - left), count)
    while (
        search.any_of(Pair(search.best).smaller())
        or search.any_of(_alike(without_padded_layers(search.best)))
        or search.any_of(merged_inputs(search.best))
        or search.any_of(merged_weights(search.best))
        or (max(map(node_count, search.best)) > _AT_A_GLANCE and search.any_of(_alike(_reshaped(search.best))))
    ):
        pass


def _reshaped(graphs: Graphs) -> Iterator[Graphs]:
    yield from with_fewer_reshapes(graphs)
    yield from without_edge_layouts(graphs)


def _alike(several: Iterable[Graphs]) -> Iterator[Graphs]:
    """The pairs without what no output needs, and with the same inputs on both sides."""
    parts = (Pair(graphs).part(None, frozenset()) for graphs in several)
    return (part for part in parts if part is not None)


def _by_halves(search: Search, part: Callable[[int], Graphs | None], most: int) -> None:
    """As small a number of values as it holds of the part for. It need not hold of larger ones."""
    least = 0
    while most - least > 1:
        middle = (least + most) // 2
        graphs = part(middle)
        if graphs is not None and search.offer(graphs):
            most = middle
        else:
            least = middle


def _read_inputs(model: Model, nodes: Set[str]) -> set[str]:
    """The graph's inputs that the nodes read."""
    return {use for name in nodes if (node := model.producer(name)) for use in node.inputs if model.is_input(use)}


def _declare(part: ModelProto, other: ModelProto, whole: Model) -> None:
    """Declare the weights that the other part reads, where the whole graph has them: neither is then new, or gone."""
    known = {parameter.name for parameter in part.graph.parameter}
    for parameter in other.graph.parameter:
        if parameter.name not in known and whole.is_parameter(parameter.name):
            part.graph.parameter.append(parameter)
