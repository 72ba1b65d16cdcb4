"""Calls: the nodes of a function in the caller's place, as often as it is called."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from attnfuse.errors import SourceError
from attnfuse.ir import inline
from attnfuse.ir.check import check_graph
from attnfuse.ir.graph import CALL, CONSTANT, Model
from attnfuse.ir.inline import inline_calls, inlined, occurrences
from attnfuse.ir.types import TensorType
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.mindir.schema import GraphProto
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.weights import stored_weights
from tests.support.graphs import GraphBuilder, fill_literal, fill_type, seeded

KIND = TensorType((2, 3), FLOAT32)


class Function:
    """A function made by hand beside the graph of a builder: a chain of operators, from its input `x`.

    `others` are inputs beside it, by the names that `input` gives.
    """

    def __init__(self, g: GraphBuilder, name: str, others: int = 0) -> None:
        self.g = g
        self.proto: GraphProto = g.proto.functions.add(name=name)
        self.last = f"{name}:x"
        fill_tensor_type(self.proto, self.last)
        for number in range(others):
            fill_tensor_type(self.proto, self.input(number))

    def input(self, number: int) -> str:
        return f"{self.proto.name}:other{number}"

    def op(self, op: str, *others: str) -> str:
        """One more operator, on the result so far and values of the top graph."""
        if all(entry.name != f"{op}:0" for entry in self.g.proto.primitives):
            self.g.proto.primitives.add(name=f"{op}:0", op_type=op, prim_type=2)
        return self.reference(f"{op}:0", op, *others)

    def call(self, function: Function, *others: str) -> str:
        """Call another function on the result so far."""
        return self.reference(function.proto.name, "call", *others)

    def reference(self, reference: str, name: str, *others: str) -> str:
        value = f"{self.proto.name}:{name}:{len(self.proto.node)}"
        add_node(self.proto, reference, value, self.last, *others)
        self.last = value
        return value

    def done(self) -> None:
        self.proto.output.add(name=self.last).tensor.add(data_type=FLOAT32.wire).dims.extend(KIND.dims)


def fill_tensor_type(graph: GraphProto, name: str) -> None:
    graph.input.add(name=name).tensor.add(data_type=FLOAT32.wire).dims.extend(KIND.dims)


def add_node(graph: GraphProto, reference: str, value: str, *inputs: str) -> None:
    node = graph.node.add(name=value, op_type=f"REF::{reference}", domain=f"Default/{value}")
    node.input.extend(inputs)
    node.output.append(value)
    fill_type(node.attribute.add(name="shape"), KIND)


def called(g: GraphBuilder, function: Function, *arguments: str, name: str = "call") -> str:
    """A call in the top graph."""
    value = f"{g.prefix}:{name}:99"
    add_node(g.graph, function.proto.name, value, *arguments)
    g._typed(value, KIND)
    return value


def once(g: GraphBuilder) -> str:
    function = Function(g, "9_block")
    function.op("Muls", g.constant(3.0))
    function.op("Sigmoid")
    function.done()
    return g.op("Neg", called(g, function, g.op("Abs", g.input("x", KIND.dims))))


def its_output(g: GraphBuilder) -> str:
    function = Function(g, "9_block")
    function.op("Sigmoid")
    function.done()
    return called(g, function, g.input("x", KIND.dims))


def nested(g: GraphBuilder) -> str:
    inner, outer = Function(g, "8_inner"), Function(g, "9_outer")
    inner.op("Sigmoid")
    outer.op("Abs")
    outer.call(inner)
    outer.op("Neg")
    inner.done()
    outer.done()
    return called(g, outer, g.input("x", KIND.dims))


def late_constant(g: GraphBuilder) -> str:
    """The function uses a constant that stands behind its call."""
    function = Function(g, "9_block")
    x = g.input("x", KIND.dims)
    value = called(g, function, x)
    function.op("Muls", g.constant(3.0))
    function.done()
    return g.op("Neg", value)


def holding(function: Function, number: float) -> str:
    """A constant that stands in the function, as MindSpore writes one that several functions use."""
    name = f"{function.proto.name}_{number}"
    node = function.proto.node.add(name=name, op_type="Constant")
    node.output.append(name)
    fill_literal(node.attribute.add(name="value"), number)
    return name


def siblings(g: GraphBuilder) -> str:
    """The function called last is the first in the file, and holds what both use."""
    second, first = Function(g, "8_second"), Function(g, "9_first")
    three = holding(second, 3.0)
    second.op("Muls", three)
    first.op("Muls", three)
    first.op("Sigmoid")
    for function in (first, second):
        function.done()
    return called(g, second, called(g, first, g.input("x", KIND.dims)), name="again")


def siblings_in_a_function(g: GraphBuilder) -> str:
    """The same a level deeper: each is inlined into a function that is inlined itself."""
    holder, user, outer = Function(g, "7_holder"), Function(g, "8_user"), Function(g, "9_outer")
    three = holding(holder, 3.0)
    holder.op("Muls", three)
    user.op("Muls", three)
    outer.op("Abs")
    outer.call(user)
    outer.op("Muls", three)
    outer.call(holder)
    for function in (holder, user, outer):
        function.done()
    return called(g, outer, g.input("x", KIND.dims))


def empty(g: GraphBuilder) -> str:
    """The function gives back what it is given."""
    function = Function(g, "9_block")
    function.done()
    return g.op("Neg", called(g, function, g.input("x", KIND.dims)))


def twice(g: GraphBuilder) -> str:
    function = Function(g, "9_block")
    function.op("Sigmoid")
    function.op("Muls", g.constant(3.0))
    function.done()
    return called(g, function, called(g, function, g.input("x", KIND.dims)), name="again")


def twice_within_twice(g: GraphBuilder) -> str:
    """Of the innermost nodes there are four."""
    inner, outer = Function(g, "8_inner"), Function(g, "9_outer")
    inner.op("Sigmoid")
    for _ in range(2):
        outer.call(inner)
    outer.op("Neg")
    for function in (inner, outer):
        function.done()
    value = called(g, outer, called(g, outer, g.input("x", KIND.dims)), name="again")
    return called(g, inner, value, name="last")


def blocks(g: GraphBuilder, count: int = 30) -> str:
    """One function for all blocks, each with weights of its own, as MindSpore writes CogVideoX."""
    function = Function(g, "9_block", others=2)
    function.op("Mul", function.input(0))
    function.op("Add", function.input(1))
    function.op("Sigmoid")
    function.done()
    value = g.input("x", KIND.dims)
    for number in range(count):
        weights = [g.weight(f"blocks.{number}.{name}", KIND.dims) for name in ("weight", "bias")]
        value = called(g, function, value, *weights, name=f"call{number}")
    return value


def constant_output(g: GraphBuilder) -> str:
    """The function gives what it is given second, which is a constant behind the call."""
    function = Function(g, "9_block", others=1)
    function.op("Abs")
    function.last = function.input(0)
    function.done()
    value = called(g, function, g.input("x", KIND.dims), g.constant(np.ones(KIND.dims, np.float32)))
    return g.op("Neg", value)


CASES: dict[str, tuple[Callable[[GraphBuilder], str], tuple[str, ...]]] = {
    "a function called once": (once, ("Abs", "Muls", "Sigmoid", "Neg")),
    "a call that is the output": (its_output, ("Sigmoid",)),
    "a call within a function": (nested, ("Abs", "Sigmoid", "Neg")),
    "a constant behind the call": (late_constant, ("Muls", "Neg")),
    "a constant in a sibling": (siblings, ("Muls", "Sigmoid", "Muls")),
    "constants in siblings, within a function": (siblings_in_a_function, ("Abs", "Muls", "Muls", "Muls")),
    "a function that gives back its input": (empty, ("Neg",)),
    "a function called twice": (twice, ("Sigmoid", "Muls") * 2),
    "calls of calls": (twice_within_twice, ("Sigmoid", "Sigmoid", "Neg") * 2 + ("Sigmoid",)),
    "a block with weights of its own each time": (blocks, ("Mul", "Add", "Sigmoid") * 30),
    "a function that gives back a constant": (constant_output, ("Abs", "Neg")),
}


def made(make: Callable[[GraphBuilder], str]) -> Model:
    g = GraphBuilder("unet")
    g.output(make(g))
    return g.model()


def operators(model: Model) -> tuple[str, ...]:
    """Those that compute, in order, and calls."""
    return tuple(node.op for node in model.nodes if node.op in (CALL, "Abs", "Add", "Mul", "Muls", "Neg", "Sigmoid"))


@pytest.mark.parametrize("case", CASES)
def test_the_nodes_stand_in_the_callers_place(case: str) -> None:
    """The same numbers bit for bit, in float64 and in the graph's own types; each constant once."""
    make, expected = CASES[case]
    before = made(make)
    after = inlined(before)
    assert operators(after) == expected
    assert not after.proto.functions
    assert sum(node.op == CONSTANT for node in after.nodes) == sum(node.op == CONSTANT for node in before.nodes)
    assert check_graph(after) == []
    sides = (before, after)
    assert sum(occurrences(before)[n.graph.name] for n in before.nodes if n.op in expected) == len(expected)
    inputs = {value.name: seeded("x", KIND.dims) for value in before.proto.graph.input}
    for arithmetic in (Arithmetic.EXACT, Arithmetic.NATIVE):
        one, other = (
            run(lower(model, arithmetic), inputs, stored_weights(model.proto, Path("/none/x.mindir")))
            for model in sides
        )
        np.testing.assert_array_equal(one, other)


