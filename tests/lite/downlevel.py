"""Writes a MindIR file of version 3 as one of version 1, which is the newest that MindSpore Lite 2.0.0 reads.

In version 3 an operator is a function: all arguments are positional inputs. In version 1 it is a primitive that carries
its scalar arguments as attributes. So the constants of `ATTRIBUTES` move into the primitive table; nodes that only
order effects go (weights are read by name); weights are written into the file. Else values, operators and their order
stay what the compiler emitted, but for what Lite 2.0.0 itself lacks or gets wrong on a CPU: `EXPANSIONS` and `HELD`.
Each of those has a test of its own in test_limits.py, which shows the smallest graph that asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, NotALiteralError
from attnfuse.ir.types import Array, Literal, TensorType
from attnfuse.mindir.schema import AttributeProto, GraphProto, ModelProto, NodeProto
from attnfuse.verify.numbers.weights import WeightProvider
from tests.support.graphs import fill_literal, fill_type

VERSION = 1

FORMATS = {0: "NCHW", 1: "NHWC"}
"""MindSpore's enumeration of layouts, an integer since version 3."""

ATTRIBUTES: dict[str, dict[int, str]] = {
    "Argmax": {1: "axis", 2: "output_type"},
    "BatchMatMul": {2: "transpose_a", 3: "transpose_b"},
    "BiasAdd": {2: "format"},
    "Concat": {1: "axis"},
    "Gather": {3: "batch_dims"},
    "LayerNorm": {3: "begin_norm_axis", 4: "begin_params_axis", 5: "epsilon"},
    "MatMul": {2: "transpose_a", 3: "transpose_b"},
    "ReduceMean": {2: "keep_dims"},
    "ResizeNearestNeighbor": {1: "size", 2: "align_corners", 3: "half_pixel_centers"},
    "Softmax": {1: "axis"},
    "Split": {1: "axis", 2: "output_num"},
    "StridedSlice": {
        4: "begin_mask",
        5: "end_mask",
        6: "ellipsis_mask",
        7: "new_axis_mask",
        8: "shrink_axis_mask",
    },
}
"""Operator → position of an argument → the attribute that MindSpore 2.0 has in its place."""

HELD = ("Conv2D", "ResizeNearestNeighbor")
"""Operators that Lite computes in the layout NHWC only, whose first input is put behind a Tile by ones.

Lite writes a Transpose to NHWC before each, and merges it with a Transpose or Reshape that the graph has there. What
is left may carry the label NCHW, and both refuse it although its values are right. Nothing is merged across a Tile.
"""

_PASS_FIRST = ("Load", "Depend")


def down_level(source: Model, weights: WeightProvider, *, plain: Collection[str] = ()) -> ModelProto:
    """The same graph in version 1, all weights inside.

    `plain` are operators to be left without what EXPANSIONS and HELD do for them.
    Raises ValueError where it has functions, an argument that should be constant and is not, or a weight of no value.
    """
    return _Writer(source, weights, plain).run()


