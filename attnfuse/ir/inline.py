"""Calls of functions replaced with the functions' nodes.

MindSpore leaves a function where a part of a model is compiled by itself (the blocks of CogVideoX); blocks that are
built alike share one, which is called once for each with other weights. Inlined, each call is a part of the graph like
any other. A function that is handed about as a value, which is how MindSpore writes an if or a while, stays one: what
is called there is only known at run time. So does one that such a function leads back to, a loop.

Source of what calls and functions mean: MindSpore 2.7.1's exports (see `graph`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import networkx as nx

from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.mindir.schema import GraphProto, ModelProto, NodeProto

LARGEST = 1 << 20
"""Nodes of a graph beyond which functions that are called several times stay: those of functions that call each other
twice double with each."""


@dataclass(frozen=True, slots=True)
class Inlined:
    """A call that is gone: the function, and the operators of its nodes, each once."""

    function: str
    operators: tuple[str, ...]


def inline_calls(model: Model) -> list[Inlined]:
    """Change the model in place; one record for each call that is gone, in the order of their nodes.

    The nodes of a function's first call keep their names, which are unique in the file, so whoever knows a node of the
    function finds it. Those of the call n of a node called `g:name:7` are called `g:name_calln:7`. Constants are not
    made twice: one that is read before its place moves in front of its first reader.

    The time is in proportion to the nodes that are read and written.
    """
    functions = inlinable(model)
    return _Inliner(model, functions).run() if functions else []


def inlined(model: Model) -> Model:
    """A copy without the calls that `inline_calls` takes away; the model itself where there are none."""
    if not inlinable(model):
        return model
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    copy = Model(proto)
    inline_calls(copy)
    return copy


def inlinable(model: Model) -> dict[str, GraphProto]:
    """The functions that are called by name and whose calls can be replaced, by name.

    They have one output and no weights of their own, nothing refers to them but calls, and nothing in them leads back
    to them.
    """
    functions = {function.name: function for function in model.proto.functions}
    if not functions:
        return {}
    looped = _looped(model, functions)
    found = {
        name: function
        for name, function in functions.items()
        if len(function.output) == 1
        and not function.parameter
        and name not in looped
        and all(use.position == -1 for use in model.uses(name))
        and model.uses(name)
    }
    times = _occurrences(model, found)
    if sum(times[graph.name] * len(graph.node) for graph in model.graphs) <= LARGEST:
        return found
    return {name: function for name, function in found.items() if len(model.uses(name)) == 1}


def _callee(model: Model, message: NodeProto) -> str | None:
    """The function or the value that the node calls; None for an operator or a constant."""
    if message.op_type == CONSTANT or message.op_type in model.primitives:
        return None
    return message.op_type.removeprefix("REF::")


def _references(model: Model, functions: dict[str, GraphProto]) -> nx.DiGraph[str]:
    """An edge from each graph to each function that it calls or hands on."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from((model.proto.graph.name, *functions))
    for name in functions:
        graph.add_edges_from((use.node.graph.name, name) for use in model.uses(name) if use.node is not None)
    return graph


def _looped(model: Model, functions: dict[str, GraphProto]) -> set[str]:
    """The functions that lead back to themselves."""
    graph = _references(model, functions)
    looped = {name for part in nx.strongly_connected_components(graph) if len(part) > 1 for name in part}
    return looped | {name for name in functions if graph.has_edge(name, name)}


def occurrences(model: Model) -> dict[str, int]:
    """How often the nodes of each graph stand in the file once calls are inlined, by the graph's name."""
    return _occurrences(model, inlinable(model))


