"""A pair cut behind the layout at its edge: what the original does there, the rewrite undoes.

A formula splits heads and moves axes before it computes anything, where a fused operator takes its operands as they
are. Cut behind its first Reshape or Transpose, the original is given what that makes, and the rewrite makes of it, with
the opposite Reshape or Transpose, what was given before; and so for the last one. Both graphs compute what they did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.types import TensorType, declaration
from attnfuse.mindir.schema import AttributeProto, ModelProto, NodeProto
from attnfuse.reduction.parts import Cutter


def without_edge_layouts(graphs: tuple[ModelProto, ...]) -> Iterator[tuple[ModelProto, ModelProto]]:
    """The pair with one Reshape or Transpose less in the original, and one more in the rewrite."""
    before = Model(graphs[0])
    for given in before.proto.graph.input:
        uses = before.uses(given.name)
        node = uses[0].node if len(uses) == 1 else None
        if node is not None and (moved := _given(before, graphs[1], node)) is not None:
            yield moved
    outputs = before.proto.graph.output
    last = before.producer(outputs[0].name) if len(outputs) == len(graphs[1].graph.output) == 1 else None
    if (
        last is not None
        and len(before.uses(last.name)) == 1
        and (moved := _giving(before, graphs[1], last)) is not None
    ):
        yield moved


def with_fewer_reshapes(graphs: tuple[ModelProto, ...]) -> Iterator[tuple[ModelProto, ModelProto]]:
    """The pair, in the rewrite one Reshape of what another one made less: the shape of the last is what counts."""
    after = Model(graphs[1])
    for node in after.nodes:
        inner = after.producer(node.inputs[0]) if node.op == "Reshape" else None
        if inner is not None and inner.op == "Reshape" and node.graph is after.proto.graph:
            made = _copy(graphs[1])
            made.graph.node[node.index].input[0] = inner.inputs[0]
            yield graphs[0], made


def _given(before: Model, fused: ModelProto, layout: Node) -> tuple[ModelProto, ModelProto] | None:
    """What the layout makes is an input in place of what it reads."""
    value = layout.inputs[0]
    if not _is_free(fused, layout.name):
        return None
    outputs = [output.name for output in before.proto.graph.output]
    cutter = Cutter(before)
    nodes, _ = cutter.behind(outputs, {layout.name})
    leaves = [layout.name if given.name == value else given.name for given in before.proto.graph.input]
    after = _copy(fused)
    opposite = _opposite(before, layout, after, layout.name, value)
    if not nodes or opposite is None:
        return None
    original = cutter.extract(nodes, outputs, leaves)
    del after.graph.input[:]
    after.graph.input.extend(original.graph.input)
    for node in reversed(opposite):
        after.graph.node.insert(0, node)
    return original, after


def _giving(before: Model, fused: ModelProto, layout: Node) -> tuple[ModelProto, ModelProto] | None:
    """What the layout reads is the output in place of what it makes."""
    value = layout.inputs[0]
    cutter = Cutter(before)
    nodes, _ = cutter.behind([value], frozenset())
    after = _copy(fused)
    opposite = _opposite(before, layout, after, after.graph.output[0].name, value) if _is_free(fused, value) else None
    if not nodes or opposite is None:
        return None
    original = cutter.extract(nodes, [value], [given.name for given in before.proto.graph.input])
    after.graph.node.extend(opposite)
    del after.graph.output[:]
    after.graph.output.extend(original.graph.output)
    return original, after


def _opposite(before: Model, layout: Node, after: ModelProto, source: str, made: str) -> list[NodeProto] | None:
    """Nodes that make `made` of `source` as the layout's input is made of its result: its argument, and itself.

    Enters the operator among those of `after`. None for what is no layout, or has no opposite that is known.
    """
    kind = before.type_of(made)
    if layout.op not in ("Reshape", "Transpose") or len(layout.inputs) != 2 or kind is None or not kind.is_static:
        return None
    order = before.literal(layout.inputs[1]) if before.is_literal(layout.inputs[1]) else None
    argument: Sequence[int] = kind.dims
    if layout.op == "Transpose":
        axes = [axis % kind.rank for axis in order if isinstance(axis, int)] if isinstance(order, tuple) else []
        if sorted(axes) != list(range(kind.rank)):
            return None
        argument = [axes.index(axis) for axis in range(kind.rank)]
    entry = before.primitives[layout.reference]
    known = next((each for each in after.primitives if each.name == entry.name), None)
    if known is not None and known != entry:
        return None
    if known is None:
        after.primitives.append(entry)
    constant = NodeProto(name=f"opposite_of_{layout.name}", op_type="Constant")
    constant.output.append(constant.name)
    value = constant.attribute.add(name="value", type=AttributeProto.TUPLE)
    for number in argument:
        value.values.add(type=AttributeProto.INT64).ints.append(number)
    node = NodeProto(name=made, op_type=layout.reference, domain=layout.scope, input=[source, constant.name])
    node.output.append(made)
    node.attribute.append(_shape(kind))
    return [constant, node]


def _shape(kind: TensorType) -> AttributeProto:
    shape = declaration(kind)
    assert shape is not None
    shape.name = "shape"
    return shape


def _is_free(proto: ModelProto, name: str) -> bool:
    """Whether no node of the graph makes a value of that name."""
    return all(node.output[0] != name for node in proto.graph.node)


def _copy(proto: ModelProto) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(proto)
    return made