class _Writer:
    def __init__(self, source: Model, weights: WeightProvider, plain: Collection[str]) -> None:
        self.source = source
        self.weights = weights
        self.plain = plain
        self.result = ModelProto(ir_version="0.1.0", producer_name="MindSpore", model_version="2.0.0")
        self.result.little_endian = True
        self.result.mind_ir_version = VERSION
        self.alias: dict[str, str] = {}
        self.primitives: dict[bytes, str] = {}
        self.at: Node | None = None
        self.made = 0

    def run(self) -> ModelProto:
        top = self.source.proto.graph
        if self.source.proto.functions:
            raise ValueError(f"{top.name} has functions")
        graph = self.result.graph
        graph.name = top.name
        graph.input.extend(top.input)
        for parameter in top.parameter:
            value = self.weights(parameter)
            if value is None:
                raise ValueError(f"{parameter.name} has no value")
            copied = graph.parameter.add()
            copied.CopyFrom(parameter)
            copied.ClearField("external_data")
            copied.raw_data = np.ascontiguousarray(value).tobytes()
        for node in self.source.nodes:
            self._node(node)
        for output in top.output:
            copied_output = graph.output.add()
            copied_output.CopyFrom(output)
            copied_output.name = self.value(output.name)
        _drop_dead(graph)
        return self.result

    def value(self, name: str) -> str:
        """What the result calls a value of the source."""
        return self.alias.get(name, name)

    def _node(self, node: Node) -> None:
        self.at, self.made = node, 0
        if node.op == CALL:
            raise ValueError(f"{node.name} calls a function")
        if node.op in _PASS_FIRST:
            self.alias[node.name] = self.value(node.inputs[0])
        elif node.op == CONSTANT:
            self.result.graph.node.append(node.proto)
        elif node.op in EXPANSIONS and node.op not in self.plain:
            self.alias[node.name] = EXPANSIONS[node.op](self, node)
        elif node.op != "UpdateState":
            self.as_it_is(node)

    def as_it_is(self, node: Node) -> str:
        """The node with its constant arguments as attributes."""
        held = {a.name for a in self.source.primitives[node.proto.op_type].attribute}
        named = {at: name for at, name in ATTRIBUTES.get(node.op, {}).items() if name not in held}
        inputs = [self.value(v) for i, v in enumerate(node.inputs) if i not in named]
        if node.op in HELD and node.op not in self.plain:
            tensor_type = self.type(node.inputs[0])
            inputs[0] = self.add("Tile", [inputs[0], self.constant((1,) * tensor_type.rank)], tensor_type)
        attributes = {a.name: a for a in self.source.primitives[node.proto.op_type].attribute}
        for position, name in named.items():
            if position < len(node.inputs):
                attributes[name] = _attribute(name, self._argument(node, position))
        written = self.result.graph.node.add()
        written.CopyFrom(node.proto)
        written.op_type = self._primitive(node.op, [attributes[name] for name in sorted(attributes)])
        del written.input[:]
        written.input.extend(inputs)
        return node.name

    def _argument(self, node: Node, position: int) -> Literal:
        try:
            value = self.source.literal(node.inputs[position])
        except NotALiteralError:
            name = ATTRIBUTES[node.op][position]
            raise ValueError(f"{node.name}: {name} is not constant, so it cannot be an attribute") from None
        if ATTRIBUTES[node.op][position] == "format":
            assert isinstance(value, int)
            return FORMATS[value]
        return value

    def _primitive(self, op: str, attributes: Sequence[AttributeProto] = ()) -> str:
        key = b"\0".join([op.encode(), *(a.SerializeToString(deterministic=True) for a in attributes)])
        if key not in self.primitives:
            name = f"{op}:{len(self.primitives)}"
            self.result.primitives.add(name=name, op_type=op, instance_name=op).attribute.extend(attributes)
            self.primitives[key] = f"REF::{name}"
        return self.primitives[key]

    # --- what expansions are written with

    def type(self, value: str) -> TensorType:
        """Type of a tensor of the source."""
        tensor_type = self.source.type_of(value)
        assert tensor_type is not None, value
        return tensor_type

    def add(self, op: str, inputs: Sequence[str], tensor_type: TensorType) -> str:
        """One more node, before the one that is being written."""
        name = self._name(op)
        added = self.result.graph.node.add(name=name, op_type=self._primitive(op), output=[name], input=inputs)
        assert self.at is not None
        added.domain = f"{self.at.scope}_{self.made}"  # the loader takes it for the node's name
        fill_type(added.attribute.add(name="shape"), tensor_type)
        return name

    def constant(self, value: Literal) -> str:
        """One more constant."""
        name = self._name("constant")
        added = self.result.graph.node.add(name=name, op_type=CONSTANT, output=[name])
        fill_literal(added.attribute.add(name="value"), value)
        return name

    def spread(self, value: str, dims: tuple[int, ...]) -> str:
        """A value of the source, broadcast: Lite's Select does not do it by itself."""
        tensor_type = TensorType(dims, self.type(value).dtype)
        return self.add("BroadcastTo", [self.value(value), self.constant(dims)], tensor_type)

    def _name(self, what: str) -> str:
        assert self.at is not None
        self.made += 1
        return f"{self.at.name}_{what}_{self.made}"


