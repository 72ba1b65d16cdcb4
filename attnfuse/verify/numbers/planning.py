"""How a lowered graph is run: cut into steps, one after the other, so that little is held at any time.

A step is a run of nodes in the order they were written, as a graph of its own. What it needs of weights is loaded for
it and let go behind it; values that nobody reads again are let go with it. Attention whose scores are large is a step
by itself, and runs some rows at a time (`rows`). Between those the graph is cut where the fewest bytes cross: a value
crosses all places between the node that makes it and the last one that reads it, so that the bytes that cross each
place are one sum over the list.

The order is topological: a region is contracted to one node, and results that the graph hands out are moved right
behind what makes them, so that they need not be held for long.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import onnx
from onnx import helper, numpy_helper

from attnfuse.ir.types import Array
from attnfuse.verify.limits import current
from attnfuse.verify.lowering import IR_VERSION, OPSETS, Lowered
from attnfuse.verify.numbers.rows import Index, Region, Shapes, regions


@dataclass(frozen=True, slots=True)
class Step:
    """Nodes that are run together, as an ONNX model whose values are called by their place in it.

    Equal models of different steps do the same. `inputs` and `outputs` are the names in the whole graph, in the order
    of the model's; `last` are values that nobody reads behind this step. `by_rows` tells how it is run in parts, and
    `held` how many bytes are alive at the most while it runs, of what this graph makes and reads.
    """

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last: tuple[str, ...]
    held: int
    by_rows: ByRows | None = None


@dataclass(frozen=True, slots=True)
class ByRows:
    """A step that is run `at_once` rows at a time of `rows`: its model takes where to begin and where to end as two
    more inputs, behind the others. `told` are outputs, by number, that are one number: "max" or "min" of the parts'."""

    rows: int
    at_once: int
    told: Mapping[int, str]


BEGIN, END = "begin", "end"
_CARRIER = onnx.TensorProto.FLOAT
"""The type of a value that ONNX's inference does not know: what an operator of another domain makes."""


def steps(lowered: Lowered) -> list[Step]:
    """The steps of a lowered graph, in order."""
    limits = current()
    model = lowered.model
    nodes = list(model.graph.node)
    index = Index.of(nodes)
    shapes = _shapes(model)
    found = regions(index, shapes, limits.large)
    results = [o.name for o in model.graph.output]
    weights = {feed.name: shapes.bytes(feed.name) for feed in lowered.feeds if feed.parameter is not None}
    order = _ordered(index, found, set(results))
    groups = [*_groups(order, found, index, shapes, weights, limits.weights)]
    read_last: dict[str, int] = {}
    for number, (members, _) in enumerate(groups):
        read_last.update((name, number) for n in members for name in nodes[n].input)
    initialisers = {i.name: i for i in model.graph.initializer}
    wanted = set(results)
    kept = dict(zip(results, (t.size * t.dtype.itemsize for t in lowered.outputs), strict=True))
    made: list[Step] = []
    waiting: dict[str, int] = {}
    handed_out = 0
    for number, (members, region) in enumerate(groups):
        inside = {name for n in members for name in nodes[n].output}
        handed_on = [
            name for n in members for name in nodes[n].output if name in wanted or read_last.get(name, -1) > number
        ]
        read = dict.fromkeys(name for n in members for name in nodes[n].input if name and name not in inside)
        inputs = [name for name in read if name not in initialisers]
        last = [name for name in inputs if read_last[name] == number]
        writer = _StepWriter([nodes[n] for n in members], inputs, handed_on, initialisers, shapes)
        waiting.update((name, shapes.bytes(name)) for name in inputs)
        beside = handed_out + sum(waiting.values())
        made.append(writer.step(tuple(last), region, limits.rows, beside))
        handed_out += sum(kept.get(name, 0) for name in handed_on)
        waiting.update((name, shapes.bytes(name)) for name in handed_on if name not in wanted)
        for name in last:
            waiting.pop(name, None)
    return made


def _most_alive(nodes: Sequence[onnx.NodeProto], inside: set[str], shapes: Shapes) -> int:
    """Bytes of the values made in a step that are alive together, at the most."""
    last = {name: place for place, node in enumerate(nodes) for name in (*node.output, *node.input) if name in inside}
    alive = most = 0
    for place, node in enumerate(nodes):
        alive += sum(shapes.bytes(name) for name in node.output)
        most = max(most, alive)
        alive -= sum(shapes.bytes(name) for name in {*node.output, *node.input} & inside if last[name] == place)
    return most