def _occurrences(model: Model, functions: dict[str, GraphProto]) -> dict[str, int]:
    """The same for given functions, none of which leads back to itself."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(each.name for each in model.graphs)
    calls: Counter[tuple[str, str]] = Counter()
    for name in functions:
        calls.update((use.node.graph.name, name) for use in model.uses(name) if use.node is not None)
    graph.add_edges_from(calls)
    found: dict[str, int] = {}
    for name in nx.topological_sort(graph):
        callers = sum(found[caller] * calls[caller, name] for caller in graph.predecessors(name))
        found[name] = callers if name in functions else 1
    return found


@dataclass(slots=True)
class _Frame:
    """One graph while its nodes are written: where in it the walk is, and what its values are called there."""

    graph: GraphProto
    names: dict[str, str]
    call: NodeProto | None = None
    at: int = 0

    def name(self, value: str) -> str:
        return self.names.get(value, value)


@dataclass(slots=True)
class _Inliner:
    model: Model
    functions: dict[str, GraphProto]
    written: set[str] = field(default_factory=set)
    """The constants that are written already."""
    times: Counter[str] = field(default_factory=Counter)
    """How often the node of a name has been written."""
    done: list[Inlined] = field(default_factory=list)

    def run(self) -> list[Inlined]:
        kept = [graph for graph in self.model.graphs if graph.name not in self.functions]
        made = [self._flat(graph) for graph in kept]
        for graph, flat in zip(kept, made, strict=True):
            del graph.node[:]
            graph.node.extend(flat.node)
            for output, renamed in zip(graph.output, flat.output, strict=True):
                output.name = renamed.name
        remaining = self.model.proto.functions
        for index in reversed(range(len(remaining))):
            if remaining[index].name in self.functions:
                del remaining[index]
        self.model.index()
        return self.done

    def _flat(self, graph: GraphProto) -> GraphProto:
        """The graph's nodes with those of the functions that it calls, and the names of its outputs then."""
        flat, names = GraphProto(), dict[str, str]()
        stack = [_Frame(graph, names)]
        while stack:
            frame = stack[-1]
            if frame.at == len(frame.graph.node):
                stack.pop()
                if frame.call is not None:
                    stack[-1].names[frame.call.output[0]] = frame.name(frame.graph.output[0].name)
                continue
            message = frame.graph.node[frame.at]
            frame.at += 1
            function = self.functions.get(_callee(self.model, message) or "")
            if function is not None:
                arguments = {v.name: frame.name(a) for v, a in zip(function.input, message.input, strict=True)}
                for name in arguments.values():
                    self._constant(flat, name)
                stack.append(_Frame(function, arguments, message))
                self.done.append(Inlined(function.name, tuple(sorted(set(self._operators(function))))))
            else:
                self._write(flat, frame, message)
        for output in graph.output:
            name = names.get(output.name, output.name)
            self._constant(flat, name)
            flat.output.add(name=name)
        return flat

    def _operators(self, function: GraphProto) -> Iterator[str]:
        for message in function.node:
            node = self.model.producer(message.output[0])
            assert node is not None  # the index holds every node
            yield node.op

    def _write(self, flat: GraphProto, frame: _Frame, message: NodeProto) -> None:
        """The node as it is in the frame: constants once, others under a name of their own."""
        value = message.output[0]
        if message.op_type == CONSTANT:
            self._constant(flat, value)
            return
        inputs = [frame.name(name) for name in message.input]
        callee = _callee(self.model, message)
        for name in inputs:
            self._constant(flat, name)
        made = flat.node.add()
        made.CopyFrom(message)
        made.input[:] = inputs
        if callee is not None:
            made.op_type = f"REF::{frame.name(callee)}"
        self.times[value] += 1
        if self.times[value] > 1:
            frame.names[value] = self._name(value, self.times[value])
            made.output[0] = frame.names[value]
            if message.name:
                made.name = self._name(message.name, self.times[value])

    def _constant(self, flat: GraphProto, value: str) -> None:
        """Write the constant, if it is one and not written yet."""
        node = self.model.producer(value)
        if node is not None and node.op == CONSTANT and value not in self.written:
            self.written.add(value)
            flat.node.add().CopyFrom(node.proto)

    def _name(self, name: str, call: int) -> str:
        """The name of a node in one of the calls of its function but the first."""
        head, _, rest = name.partition(":")
        middle, _, tail = rest.rpartition(":")
        made = f"{head}:{middle}_call{call}:{tail}" if middle else f"{name}_call{call}"
        while self.model.producer(made) is not None:
            made += "_"
        return made
