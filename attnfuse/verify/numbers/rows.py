"""Attention in an ONNX graph, and other large chains, found so that they can be run some rows at a time.

The scores of an attention, one number for each query and key of each head, are what does not fit: of 4096 queries and
keys, 16 heads and float64 they are 2 GB, and a formula holds two or three tensors of that size at once. But nothing
between the product that makes them and the product that uses them goes from one row of scores to another. So that part
of the graph, a region, gives the same numbers when it is run for some rows and then for others; the parts lie in the
cache of a processor besides.

A region is grown from a large softmax: backwards to the product of query and key, forwards to the product with the
values. Every operator in it works row by row, or moves leading axes about and keeps the last two. Rows are axis −2 all
through. A graph of another form is left as it is: it costs memory, and no number. What else is large and goes element
by element, as an activation in float64 of a hundred operators, is run by rows for the cache's sake.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx
from onnx import helper

_POINTWISE = frozenset(
    {
        "Add", "Sub", "Mul", "Div", "Max", "Min", "Where", "Cast", "Neg", "Abs", "Exp", "Tanh", "Sqrt", "Pow", "Less",
        "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "And", "Or", "Not", "IsNaN", "IsInf", "Identity",
        "Round", "Sigmoid", "Erf",
    }
)  # fmt: skip
_TOLD = {"ReduceMax": "max", "ReduceMin": "min"}
"""Over all elements: the largest of the parts' largest is the whole's."""
_BY_FIRST = ("MatMul", "Reshape", "Expand", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "CumSum")
"""Of these only the first operand has rows; the other is read whole."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """What is known of a graph's values: dims where they are static, and ONNX's numbers of their types."""

    dims: Mapping[str, tuple[int, ...]]
    types: Mapping[str, int]
    integers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Of constants of few whole numbers, such as axes: what they hold."""

    def bytes(self, name: str) -> int:
        """Of the whole value; 0 where it is not known."""
        dims = self.dims.get(name)
        if dims is None:
            return 0
        return math.prod(dims) * helper.tensor_dtype_to_np_dtype(self.types[name]).itemsize


@dataclass(slots=True)
class Region:
    """Nodes, by number, that are run for some rows at a time; `rows` is how many there are in all.

    `sliced` are values, or initialisers, that are read by rows; `told` are results that are one number of all rows,
    with "max" or "min"; other results have rows at axis −2. `row_bytes` is the size of one row of its largest value.
    """

    rows: int
    columns: int
    nodes: set[int] = field(default_factory=set)
    sliced: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    row_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Index:
    """Who makes and who reads every value of a list of nodes, by number."""

    nodes: Sequence[onnx.NodeProto]
    made: Mapping[str, int]
    readers: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, nodes: Sequence[onnx.NodeProto]) -> Index:
        """The index of these nodes."""
        made: dict[str, int] = {}
        readers: dict[str, list[int]] = {}
        for number, node in enumerate(nodes):
            made.update(dict.fromkeys(node.output, number))
            for name in dict.fromkeys(node.input):
                readers.setdefault(name, []).append(number)
        return cls(nodes, made, readers)


def regions(index: Index, shapes: Shapes, least: int) -> list[Region]:
    """Attentions, then chains of other operators, with a value of `least` bytes or more; no node is in two."""
    found: list[Region] = []
    taken: set[int] = set()
    softmaxes = [number for number, node in enumerate(index.nodes) if node.op_type == "Softmax"]
    others = [number for number, node in enumerate(index.nodes) if node.op_type in _POINTWISE]
    for number in softmaxes + others:
        if number in taken or shapes.bytes(index.nodes[number].output[0]) < least:
            continue
        region = _Growing(index, shapes, taken).grown(number)
        if region is not None and len(region.nodes) > 1 and _is_convex(index, region.nodes):
            taken |= region.nodes
            found.append(region)
    return found