def _shapes(model: onnx.ModelProto) -> Shapes:
    """By ONNX's own inference; what it does not know (another domain's operators) is not known."""
    inferred = onnx.shape_inference.infer_shapes(model)
    dims: dict[str, tuple[int, ...]] = {}
    types: dict[str, int] = {}
    integers: dict[str, tuple[int, ...]] = {}
    for value in (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info):
        tensor = value.type.tensor_type
        if tensor.elem_type:
            types[value.name] = tensor.elem_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            dims[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
    for held in inferred.graph.initializer:
        dims[held.name] = tuple(held.dims)
        types[held.name] = held.data_type
        if held.data_type == onnx.TensorProto.INT64 and len(held.raw_data) <= 64:
            integers[held.name] = tuple(int(n) for n in numpy_helper.to_array(held).reshape(-1))
    return Shapes(dims, types, integers)


# --- the order, and where it is cut


def _ordered(index: Index, found: Sequence[Region], results: set[str]) -> list[int]:
    """Numbers of nodes, those of a region together; a result that is handed out right behind what makes it."""
    of_region = {number: region for region in found for number in region.nodes}
    heads = {
        number: max(of_region[number].nodes) if number in of_region else number for number in range(len(index.nodes))
    }
    members: dict[int, list[int]] = {}
    for number, head in heads.items():
        members.setdefault(head, []).append(number)
    before: dict[int, set[int]] = {head: set() for head in members}
    behind: dict[int, set[int]] = {head: set() for head in members}
    for number, node in enumerate(index.nodes):
        for name in node.input:
            maker = index.made.get(name)
            if maker is not None and heads[maker] != heads[number]:
                before[heads[number]].add(heads[maker])
                behind[heads[maker]].add(heads[number])

    def place(head: int) -> tuple[int, int]:
        node = index.nodes[head]
        if len(members[head]) == 1 and node.output[0] in results and node.input and node.input[0] in index.made:
            return heads[index.made[node.input[0]]], head
        return head, -1

    ready = [(place(head), head) for head in members if not before[head]]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        _, head = heapq.heappop(ready)
        order += members[head]
        for other in behind[head]:
            before[other].discard(head)
            if not before[other]:
                heapq.heappush(ready, (place(other), other))
    assert len(order) == len(index.nodes), "regions are convex"
    return order


def _groups(
    order: Sequence[int],
    found: Sequence[Region],
    index: Index,
    shapes: Shapes,
    weights: Mapping[str, int],
    most: int,
) -> Iterator[tuple[list[int], Region | None]]:
    """The steps' nodes, each with its region, if it is one."""
    of_region = {number: region for region in found for number in region.nodes}
    crossing = _crossing(order, index, shapes, weights)
    waiting: list[int] = []
    first = 0

    def cut(end: int) -> Iterator[tuple[list[int], Region | None]]:
        """The waiting nodes, in as many steps as their weights ask for."""
        begin = first
        while begin < end:
            stop = _stop(order, begin, end, index, weights, crossing, most)
            yield [*order[begin:stop]], None
            begin = stop

    place = 0
    while place < len(order):
        region = of_region.get(order[place])
        if region is None:
            waiting.append(order[place])
            place += 1
            continue
        yield from cut(place)
        yield [*order[place : place + len(region.nodes)]], region
        place += len(region.nodes)
        first = place
    yield from cut(place)


def _crossing(order: Sequence[int], index: Index, shapes: Shapes, weights: Mapping[str, int]) -> list[int]:
    """Bytes that are made before each place of the order and read behind it: place 1 is behind the first node."""
    at = {number: place for place, number in enumerate(order)}
    change = [0] * (len(order) + 2)
    for name, maker in index.made.items():
        readers = index.readers.get(name, ())
        if readers and name not in weights:
            change[at[maker] + 1] += shapes.bytes(name)
            change[max(at[n] for n in readers) + 1] -= shapes.bytes(name)
    return [*accumulate(change)]


def _stop(
    order: Sequence[int],
    begin: int,
    end: int,
    index: Index,
    weights: Mapping[str, int],
    crossing: Sequence[int],
    most: int,
) -> int:
    """Where a step that begins there ends: at most that many bytes of weights on, where the fewest bytes cross.

    Looked for in the second half of what it may hold; a single node that reads more is a step.
    """
    held, seen, half = 0, set[str](), begin + 1
    place = begin
    while place < end:
        fresh = {name for name in index.nodes[order[place]].input if name in weights} - seen
        held += sum(weights[name] for name in fresh)
        if held > most and place > begin:
            break
        seen |= fresh
        place += 1
        if held * 2 <= most:
            half = place
    if place == end:
        return end
    return min(range(max(half, begin + 1), place + 1), key=lambda p: (crossing[p], -p))


# --- a step as a model


class _StepWriter:
    def __init__(
        self,
        nodes: Sequence[onnx.NodeProto],
        inputs: Sequence[str],
        outputs: Sequence[str],
        initialisers: Mapping[str, onnx.TensorProto],
        shapes: Shapes,
    ) -> None:
        self.nodes = nodes
        self.inputs = inputs
        self.outputs = outputs
        self.initialisers = initialisers
        self.shapes = shapes
        self.names: dict[str, str] = {}
        self.written: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []

    def step(self, last: tuple[str, ...], region: Region | None, at_once_bytes: int, beside: int) -> Step:
        """The step, of whose inputs `last` are not needed any longer; `beside` are bytes of inputs and what waits."""
        inside = {name for node in self.nodes for name in node.output}
        alive = _most_alive(self.nodes, inside, self.shapes)
        given = [self._told(name) for name in self.inputs]
        if region is not None:
            given += [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [1]) for name in (BEGIN, END)]
        for node in self.nodes:
            self._write(node, region)
        made = [self._told(name, sized=region is None) for name in self.outputs]
        graph = helper.make_graph(self.written, "step", given, made, self.held)
        model = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION)
        by_rows = None
        if region is not None:
            at_once = max(1, min(region.rows, at_once_bytes // max(region.row_bytes, 1)))
            told = {n: region.told[name] for n, name in enumerate(self.outputs) if name in region.told}
            by_rows = ByRows(region.rows, at_once, told)
            alive = alive * at_once // region.rows + sum(map(self.shapes.bytes, self.outputs))
        names = tuple(self.inputs), tuple(self.outputs)
        return Step(model.SerializeToString(), *names, last, beside + alive, by_rows)

    def _told(self, name: str, *, sized: bool = True) -> onnx.ValueInfoProto:
        dims = self.shapes.dims.get(name) if sized else None
        return helper.make_tensor_value_info(self._called(name), self.shapes.types.get(name, _CARRIER), dims)

    def _called(self, name: str) -> str:
        if name not in self.names:
            self.names[name] = f"v{len(self.names)}"
            if name in self.initialisers:
                held = onnx.TensorProto()
                held.CopyFrom(self.initialisers[name])
                held.name = self.names[name]
                self.held.append(held)
        return self.names[name]

    def _write(self, node: onnx.NodeProto, region: Region | None) -> None:
        inputs = [self._called(name) if name else "" for name in node.input]
        if region is not None:
            inputs = [
                self._sliced(name, called) if name in region.sliced else called
                for name, called in zip(node.input, inputs, strict=True)
            ]
            if node.op_type in ("Reshape", "Expand"):
                dims = [*self.shapes.dims[node.output[0]]]
                dims[-2] = -1 if node.op_type == "Reshape" else 1
                inputs[1] = self._held(np.array(dims, np.int64))
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:], copy.output[:]
        copy.input.extend(inputs)
        copy.output.extend(self._called(name) if name else "" for name in node.output)
        copy.name = f"{node.name}#{len(self.written)}"
        self.written.append(copy)

    def _sliced(self, name: str, called: str) -> str:
        """The rows of a value that are asked for; cut once."""
        key = f"rows of {name}"
        if key not in self.names:
            self.names[key] = f"v{len(self.names)}"
            inputs = [called, BEGIN, END, self._held(np.array([-2], np.int64))]
            self.written.append(helper.make_node("Slice", inputs, [self.names[key]], name=f"Slice#{len(self.written)}"))
        return self.names[key]

    def _held(self, array: Array) -> str:
        name = f"c{len(self.held)}"
        self.held.append(numpy_helper.from_array(array, name))
        return name
