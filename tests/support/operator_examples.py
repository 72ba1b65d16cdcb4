"""The examples that rows of the operator table carry: from text to a graph of one node.

    Op(argument, …; name=value, …) -> kind      what is inferred
    refused: Op(argument, …; name=value, …)     what inference refuses

    x: float32[2, ?]           an input; `?` is a size left to run time
    x: unknown                 a value of no known type
    u: monad                   a value that only orders effects
    w: parameter float32[2]    a weight itself, as Load takes it
    n: int64                   a number that is computed (from a tensor, by TensorToScalar)
    f: function                a function of the file
    (x: float32[2], 3)         a tuple, made by MakeTuple where an element is named
    tensor int64[2] (2, 3)     a constant tensor of those elements, or of one number everywhere
    float16                    the number that MindSpore gives that element type, as Cast takes it
    "none", 0.5, -inf, (1, 2), None, True    a literal

Behind the `;` stand the primitive's attributes. A kind is `float32[2]`, `int64` (a number), `(float32[2], int64[?])`,
`monad`, `function` or `unknown`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.types import COMPLEX64, Array, Literal, ScalarType, Special, TensorType, ValueType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.schema import AttributeProto, PrimitiveProto
from tests.support.graphs import GraphBuilder, fill_literal

_TENSOR = re.compile(r"(\w+)\[([\d, ?]*)\]")
_NAMED = re.compile(r"(\w+): (.+)", re.DOTALL)
_DTYPES: dict[str, DType] = {d.name: d for d in dtypes.ALL} | {"complex64": COMPLEX64}
_ENTRIES = ("TupleGetItem", "MakeTuple", "Load", "UpdateState", "Depend", "TensorToScalar")
"""Operators that a file lists as primitives, not as functions."""


@dataclass(frozen=True, slots=True)
class Example:
    """A parsed example: what is to be inferred, or that it is refused, and how its node is made in a graph."""

    text: str
    op: str
    arguments: tuple[str, ...]
    attributes: tuple[str, ...]
    value_type: ValueType
    refused: bool

    def __str__(self) -> str:
        return self.text

    def model(self, declared: ValueType = None) -> tuple[Model, Node]:
        """A graph of the one node, which declares the example's kind, unless told to declare another.

        A node that takes a monad is tied into the order of effects.
        """
        made = _Maker(GraphBuilder("example"))
        name = result = made.node(self, declared or self.value_type)
        if any(argument.endswith(": monad") for argument in self.arguments) and self.op != "UpdateState":
            state = made.tie("UpdateState", [made.builder.monad(), name], Special.MONAD)
            result = made.tie("Depend", [name, state], declared or self.value_type)
        made.builder.graph.output.add(name=result)
        model = Model(made.builder.proto)
        node = model.producer(name)
        assert node is not None
        return model, node


def parse_example(text: str) -> Example:
    """The example that the text tells."""
    refused = text.startswith("refused: ")
    program, arrow, result = text.removeprefix("refused: ").partition(" -> ")
    assert refused != bool(arrow), f"{text!r} tells neither a kind nor `refused:`, or both"
    match = re.fullmatch(r"(\w+)\((.*)\)", program.strip(), re.DOTALL)
    assert match, f"{text!r} is no example"
    arguments, _, attributes = match[2].partition(";")
    return Example(
        text,
        match[1],
        tuple(_split(arguments)),
        tuple(_split(attributes)),
        parse_type(result) if arrow else None,
        refused,
    )


def together(examples: Sequence[Example], declared: ValueType) -> Model:
    """All examples in one graph, whose output is the tuple of their results; each node declares that kind."""
    builder = GraphBuilder("examples")
    names = [_Maker(builder, f"_{i}").node(example, declared) for i, example in enumerate(examples)]
    result = builder.node("MakeTuple", names, None, primitive=PrimitiveProto.PRIMITIVE)
    builder.graph.output.add(name=result)
    return Model(builder.proto)


def parse_type(text: str) -> ValueType:
    """`float32[2, ?]`, `int64`, `(float32[2], int64)`, `monad`, `function` or `unknown`."""
    text = text.strip()
    if text == "unknown":
        return None
    if text in ("monad", "function"):
        return Special[text.upper()]
    if text.startswith("("):
        return tuple(parse_type(part) for part in _split(text[1:-1]))
    if (match := _TENSOR.fullmatch(text)) is not None:
        sizes = [size.strip() for size in match[2].split(",") if size.strip()]
        return TensorType(tuple(-1 if size == "?" else int(size) for size in sizes), _DTYPES[match[1]])
    return ScalarType(_DTYPES[text])


def _split(text: str) -> list[str]:
    """At commas outside brackets and texts."""
    parts, depth, current, quoted = [], 0, "", False
    for character in text:
        quoted ^= character == '"'
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0 and not quoted:
            parts.append(current.strip())
            current = ""
        else:
            current += character
    return [*parts, current.strip()] if current.strip() else parts


def _literal(text: str) -> Literal:
    if text in ("inf", "-inf", "nan"):
        return float(text)
    if text in _DTYPES:
        return _DTYPES[text].type_id
    value: Literal = ast.literal_eval(text)
    return value


def _attribute(text: str) -> AttributeProto:
    name, _, value = text.partition("=")
    proto = AttributeProto(name=name.strip())
    literal = _literal(value.strip())
    if isinstance(literal, tuple) and literal and all(isinstance(v, str) for v in literal):
        proto.type = AttributeProto.LIST
        for text_ in literal:
            assert isinstance(text_, str)
            proto.values.add(type=AttributeProto.STRING).strings.append(text_.encode())
    else:
        fill_literal(proto, literal)
    return proto


class _Maker:
    """Makes the values of one example. `suffix` keeps its names apart from those of others in the same graph."""

    def __init__(self, builder: GraphBuilder, suffix: str = "") -> None:
        self.builder = builder
        self.suffix = suffix
        self.made: dict[str, str] = {}

    def node(self, example: Example, declared: ValueType) -> str:
        """The example's node."""
        attributes = [_attribute(text) for text in example.attributes]
        values = [self._argument(text) for text in example.arguments]
        return self._node(example.op, values, declared, attributes)

    def tie(self, op: str, values: list[str], value_type: ValueType) -> str:
        """A node of the graph's own language behind the example's."""
        return self._node(op, values, value_type, [])

    def _argument(self, text: str) -> str:
        g = self.builder
        if text.startswith("tensor "):
            match = re.fullmatch(r"tensor (\w+\[[\d, ]*\]) (.+)", text)
            assert match, text
            value_type = parse_type(match[1])
            assert isinstance(value_type, TensorType)
            array: Array = np.broadcast_to(np.array(_literal(match[2])), value_type.dims).astype(value_type.dtype.numpy)
            return g.constant(array)
        if text.startswith("(") and ":" in text:
            elements = [self._argument(part) for part in _split(text[1:-1])]
            return self._node("MakeTuple", elements, None, [])
        named = _NAMED.fullmatch(text)
        if named is None:
            return self.made[text] if text in self.made else g.constant(_literal(text))
        self.made[named[1]] = value = self._named(named[1] + self.suffix, named[2].strip())
        return value

    def _named(self, name: str, what: str) -> str:
        g = self.builder
        if what == "unknown":
            value = f"{g.prefix}:{name}"
            g.graph.input.add(name=value)
            return value
        if what == "monad":
            return g.monad()
        if what == "function":
            self.builder.proto.functions.add(name=name)
            return name
        if what.startswith("parameter "):
            value_type = parse_type(what.removeprefix("parameter "))
            assert isinstance(value_type, TensorType)
            leaf = f"{g.prefix}:{name}"
            proto = g.graph.parameter.add(name=leaf, ref_key=name, data_type=value_type.dtype.wire)
            proto.dims.extend(value_type.dims)
            return leaf
        value_type = parse_type(what)
        if isinstance(value_type, ScalarType):
            return self._node("TensorToScalar", [g.input(name, (), value_type.dtype)], value_type, [])
        assert isinstance(value_type, TensorType)
        if value_type.dtype is COMPLEX64:
            parts = [g.input(f"{name}_{part}", value_type.dims, dtypes.FLOAT32) for part in ("real", "imag")]
            return g.node("Complex", parts, value_type)
        return g.input(name, value_type.dims, value_type.dtype)

    def _node(self, op: str, values: list[str], value_type: ValueType, attributes: list[AttributeProto]) -> str:
        """A node with an entry of its own in the table of primitives, where it has attributes."""
        g = self.builder
        plain = bool(attributes) or op in _ENTRIES
        name = g.node(
            op, values, None, primitive=PrimitiveProto.PRIMITIVE if plain else PrimitiveProto.PRIMITIVE_FUNCTION
        )
        message = g.graph.node[-1]
        if attributes:
            entry = g.proto.primitives.add(name=f"{op}:{len(g.proto.primitives)}", op_type=op)
            entry.prim_type = PrimitiveProto.PRIMITIVE
            entry.attribute.extend(attributes)
            message.op_type = f"REF::{entry.name}"
        shape = message.attribute[0]
        shape.Clear()
        shape.name = "shape"
        _fill_type(shape, value_type)
        return name


def _fill_type(attribute: AttributeProto, value_type: ValueType) -> None:
    if isinstance(value_type, TensorType):
        attribute.type = AttributeProto.TENSORS
        attribute.tensors.add(data_type=value_type.dtype.wire).dims.extend(value_type.dims)
    elif isinstance(value_type, ScalarType):
        attribute.type = AttributeProto.SCALAR
        attribute.tensors.add(data_type=value_type.dtype.wire).dims.append(0)
    elif isinstance(value_type, tuple):
        attribute.type = AttributeProto.TUPLE
        for element in value_type:
            _fill_type(attribute.values.add(), element)
        attribute.seq_info.is_dyn_len = False
    elif value_type is Special.MONAD:
        attribute.type = AttributeProto.UMONAD
    elif value_type is Special.FUNCTION:
        attribute.type = AttributeProto.FUNCGRAPHCLOSURE