class _Growing:
    def __init__(self, index: Index, shapes: Shapes, taken: set[int]) -> None:
        self.index = index
        self.shapes = shapes
        self.taken = taken

    def grown(self, first: int) -> Region | None:
        """The region around a node; None where it does not work by rows."""
        dims = self.shapes.dims[self.index.nodes[first].output[0]]
        if len(dims) < 2 or dims[-2] < 2:
            return None
        self.region = Region(dims[-2], dims[-1], {first})
        self.is_attention = self.index.nodes[first].op_type == "Softmax"
        if not self._goes_by_rows(first):
            return None
        stack = [first]
        while stack:
            number = stack.pop()
            near = self._before(number) + self._behind(number)
            fresh = [n for n in dict.fromkeys(near) if n not in self.region.nodes and n not in self.taken]
            self.region.nodes.update(fresh)
            stack += fresh
        return self.region if self._is_sliced() else None

    def _is_scores(self, name: str) -> bool:
        """Whether a value has a number for each query and key."""
        dims = self.shapes.dims.get(name, ())
        return len(dims) >= 2 and dims[-2:] == (self.region.rows, self.region.columns)

    def _before(self, number: int) -> list[int]:
        """Nodes that make scores for this one, row by row."""
        node = self.index.nodes[number]
        if node.op_type == "MatMul":
            operands = node.input[:1] if self._is_scores(node.input[0]) else []
        else:
            operands = list(node.input)
        makers = [self.index.made[name] for name in operands if name in self.index.made and self._is_scores(name)]
        return [n for n in makers if self._goes_by_rows(n)]

    def _behind(self, number: int) -> list[int]:
        """Nodes that read this one's result row by row. What is smaller than scores leads no further."""
        name = self.index.nodes[number].output[0]
        dims = self.shapes.dims.get(name, ())
        if len(dims) < 2 or dims[-2] != self.region.rows:
            return []
        large = self._is_scores(name) or dims[-1] == 1
        return [n for n in self.index.readers.get(name, ()) if large and self._goes_by_rows(n)]

    def _goes_by_rows(self, number: int) -> bool:
        node = self.index.nodes[number]
        dims = self.shapes.dims
        if not all(name in dims for name in (*node.output, *node.input) if name):
            return False
        result = dims[node.output[0]]
        if node.op_type in _TOLD and result == ():
            return len(node.input) == 1 and self._is_scores(node.input[0])
        if len(result) < 2 or result[-2] != self.region.rows:
            return False
        match node.op_type:
            case op if op in _POINTWISE:
                # A row axis that came of another axis by broadcasting would be cut in the wrong place.
                return all(len(dims[n]) < 2 or dims[n][-2] in (1, self.region.rows) for n in node.input)
            case "Softmax":
                axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
                return axis in (-1, len(result) - 1)
            case "MatMul":
                first, second = (dims[n] for n in node.input)
                by_rows = len(first) >= 2 and first[-2] == self.region.rows and len(second) >= 2
                return self.is_attention and by_rows
            case "ReduceMax" | "ReduceMin" | "ReduceSum" | "ReduceMean" | "CumSum":
                return self.shapes.integers.get(node.input[1]) in ((-1,), (len(dims[node.input[0]]) - 1,))
            case "Gather":
                return len(dims[node.input[0]]) == 1
            case "Reshape":
                return dims[node.input[0]][-2:] == result[-2:] == (self.region.rows, self.region.columns)
            case "Expand":
                given = dims[node.input[0]]
                return len(given) < 2 or given[-2] in (1, self.region.rows)
            case _:
                return False

    def _is_sliced(self) -> bool:
        """Tell apart what is read by rows and what is read whole. False where a value would have to be both."""
        region, whole = self.region, set[str]()
        inside = {name for number in region.nodes for name in self.index.nodes[number].output}
        for number in sorted(region.nodes):
            node = self.index.nodes[number]
            if node.op_type in _TOLD and self.shapes.dims[node.output[0]] == ():
                region.told[node.output[0]] = _TOLD[node.op_type]
            for position, name in enumerate(node.input):
                dims = self.shapes.dims[name]
                by_rows = len(dims) >= 2 and dims[-2] == region.rows and name not in inside
                if position and node.op_type in _BY_FIRST:
                    by_rows = False
                    if name in inside:  # what is read whole cannot be made by rows
                        return False
                (region.sliced if by_rows else whole).add(name)
        sizes = [self.shapes.bytes(name) // region.rows for name in inside if name not in region.told]
        region.row_bytes = max(sizes, default=0)
        return not region.sliced & whole and bool(region.sliced)


def _is_convex(index: Index, nodes: set[int]) -> bool:
    """Whether no way leads out of the nodes and back into them: they can then be run as one."""
    first, last = min(nodes), max(nodes)
    stack = list(_next(index, nodes) - nodes)
    seen = set(stack)
    while stack:
        for number in _next(index, [stack.pop()]):
            if number in nodes:
                return False
            if first < number < last and number not in seen:
                seen.add(number)
                stack.append(number)
    return True


def _next(index: Index, nodes: Iterable[int]) -> set[int]:
    return {reader for number in nodes for name in index.nodes[number].output for reader in index.readers.get(name, ())}
