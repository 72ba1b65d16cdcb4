"""A pair cut at heads that the rewrite padded: the linear layers around them stay out.

Where heads are padded, the weights of the linear layers around them are (see `attnfuse.mindir.edits`), and no value
between these is one of both graphs. But the weight's name says what is between them: the rewrite's value is the
original's with zeros behind each head. So the original is cut at its own value; in the rewrite, what pads an input so
(Reshape, PadV3, Reshape), or takes the heads out of a result (Reshape, a slice, Reshape), stands for the layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from attnfuse.ir.builder import Builder, NotWritableError
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import Model, Node, short_name
from attnfuse.ir.questions import factor_positions, reads_memory
from attnfuse.mindir.edits import Pad, edited_weight
from attnfuse.mindir.external import parameter_name
from attnfuse.mindir.schema import ModelProto
from attnfuse.reduction.parts import Cutter

_FEATURES, _INPUTS = 0, 1
"""Axes of a linear layer's weight: its outputs, its inputs."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """A linear layer in the original, and in the rewrite with a weight that is padded along one axis."""

    original: Node
    fused: Node
    pad: Pad


def without_padded_layers(graphs: tuple[ModelProto, ...]) -> Iterator[tuple[ModelProto, ModelProto]]:
    """The pair with one linear layer less whose weight was padded: cut at its result, or at what it reads."""
    before, after = Model(graphs[0]), Model(graphs[1])
    for layer in _layers(before, after):
        cut = _given if layer.pad.axis == _FEATURES else _giving
        try:
            made = cut(before, graphs[1], layer)
        except NotWritableError:
            continue
        if made is not None:
            yield made


def _layers(before: Model, after: Model) -> Iterator[_Layer]:
    """Those whose weight, in both graphs, one node reads."""
    own = {parameter_name(parameter): parameter.name for parameter in before.parameters()}
    for parameter in after.parameters():
        made = edited_weight(parameter_name(parameter), own)
        if made is None or made.edits.dtype is not None or made.edits.cuts or len(made.edits.pads) != 1:
            continue
        original, fused = _reader(before, own[made.source]), _reader(after, parameter.name)
        if original is None or fused is None or _has_bias(before, original) != _has_bias(after, fused):
            continue
        kinds = before.type_of(original.name), after.type_of(fused.name)
        if kinds[0] is not None and kinds[1] is not None and kinds[0].dtype == kinds[1].dtype:
            yield _Layer(original, fused, made.edits.pads[0])


def _reader(model: Model, weight: str) -> Node | None:
    """The linear layer that reads the weight, where nothing else does."""
    uses = model.uses(weight)
    node = uses[0].node if len(uses) == 1 else None
    if node is not None and reads_memory(node):
        return _reader(model, node.name)
    return node if node is not None and factor_positions(node) == (0, 1) and uses[0].position == 1 else None


def _has_bias(model: Model, node: Node) -> bool:
    return any(model.type_of(value) is not None for value in node.inputs[2:])


def _given(before: Model, fused: ModelProto, layer: _Layer) -> tuple[ModelProto, ModelProto] | None:
    """The layer's result is an input."""
    value = layer.original.name
    outputs = [output.name for output in before.proto.graph.output]
    cutter = Cutter(before)
    nodes, reached = cutter.behind(outputs, {value})
    if not nodes or reached != [value]:
        return None
    leaves = [*(given.name for given in before.proto.graph.input), value]
    original = cutter.extract(nodes, outputs, leaves)
    after = _copy(fused)
    after.graph.input.append(original.graph.input[-1])
    model, edit, builder = _edited(after, layer)
    kind, wide = model.type_of(value), model.type_of(layer.fused.name)
    assert kind is not None
    assert wide is not None
    head = kind.dims[-1] // layer.pad.groups
    apart = builder.reshape(value, (kind.size // kind.dims[-1], layer.pad.groups, head))
    builder.finish(builder.reshape(builder.pad_last(apart, layer.pad.count), wide.dims))
    edit.apply()
    return original, model.proto


def _giving(before: Model, fused: ModelProto, layer: _Layer) -> tuple[ModelProto, ModelProto] | None:
    """What the layer reads is the output, where its result is the only one."""
    value, wide_value = layer.original.inputs[0], layer.fused.inputs[0]
    cutter = Cutter(before)
    nodes, _ = cutter.behind([value], frozenset())
    if not nodes or [output.name for output in before.proto.graph.output] != [layer.original.name]:
        return None
    original = cutter.extract(nodes, [value], [given.name for given in before.proto.graph.input])
    model, edit, builder = _edited(_copy(fused), layer)
    kind, wide = before.type_of(value), model.type_of(wide_value)
    if kind is None or wide is None or not kind.is_static or model.producer(value) is not None:
        return None
    head = kind.dims[-1] // layer.pad.groups
    apart = builder.reshape(wide_value, (kind.size // kind.dims[-1], layer.pad.groups, head + layer.pad.count))
    made = builder.reshape(builder.take_last(apart, head), kind.dims)
    builder.stand_before()
    edit.apply()
    node = model.producer(made)
    assert node is not None
    node.proto.output[0] = node.proto.name = value
    del model.proto.graph.output[:]
    model.proto.graph.output.extend(original.graph.output)
    return original, model.proto


def _edited(proto: ModelProto, layer: _Layer) -> tuple[Model, Edit, Builder]:
    """The rewrite, to be changed at the layer's node."""
    model = Model(proto)
    node = model.producer(layer.fused.name)
    assert node is not None
    edit = Edit(model)
    site = "cut_" + re.sub(r"\W", "_", short_name(layer.original.name))
    return model, edit, Builder(edit, node, site)


def _copy(proto: ModelProto) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(proto)
    return made
