"""The walk over a file: from its outputs back, calls inlined, what no output needs left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from attnfuse.ir.effects import effective_uses
from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, NotALiteralError, read_literal, short_name, tensor_type
from attnfuse.ir.questions import changed, keeps_order, makes_tuple, orders_effects, takes_element
from attnfuse.ir.types import Literal, TensorType
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.schema import AttributeProto, GraphProto, TensorProto
from attnfuse.verify.graph.fused_nodes import FUSED_OPS, MalformedError, read, sizes
from attnfuse.verify.graph.needed import needed_values
from attnfuse.verify.lowering import composites, creation, elementwise, layout, linear, lookups, reductions
from attnfuse.verify.lowering.arithmetic import Arithmetic, Rounding, onnx_type
from attnfuse.verify.lowering.context import (
    INT64_MAX,
    RULES,
    Constant,
    LoweringContext,
    Monad,
    Result,
    Tensor,
    UnsupportedOpError,
    Value,
    array_type,
)
from attnfuse.verify.lowering.fused import MICROSOFT, lower_fused
from attnfuse.verify.lowering.writer import OnnxWriter
from attnfuse.verify.names import leaf_name

FAMILIES = (composites, creation, elementwise, layout, linear, lookups, reductions)
"""The modules whose import filled the table of rules."""

OPSETS = (helper.make_opsetid("", 23), helper.make_opsetid(MICROSOFT, 1))
IR_VERSION = 11
_SAMPLED = 1024
LOADING, HANDING_OUT = "(weights and inputs)", "(results)"
"""What nodes are called that are no operator's."""


@dataclass(frozen=True, slots=True)
class Feed:
    """One input of the ONNX model: `value` is its name in MindIR, `parameter` its message where it is a weight."""

    name: str
    value: str
    tensor_type: TensorType
    parameter: TensorProto | None


@dataclass(frozen=True, slots=True)
class Lowered:
    """An ONNX model that takes inputs and weights in the types they are stored in, and what each stands for."""

    model: onnx.ModelProto
    feeds: tuple[Feed, ...]
    outputs: tuple[TensorType, ...]
    """Declared types; the run gives them as carried (float32 or float64). The taps' and peaks' follow the graph's."""


def lower(
    model: Model,
    arithmetic: Arithmetic,
    rounding: Mapping[str, Rounding] | None = None,
    *,
    taps: Sequence[str] = (),
    peaks: Sequence[str] = (),
    samples: Sequence[str] = (),
    instead: DType | None = None,
) -> Lowered:
    """The file as an ONNX model.

    `rounding` maps names of nodes to what a fused node in their place would round of them.
    `taps` are values of the graph that become outputs too, after the graph's own, and
    `peaks` results of nodes of whose elements the largest magnitude does, as a scalar: scores are too large to be
    handed out. Of a node that multiplies and adds it is that of the product. `samples` are results of nodes of which
    some elements do, last of all. `instead` takes the place of every 16-bit type in NATIVE arithmetic, weights too.
    A value of a function that is called more than once is that of the last call.
    Raises UnsupportedOpError, naming the node, for an operator without a rule, a call of a value (Switch, Partial),
    or a size not known before run time.
    """
    return _Walk(model, OnnxWriter(arithmetic, instead=instead), rounding or {}, taps, peaks, samples).run()


def unknown_nodes(model: Model) -> dict[str, str]:
    """The nodes that `lower` has no rule for, or whose rule refuses them, with the reasons; in file order.

    Raises UnsupportedOpError where the type of what such a node gives is not known, or an input cannot be fed.
    """
    walk = _Walk(model, OnnxWriter(Arithmetic.EXACT), {}, (), (), ())
    walk.unknown = {}
    walk.inputs()
    walk.nodes(model.proto.graph)
    return walk.unknown


def has_rule(op: str) -> bool:
    """Whether nodes of the operator are run, unless their arguments forbid it."""
    return op in RULES or op in FUSED_OPS