def _silu(to: _Writer, node: Node) -> str:
    """x · σ(x): 2.0.0 does not know SiLU."""
    x, tensor_type = to.value(node.inputs[0]), to.type(node.name)
    return to.add("Mul", [x, to.add("Sigmoid", [x], tensor_type)], tensor_type)


def _item(to: _Writer, node: Node) -> str:
    """The element itself, of a tuple that the graph makes: 2.0.0 takes the first, or crashes."""
    source = to.source.producer(to.value(node.inputs[0]))
    index = to.source.literal(node.inputs[1])
    if source is None or source.op != "MakeTuple" or not isinstance(index, int):
        return to.as_it_is(node)
    return to.value(source.inputs[index])


def _cos(to: _Writer, node: Node) -> str:
    """1 − 2 sin²(x / 2): 2.0.0's own is off by up to 2e-3 beyond π/2."""
    tensor_type = to.type(node.name)
    half = to.add("Mul", [to.value(node.inputs[0]), to.constant(_number(0.5))], tensor_type)
    sine = to.add("Sin", [half], tensor_type)
    twice = to.add("Mul", [to.add("Mul", [sine, sine], tensor_type), to.constant(_number(2.0))], tensor_type)
    return to.add("Sub", [to.constant(_number(1.0)), twice], tensor_type)


def _gelu(to: _Writer, node: Node) -> str:
    """x · σ(2√(2/π) (x + 0.044715 x³)), which is MindSpore's GeLU; 2.0.0 computes x/2 · (1 + erf(x/√2))."""
    x, tensor_type = to.value(node.inputs[0]), to.type(node.name)
    cube = to.add("Mul", [to.add("Mul", [x, x], tensor_type), x], tensor_type)
    bent = to.add("Add", [x, to.add("Mul", [cube, to.constant(_number(0.044715))], tensor_type)], tensor_type)
    gate = to.add(
        "Sigmoid", [to.add("Mul", [bent, to.constant(_number(np.sqrt(8 / np.pi)))], tensor_type)], tensor_type
    )
    return to.add("Mul", [x, gate], tensor_type)


def _rsqrt(to: _Writer, node: Node) -> str:
    """1 / √x: 2.0.0 takes the processor's estimate of 12 bits for it."""
    tensor_type = to.type(node.name)
    return to.add(
        "Div", [to.constant(_number(1.0)), to.add("Sqrt", [to.value(node.inputs[0])], tensor_type)], tensor_type
    )


def _masked_fill(to: _Writer, node: Node) -> str:
    """The value where the mask is true, else x: 2.0.0 does not know MaskedFill."""
    x, mask, value = node.inputs
    tensor_type = to.type(node.name)
    parts = [to.spread(mask, tensor_type.dims), to.spread(value, tensor_type.dims), to.spread(x, tensor_type.dims)]
    return to.add("Select", parts, tensor_type)


def _pow(to: _Writer, node: Node) -> str:
    """The base broadcast first: 2.0.0 broadcasts exponents only."""
    base, exponent = node.inputs
    tensor_type = to.type(node.name)
    return to.add("Pow", [to.spread(base, tensor_type.dims), to.value(exponent)], tensor_type)


EXPANSIONS: dict[str, Callable[[_Writer, Node], str]] = {
    "Cos": _cos,
    "GeLU": _gelu,
    "MaskedFill": _masked_fill,
    "Pow": _pow,
    "Rsqrt": _rsqrt,
    "SiLU": _silu,
    "TupleGetItem": _item,
}
"""Operator → the value that takes its place: the same, from operators that Lite 2.0.0 computes right."""


def _number(value: float) -> Array:
    return np.array(value, np.float32)


def _attribute(name: str, value: Literal) -> AttributeProto:
    attribute = AttributeProto(name=name)
    fill_literal(attribute, value)
    return attribute


def _drop_dead(graph: GraphProto) -> None:
    """Take away what no output needs: constants that became attributes, what only ordered effects."""
    live = {o.name for o in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if node.output[0] in live:
            live.update(node.input)
            kept.append(node)
    copy = GraphProto()
    copy.node.extend(reversed(kept))
    del graph.node[:]
    graph.node.extend(copy.node)
