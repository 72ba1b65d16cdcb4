"""Inputs of one type made one, weights too, and then what is computed twice: what differs afterwards differed before.

Graphs that are equal on all inputs are equal on inputs that are alike. So merging makes smaller what is looked for and
never brings it about; where a pass is looked at, it is tried whether it still goes the way it went.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from attnfuse.ir.graph import Model, tensor_type
from attnfuse.mindir.edits import edited_weight
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import ModelProto, NodeProto, TensorProto
from attnfuse.reduction.parts import Cutter


def merged_inputs(graphs: Sequence[ModelProto]) -> Iterator[tuple[ModelProto, ...]]:
    """The graphs, which take the same inputs, with two of these made one, for any two of one type."""
    types = {value.name: tensor_type(value.tensor[0]) for value in graphs[0].graph.input if len(value.tensor) == 1}
    for first, second in combinations(types, 2):
        if types[first] is not None and types[first] == types[second]:
            yield tuple(_renamed(graph, {second: first}) for graph in graphs)


def merged_weights(graphs: Sequence[ModelProto]) -> Iterator[tuple[ModelProto, ...]]:
    """The same for weights of the first graph; in the others, what is made of the one is made of the other."""
    own = {parameter_name(p): tensor_type(p) for p in graphs[0].graph.parameter}
    for first, second in combinations(own, 2):
        if own[first] is not None and own[first] == own[second]:
            yield tuple(_with_weight(graph, own, first, second) for graph in graphs)


def _with_weight(graph: ModelProto, sources: Mapping[str, object], first: str, second: str) -> ModelProto:
    """The graph with every weight that is `second`, or is made of it, that of `first` instead."""
    known = {parameter_name(p): p.name for p in graph.graph.parameter}
    renamed: dict[str, str] = {}
    added: list[TensorProto] = []
    for parameter in graph.graph.parameter:
        name = parameter_name(parameter)
        made = edited_weight(name, sources)
        wanted = first if name == second else made.edits.name(first) if made and made.source == second else None
        if wanted is None:
            continue
        renamed[parameter.name] = known.setdefault(wanted, parameter.name.removesuffix(name) + wanted)
        if all(p.name != renamed[parameter.name] for p in (*graph.graph.parameter, *added)):
            message = TensorProto()
            message.CopyFrom(parameter)
            message.name, message.ref_key = renamed[parameter.name], wanted
            added.append(message)
    return _renamed(graph, renamed, added)


def _renamed(proto: ModelProto, renamed: Mapping[str, str], added: Sequence[TensorProto] = ()) -> ModelProto:
    """The graph where readers of a value read another, and what then is computed twice is computed once."""
    made = ModelProto()
    made.CopyFrom(proto)
    graph = made.graph
    for name in ("input", "parameter"):
        graph.ClearField(name)
    graph.input.extend(value for value in proto.graph.input if value.name not in renamed)
    graph.parameter.extend(p for p in (*proto.graph.parameter, *added) if p.name not in renamed)
    instead = dict(renamed)
    seen: dict[tuple[object, ...], str] = {}
    for node in graph.node:
        node.input[:] = [instead.get(value, value) for value in node.input]
        first = seen.setdefault(_computed(node), node.output[0])
        if first != node.output[0]:
            instead[node.output[0]] = first
    outputs = list(dict.fromkeys(instead.get(output.name, output.name) for output in graph.output))
    for output, name in zip(graph.output, outputs, strict=False):
        output.name = name
    del graph.output[len(outputs) :]
    cutter = Cutter(Model(made))
    kept = {name for name in cutter.names if name not in instead}
    return cutter.extract(kept, outputs, [value.name for value in graph.input])


def _computed(node: NodeProto) -> tuple[object, ...]:
    """Equal for nodes that give the same: operator, operands, attributes."""
    attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
    return (node.op_type, tuple(node.input), *attributes)
