"""The one-node programs that peelers carry as examples: from text to a graph, and to numbers.

    Op(argument, …)            one operator; its output's type is worked out from its value on made-up inputs
    Op(argument, …) -> type    the same, with the output's type written out

    x: float32[2, 3]           an input
    x: unknown                 an input of no known type
    u: monad                   a value that only orders effects
    w: parameter float32[2]    a weight
    scores: float32[2, 3]      (this name only) the product of two inputs, as scores are
    tensor float32[3] 2.0      a constant tensor, every element that number
    0.5, 2, -inf, (1, 2), None, True     a literal

    IsNan(p), IsNaN(p), IsInf(p)         a test of the argument p (of another input like it, where there is no p);
                               the input then holds NaN and infinity
May import the graph builder and the oracle of tests/support.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnfuse.ir.graph import Model, Node
from attnfuse.ir.types import TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT32
from tests.support import oracle
from tests.support.graphs import GraphBuilder

_TYPE = re.compile(r"(\w+)\[([\d, ]*)\]")
_TEST = re.compile(r"(IsNan|IsNaN|IsInf)\((\w+)\)")


@dataclass(frozen=True, slots=True)
class Program:
    """A parsed example: its graph, the node it is about, and every value on made-up inputs (None: not computed)."""

    text: str
    model: Model
    node: Node
    values: dict[str, Any]

    @property
    def output(self) -> Any:
        return self.values[self.node.name]


def parse_type(text: str) -> TensorType:
    """`float32[2, 3]`."""
    match = _TYPE.fullmatch(text.strip())
    assert match, f"{text!r} is no type"
    return TensorType(tuple(int(d) for d in match[2].split(",") if d.strip()), dtypes.from_name(match[1]))


def split_arguments(text: str) -> list[str]:
    """At commas outside brackets."""
    parts: list[str] = []
    depth, current = 0, ""
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += character
    return [*parts, current.strip()] if current.strip() else parts


def parse_literal(text: str) -> Any:
    """A Python literal, or a signed inf."""
    return float(text) if text in ("inf", "-inf") else ast.literal_eval(text)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.builder = GraphBuilder("program")
        self.random = np.random.default_rng(len(text))
        self.inputs: dict[str, Any] = {}

    def parse(self, kind: TensorType | None) -> Program:
        """The program, its output of type `kind`; None leaves the output untyped and without a value."""
        text = self.text.partition(" -> ")[0]
        match = re.fullmatch(r"(\w+)\((.*)\)", text.strip())
        assert match, f"{self.text!r} is no program"
        op, arguments = match[1], split_arguments(match[2])
        made = {i: self._argument(argument) for i, argument in enumerate(arguments) if not _TEST.fullmatch(argument)}
        made |= {i: self._test(argument) for i, argument in enumerate(arguments) if i not in made}
        values = [made[i] for i in range(len(arguments))]
        g = self.builder
        name = g.node(op, values, kind)
        g.graph.output.add(name=name)
        model = Model(g.proto)
        node = model.producer(name)
        assert node is not None
        return Program(self.text, model, node, self._values(model) if kind is not None else {})

    def _values(self, model: Model) -> dict[str, Any]:
        """Every value; nothing where the operator cannot be computed, as in some counter-examples."""
        try:
            return oracle.values(model, self.inputs)
        except (ValueError, IndexError, TypeError, AttributeError):
            return {}

    def _argument(self, text: str) -> str:
        g = self.builder
        if text.startswith("tensor "):
            match = re.fullmatch(r"tensor (\w+\[[\d, ]*\]) (\S+)", text)
            assert match, text
            kind = parse_type(match[1])
            return g.constant(np.full(kind.dims, parse_literal(match[2]), kind.dtype.numpy))
        named = re.fullmatch(r"(\w+): (.*)", text)
        if named is None:
            return g.constant(parse_literal(text))
        name, what = named[1], named[2].strip()
        if what == "unknown":
            value = f"{g.prefix}:{name}"
            g.graph.input.add(name=value)
            return value
        if what == "monad":
            return g.node("UpdateState", [], None)
        if what.startswith("parameter "):
            kind = parse_type(what.removeprefix("parameter "))
            g.parameter(name, self._numbers(kind).astype(kind.dtype.numpy))
            return f"{g.prefix}:{name}"
        kind = parse_type(what)
        if name == "scores":
            return self._product(kind)
        self.inputs[name] = self._numbers(kind)
        return g.input(name, kind.dims, kind.dtype)

    def _product(self, kind: TensorType) -> str:
        *batch, rows, columns = kind.dims
        left, right = TensorType((*batch, rows, 5), kind.dtype), TensorType((*batch, 5, columns), kind.dtype)
        self.inputs |= {"left": self._numbers(left), "right": self._numbers(right)}
        g = self.builder
        return g.matmul_ext(g.input("left", left.dims, left.dtype), g.input("right", right.dims, right.dtype))

    def _test(self, text: str) -> str:
        """A test of an argument that is already there."""
        g = self.builder
        match = _TEST.fullmatch(text)
        assert match, text
        op, name = match[1], match[2]
        like = next(iter(self.inputs))
        kind = g.type_of(f"{g.prefix}:{like}")
        if name not in self.inputs:
            self._argument(f"{name}: {kind}")
        self.inputs[name].flat[:2] = np.nan, np.inf
        return g.node(op, [f"{g.prefix}:{name}"], TensorType(kind.dims, dtypes.BOOL))

    def _numbers(self, kind: TensorType) -> Any:
        if kind.dtype is dtypes.BOOL:
            return self.random.random(kind.dims) < 0.5
        if not kind.dtype.is_float:
            return np.ones(kind.dims, kind.dtype.numpy)
        return self.random.standard_normal(kind.dims).astype(kind.dtype.numpy).astype(np.float64)


_ANY = TensorType((-1,), FLOAT32)


def _output_type(text: str) -> TensorType | None:
    """The shape of the output's value, and the element type of the first float operand (a cast: of its target)."""
    if " -> " in text:
        return parse_type(text.partition(" -> ")[2])
    program = _Parser(text).parse(_ANY)
    model, node = program.model, program.node
    kinds = [kind for value in node.inputs if (kind := model.type_of(value)) is not None]
    if not kinds:
        return None
    dtype = next((kind.dtype for kind in kinds if kind.dtype.is_float), kinds[0].dtype)
    if node.op == "Cast":
        number = model.literal(node.inputs[1])
        assert isinstance(number, int)
        dtype = dtypes.from_type_id(number) or dtype
    return TensorType(np.shape(program.output) if program.values else kinds[0].dims, dtype)


def parse(text: str) -> Program:
    """The program's graph, and its values in float64 wherever its operator can be computed."""
    return _Parser(text).parse(_output_type(text))
