"""Nodes that cannot be run, taken out of both graphs: what they make becomes inputs, what they are made of outputs.

An operator without a rule is some function, unknown and the same in both graphs. If all that it is given agrees, and
all that is made of what it gives agrees whatever that is, then the graphs agree: everything but the node itself is
verified. Where only one of the graphs has such a node, the value is taken out that a rewrite made with it, or in place
of it; that the two ways of making this value agree is then verified by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from attnfuse.ir.graph import CALL, CONSTANT, Model, short_name
from attnfuse.ir.operators.table import OPERATORS
from attnfuse.ir.questions import changed
from attnfuse.mindir.schema import GraphProto, ModelProto
from attnfuse.verify.graph.sites import (
    Behind,
    changed_values,
    constant_operands,
    elements_read,
    joined_operands,
    nearest_common,
    new_behind,
    same_operator,
)

Side = Literal[0, 1]
"""The original, the fused graph."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A value that is taken out: the tensors that others read of it, what goes into it in either graph, as many and of
    the same types, and what is not verified."""

    value: str
    results: tuple[str, ...]
    operands: tuple[tuple[str, ...], tuple[str, ...]]
    said: str


def find_gaps(
    original: Model, fused: Model, unknown: tuple[Mapping[str, str], Mapping[str, str]], has_rule: Callable[[str], bool]
) -> list[Gap]:
    """What to take out of two graphs without calls; `unknown` are the nodes of each that cannot be run, and why.

    There is no gap for a node that neither is in both nor is behind a value that both name, and for one that writes to
    memory. Nor for a node of the fused graph alone whose operator `has_rule`: it is one that no rewrite may write.
    """
    gaps: dict[str, Gap] = {}
    for name, reason in unknown[0].items():
        operands = _paired_operands(original, fused, name) if name in unknown[1] else None
        if operands is not None:
            said = f"{reason}: taken for the same in both graphs, and what follows was run on values drawn in its place"
            gaps[name] = Gap(name, elements_read(original, fused, name), operands, said)
    made_of = Behind(original)
    for value, op in changed_values(original, fused):
        if value in gaps:
            continue
        made = new_behind(fused, value, original)
        reasons = [unknown[0][node.name] for node in new_behind(original, value, fused) if node.name in unknown[0]]
        reasons += [unknown[1][node.name] for node in made if node.name in unknown[1]]
        if reasons and not any(node.name in unknown[1] and has_rule(node.op) for node in made):
            said = f"{op} {short_name(value)} was replaced, and one of the two cannot be run: {reasons[0]}"
            nearest = tuple(sorted(nearest_common(original, fused, made_of, value)))
            gaps[value] = Gap(value, elements_read(original, fused, value), (nearest, nearest), said)
    return [gap for gap in gaps.values() if not any(_writes(model, gap.value) for model in (original, fused))]


def foreign_gaps(model: Model) -> list[Gap]:
    """Nodes of operators that are not MindSpore's, as far as the operator table tells, and write to no memory."""
    return [
        Gap(
            node.name,
            elements_read(model, model, node.name),
            ((), ()),
            f"{node.op} {short_name(node.name)}: MindSpore does not know the operator",
        )
        for node in model.nodes
        if node.op not in (CONSTANT, CALL) and node.op not in OPERATORS and not changed(model, node)
    ]


def _paired_operands(original: Model, fused: Model, name: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """What goes into the node of that name in either graph, in its order; None where it is not the same operator on
    tensors of the same types."""
    before, after = original.producer(name), fused.producer(name)
    if before is None or after is None or not same_operator(original, before, fused, after):
        return None
    first, second = tuple(joined_operands(original, before)), tuple(joined_operands(fused, after))
    types = [original.type_of(v) for v in first], [fused.type_of(v) for v in second]
    are_alike = types[0] == types[1] and original.types_of(name) == fused.types_of(name)
    are_alike &= constant_operands(original, before) == constant_operands(fused, after)
    return (first, second) if are_alike else None


def _writes(model: Model, value: str) -> bool:
    node = model.producer(value)
    return node is not None and bool(changed(model, node))


def take_out(model: Model, gaps: Sequence[Gap], side: Side) -> Model:
    """A copy of the graph, which takes the results of the gaps, and gives what goes into them behind its own outputs.

    What was an output and is a gap's result is none any more.
    """
    results = list(dict.fromkeys(result for gap in gaps for result in gap.results))
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for graph in (proto.graph, *proto.functions):
        _drop(graph, set(results))
    for result in results:
        tensor_type = model.type_of(result)
        assert tensor_type is not None  # `elements_read` gives tensors
        tensor = proto.graph.input.add(name=result).tensor.add(data_type=tensor_type.dtype.wire)
        tensor.dims.extend(tensor_type.dims)
    outputs = GraphProto()
    outputs.output.extend(output for output in proto.graph.output if output.name not in results)
    for gap in gaps:
        for pair in zip(*gap.operands, strict=True):
            if not _is_given(model, pair, results):
                outputs.output.add(name=pair[side])
    del proto.graph.output[:]
    proto.graph.output.extend(outputs.output)
    return Model(proto)


def _is_given(model: Model, pair: tuple[str, str], results: Sequence[str]) -> bool:
    """Whether both graphs have the operand from outside: it need not be compared."""
    return pair[0] == pair[1] and (pair[0] in results or model.producer(pair[0]) is None)


def _drop(graph: GraphProto, values: set[str]) -> None:
    kept = GraphProto()
    kept.node.extend(message for message in graph.node if message.output[0] not in values)
    del graph.node[:]
    graph.node.extend(kept.node)