def test_nodes_of_the_first_call_keep_their_names() -> None:
    after = inlined(made(twice))
    names = [node.name for node in after.nodes if node.op != CONSTANT]
    assert names == ["9_block:Sigmoid:0", "9_block:Muls:1", "9_block:Sigmoid_call2:0", "9_block:Muls_call2:1"]
    assert [node.proto.name for node in after.nodes if node.op != CONSTANT] == names


def test_a_name_that_is_taken_is_not_given_again() -> None:
    g = GraphBuilder("unet")
    function, other = Function(g, "9_block"), Function(g, "8_other")
    function.op("Sigmoid")
    other.op("Sigmoid")
    other.proto.node[0].output[0] = other.last = "9_block:Sigmoid_call2:0"
    function.done()
    other.done()
    value = called(g, function, called(g, function, g.input("x", KIND.dims)), name="again")
    g.output(called(g, other, value, name="other"))
    names = [node.name for node in inlined(g.model()).nodes]
    assert names == ["9_block:Sigmoid:0", "9_block:Sigmoid_call2:0_", "9_block:Sigmoid_call2:0"]


def test_the_records_are_one_a_call_and_the_bytes_the_same_each_time() -> None:
    models = [made(blocks) for _ in range(2)]
    for model in models:
        assert [(call.function, call.operators) for call in inline_calls(model)] == [
            ("9_block", ("Add", "Mul", "Sigmoid"))
        ] * 30
    assert codec.serialise(models[0].proto) == codec.serialise(models[1].proto)
    assert inline_calls(models[0]) == []