class _Walk:
    def __init__(
        self,
        model: Model,
        writer: OnnxWriter,
        rounding: Mapping[str, Rounding],
        taps: Sequence[str],
        peaks: Sequence[str],
        samples: Sequence[str],
    ) -> None:
        self.model = model
        self.writer = writer
        self.rounding = rounding
        self.functions = {g.name: g for g in model.proto.functions}
        self.feeds: list[Feed] = []
        self.env: dict[str, Value] = {}
        self.taps = taps
        self.peaks: dict[str, Tensor | None] = dict.fromkeys(peaks)
        self.samples: dict[str, Tensor | None] = dict.fromkeys(samples)
        self.needed = needed_values(model, (*taps, *peaks))
        self.parameters = {p.name: p for p in model.parameters()}
        self.unknown: dict[str, str] | None = None
        """Where it is given, nodes without a rule go there, with the reasons, and a stand-in takes their place."""
        self.labelled = 0

    def inputs(self) -> None:
        """Feed the graph's inputs."""
        for value in self.model.proto.graph.input:
            kind = tensor_type(value.tensor[0]) if len(value.tensor) == 1 else None
            if kind is None or not kind.is_static:
                raise UnsupportedOpError(f"input {leaf_name(value.name)} is of a type or size that cannot be run")
            self._feed(value.name, kind, None)

    def run(self) -> Lowered:
        top = self.model.proto.graph
        self.inputs()
        self.nodes(top)
        outputs: list[Tensor] = []
        for output in top.output:
            outputs += self._leaves(self._output(output.name), output.name)
        for tap in self.taps:
            outputs += self._leaves(self.env[tap], tap)
        outputs += [told for told in (*self.peaks.values(), *self.samples.values()) if told is not None]
        # The names of the results are fixed by one last node each, as an output may also be an input.
        names = [f"out{i}" for i in range(len(outputs))]
        for name, tensor in zip(names, outputs, strict=True):
            self.writer.nodes.append(helper.make_node("Identity", [tensor.name], [name]))
        self._label(HANDING_OUT)
        graph = helper.make_graph(
            self.writer.nodes,
            "lowered",
            [
                helper.make_tensor_value_info(f.name, onnx_type(f.tensor_type.dtype), f.tensor_type.dims)
                for f in self.feeds
            ],
            [
                helper.make_tensor_value_info(n, onnx_type(self.writer.arithmetic.carry(t.tensor_type.dtype)), None)
                for n, t in zip(names, outputs, strict=True)
            ],
            self.writer.initialisers,
        )
        proto = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION)
        return Lowered(proto, tuple(self.feeds), tuple(t.tensor_type for t in outputs))

    def _output(self, name: str) -> Value:
        """What the graph hands out, which may be a weight or a constant that no node reads."""
        if name not in self.env:
            self._leaf(name)
        return self.env[name]

    def _leaves(self, value: Value, name: str) -> list[Tensor]:
        if isinstance(value, Tensor):
            return [value]
        if isinstance(value, tuple):
            return [leaf for element in value for leaf in self._leaves(element, name)]
        if isinstance(value, Constant) and isinstance(value.value, np.ndarray):
            return [Tensor(self.writer.carried(value.value), array_type(value.value))]
        raise UnsupportedOpError(f"output {short_name(name)} is no tensor")

    def _peak(self, node: Node) -> Tensor:
        """Written right behind the node, so that its result need not live on for it.

        Without a copy of the tensor, which taking magnitudes first would be.
        """
        (tensor,) = self._leaves(self.env[node.name], node.name)
        name = self.writer.products.get(node.name, tensor.name)
        most = self.writer.emit("ReduceMax", name, keepdims=0)
        least = self.writer.emit("Neg", self.writer.emit("ReduceMin", name, keepdims=0))
        return Tensor(self.writer.emit("Max", most, least), TensorType((), tensor.tensor_type.dtype))

    def _sample(self, node: Node) -> Tensor:
        """Some hundred elements, evenly and an odd number apart: an even one may meet the same few columns only."""
        (tensor,) = self._leaves(self.env[node.name], node.name)
        step = tensor.tensor_type.size // _SAMPLED | 1
        bounds = [self.writer.integers([n]) for n in (0, INT64_MAX, 0, step)]
        flat = self.writer.emit("Slice", self.writer.reshape(tensor.name, [tensor.tensor_type.size]), *bounds)
        return Tensor(flat, TensorType((-(-tensor.tensor_type.size // step),), tensor.tensor_type.dtype))

    def _feed(self, value: str, tensor_type: TensorType, parameter: TensorProto | None) -> None:
        name = f"{'w' if parameter is not None else 'in'}{len(self.feeds)}"
        self.feeds.append(Feed(name, value, tensor_type, parameter))
        carrier = self.writer.arithmetic.carry(tensor_type.dtype)
        held = name if carrier is tensor_type.dtype else self.writer.emit("Cast", name, to=onnx_type(carrier))
        if self.writer.instead is not None and parameter is not None:
            held = self.writer.round_to(held, tensor_type.dtype, carrier)
        self.env[value] = Tensor(held, tensor_type)

    def nodes(self, graph: GraphProto) -> None:
        """Every needed node of the graph, in file order, which is topological."""
        for message in graph.node:
            node = self.model.producer(message.output[0])
            assert node is not None  # the index holds every node
            if node.op == CONSTANT or node.name not in self.needed:
                continue
            for value in node.inputs:
                if value not in self.env:
                    self._leaf(value)
            self._label(LOADING)
            self.env[node.name] = self._made(node)
            if node.name in self.peaks:
                self.peaks[node.name] = self._peak(node)
            if node.name in self.samples:
                self.samples[node.name] = self._sample(node)
            self._label(node.op)

    def _label(self, op: str) -> None:
        """Call the nodes that were written for the operator after it, for a profile."""
        for made in self.writer.nodes[self.labelled :]:
            made.name = op
        self.labelled = len(self.writer.nodes)

    def _made(self, node: Node) -> Value:
        try:
            return self._call(node) if node.op == CALL else self._node(node)
        except UnsupportedOpError as error:
            if self.unknown is None:
                raise
            self.unknown[node.name] = str(error)
            types = self.model.types_of(node.name)
            stands = tuple(Tensor("", t) for t in (types if isinstance(types, tuple) else (types,)) if t is not None)
            if not stands or not all(t.tensor_type.is_static for t in stands):
                raise
            return stands if isinstance(types, tuple) else stands[0]

    def _leaf(self, value: str) -> None:
        """A constant or a weight, at its first use: a weight is then converted just before it is needed."""
        parameter = self.parameters.get(value)
        if parameter is not None:
            kind = tensor_type(parameter)
            if kind is None:
                raise UnsupportedOpError(f"parameter {leaf_name(value)} is of a type that cannot be run")
            self._feed(value, kind, parameter)
            return
        try:
            self.env[value] = Constant(self.model.literal(value))
        except NotALiteralError:
            self.env[value] = Monad()

    def _call(self, node: Node) -> Value:
        function = self.functions.get(node.proto.op_type.removeprefix("REF::"))
        if function is None or len(function.output) != 1:
            raise UnsupportedOpError(f"{short_name(node.name)}: a call of a value, not of a function")
        for parameter, argument in zip(function.input, node.inputs, strict=True):
            self.env[parameter.name] = self.env[argument]
        self.nodes(function)
        return self.env[function.output[0].name]

    def _node(self, node: Node) -> Value:
        operands = [self.env[v] for v in node.inputs]
        rounding = self.rounding.get(node.name)
        if rounding is not None and rounding.stored:
            operands[0] = self._moved(node, rounding)
        if keeps_order(node):
            return operands[0]
        if orders_effects(node):
            return Monad()
        if makes_tuple(node):
            return tuple(operands)
        entry = self.model.primitives[node.proto.op_type]
        at = LoweringContext(
            node=node,
            writer=self.writer,
            operands=operands,
            declared=self.model.types_of(node.name),
            attributes={a.name: literal for a in entry.attribute if (literal := _attribute(a)) is not None},
            rounding=self.rounding.get(node.name),
        )
        if takes_element(node):
            return self._element(at)
        moves = False
        result: Result
        if node.op in FUSED_OPS:
            result = self._fused(at)
        elif (rule := RULES.get(node.op)) is not None:
            self._check_in_place(at)
            result, moves = rule.write(at), rule.moves
        else:
            raise at.unsupported("no rule for this operator")
        return self._typed(at, result, moves)

    def _moved(self, softmax: Node, rounding: Rounding) -> Tensor:
        """The scores, moved by what storing their bias costs; or, in rows that have lost them, that bias alone, or no
        number where they are large."""
        bias = self._bias(softmax, rounding)
        (scores,) = self._leaves(self.env[softmax.inputs[0]], softmax.inputs[0])
        axis = self.model.literal(softmax.inputs[1])
        last = axis[0] if isinstance(axis, tuple) else axis
        assert isinstance(last, int)
        tensor_type = scores.tensor_type
        if rounding.level is None:
            made = self.writer.moved(scores.name, bias.name, tensor_type, rounding, last)
        elif rounding.limit is None:
            made = self.writer.without_scores(scores.name, bias.name, tensor_type.dtype, rounding.level, last)
        else:
            limits = rounding.level, rounding.limit
            made = self.writer.without_large(scores.name, bias.name, tensor_type.dtype, limits, last)
        return Tensor(made, tensor_type)

    def _bias(self, softmax: Node, rounding: Rounding) -> Tensor:
        """What is added to the scores: the same formula with a product of zeros."""
        held = {name: self.env[name] for name in rounding.stored}
        product, *others = (self.model.producer(name) for name in rounding.stored)
        assert product is not None
        (scores,) = self._leaves(self.env[product.name], product.name)
        carrier = self.writer.arithmetic.carry(scores.tensor_type.dtype)
        if product.name in self.writer.products:
            rest = self.writer.emit("Sub", scores.name, self.writer.products[product.name])
        else:
            zero = self.writer.constant(np.zeros([1] * scores.tensor_type.rank, carrier.numpy))
            rest = self.writer.emit("Expand", zero, self.writer.integers(scores.tensor_type.dims))
        self.env[product.name] = Tensor(rest, scores.tensor_type)
        for node in others:
            assert node is not None
            self.env[node.name] = self._node(node)
        (bias,) = self._leaves(self.env[softmax.inputs[0]], softmax.inputs[0])
        self.env.update(held)
        return bias

    def _element(self, at: LoweringContext) -> Value:
        elements, index = at.elements(0), at.integer(1)
        if not -len(elements) <= index < len(elements):
            raise at.unsupported(f"element {index} of {len(elements)}")
        element = elements[index]
        if element is None:
            raise at.unsupported(f"element {index} of {at.node.inputs[0]} is a statistic that is not computed here")
        return element

    def _check_in_place(self, at: LoweringContext) -> None:
        """An operator that changes its operand is a plain one as long as nobody else reads the operand."""
        for value in changed(self.model, at.node):
            if any(use.node is not at.node for use in effective_uses(self.model, value)):
                raise at.unsupported("changes a value in place that others read")

    def _fused(self, at: LoweringContext) -> Result:
        try:
            fused = read(self.model, at.node)
            types = [self.model.type_of(v) for v in (fused.query, fused.key, fused.value)]
            query, key, value = (k for k in types if k is not None)
            return lower_fused(at, fused, sizes(fused, query, key, value))
        except MalformedError as error:
            raise at.unsupported(str(error)) from None

    def _typed(self, at: LoweringContext, result: Result, moves: bool) -> Value:
        if isinstance(result, str):
            return self._rounded(at, result, at.out, moves)
        # Results that no rule computes may be of unknown type, so they are not looked at.
        types = at.declared if isinstance(at.declared, tuple) else ()
        values: list[Value] = []
        for name, declared in zip(result, types, strict=True):
            values.append(None if name is None or declared is None else self._rounded(at, name, declared, moves))
        return tuple(values)

    def _rounded(self, at: LoweringContext, name: str, tensor_type: TensorType, moves: bool) -> Tensor:
        """In NATIVE arithmetic as the type holds it; in EXACT, a constant that it cannot hold is infinite.

        So it is where the constant itself stands in the result. What an operator computes with a number is not: it
        takes the number as it is, and only its result leaves the type's range.
        """
        carrier = self.writer.arithmetic.carry(tensor_type.dtype)
        if tensor_type.dtype.is_float and at.rounding is not None and at.rounding.result:
            name = self.writer.round_to(name, at.rounding.dtype, carrier)
        if tensor_type.dtype.is_low_precision and (at.narrowed or not moves):
            name = self.writer.round_to(name, tensor_type.dtype, carrier)
        placed = at.beyond and (moves or at.op == "Cast")
        if tensor_type.dtype.is_low_precision and placed and self.writer.arithmetic.is_formula:
            name = self.writer.in_range(name, tensor_type.dtype, carrier)
        return Tensor(name, tensor_type)


def _attribute(proto: AttributeProto) -> Literal:
    try:
        return read_literal(proto)
    except NotALiteralError:
        return None