def test_a_constant_of_a_function_that_stays() -> None:
    """It moves to the top graph, where both find it."""
    g = GraphBuilder("stays")
    handed, by_name = Function(g, "8_handed"), Function(g, "9_named")
    three = holding(handed, 3.0)
    handed.op("Muls", three)
    by_name.op("Muls", three)
    for function in (handed, by_name):
        function.done()
    g.node("Partial", ["8_handed", g.constant(1)], None)
    g.output(called(g, by_name, g.input("x", KIND.dims)))
    after = inlined(g.model())
    assert [function.name for function in after.proto.functions] == ["8_handed"]
    (constant,) = (node for node in after.nodes if node.name == three)
    assert constant.graph is after.proto.graph


def test_a_function_handed_about_stays() -> None:
    """Partial takes it as a value: which function is called is only known at run time."""
    g = GraphBuilder("partial")
    value = its_output(g)
    g.node("Partial", ["9_block", g.constant(1)], None)
    g.output(value)
    model = g.model()
    assert inlined(model) is model
    assert CALL in operators(model)


def test_a_function_within_one_that_stays_is_inlined_there() -> None:
    g = GraphBuilder("branches")
    inner, branch = Function(g, "8_inner"), Function(g, "9_branch")
    inner.op("Sigmoid")
    branch.call(inner)
    branch.op("Neg")
    for function in (inner, branch):
        function.done()
    g.node("Partial", ["9_branch", g.constant(1)], None)
    g.output(called(g, inner, g.input("x", KIND.dims)))
    after = inlined(g.model())
    assert [[node.name for node in after.nodes if node.graph is f] for f in after.proto.functions] == [
        ["8_inner:Sigmoid_call2:0", "9_branch:Neg:1"]
    ]


def test_a_loop_stays() -> None:
    """The header is called by name, by the body too, which is handed about."""
    g = GraphBuilder("loop")
    header, body = Function(g, "8_header"), Function(g, "9_body")
    header.op("Abs")
    header.op("Partial", body.proto.name)
    body.op("Neg")
    body.call(header)
    for function in (header, body):
        function.done()
    g.output(called(g, header, g.input("x", KIND.dims)))
    model = g.model()
    assert inlined(model) is model


def test_functions_that_would_make_too_many_nodes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each calls the one before it twice; the last is called once, and is inlined all the same."""
    g = GraphBuilder("many")
    functions = [Function(g, f"{number}_f") for number in range(60)]
    functions[0].op("Sigmoid")
    for before, function in pairwise(functions):
        function.call(before)
        function.call(before)
    for function in functions:
        function.done()
    g.output(called(g, functions[-1], g.input("x", KIND.dims)))
    after = inlined(g.model())
    assert len(after.proto.functions) == 59
    assert operators(after).count(CALL) == 2 * 59
    monkeypatch.setattr(inline, "LARGEST", 3)
    assert operators(inlined(made(twice))).count(CALL) == 2


@pytest.mark.parametrize("through", [0, 1, 4])
def test_calls_that_never_end_are_damage(through: int) -> None:
    g = GraphBuilder("endless")
    functions = [Function(g, f"{number}_f") for number in range(through + 1)]
    for function, following in zip(functions, [*functions[1:], functions[0]], strict=True):
        function.op("Abs")
        function.call(following)
        function.done()
    g.output(called(g, functions[0], g.input("x", KIND.dims)))
    with pytest.raises(SourceError, match="'0_f' calls itself, or what it calls does, without an end"):
        Model(g.proto)


def test_a_call_with_another_number_of_arguments_is_damage() -> None:
    g = GraphBuilder("arguments")
    function = Function(g, "9_block", others=1)
    function.op("Add", function.input(0))
    function.done()
    g.output(called(g, function, g.input("x", KIND.dims)))
    with pytest.raises(SourceError, match="call:99 calls 9_block with 1 arguments, which takes 2"):
        Model(g.proto)
