"""Calls: the nodes of a function that is called once, in the caller's place."""

from __future__ import annotations

from attnfuse.ir.graph import CALL
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.mindir.schema import GraphProto, ModelProto
from attnfuse.targets import Target
from attnfuse_passes.legalise.inline import inline
from tests.passes.legalise.support import Case, cases, legalise, operators
from tests.support.graphs import GraphBuilder, fill_literal, fill_type

KIND = TensorType((2, 3), FLOAT32)


class Function:
    """A function of one input, made by hand beside the graph of a builder: a chain of operators."""

    def __init__(self, g: GraphBuilder, name: str) -> None:
        self.g = g
        self.proto: GraphProto = g.proto.functions.add(name=name)
        self.last = f"{name}:x"
        fill_tensor_type(self.proto, self.last)

    def op(self, op: str, *others: str) -> str:
        """One more operator, on the result so far and values of the top graph."""
        if all(entry.name != f"{op}:0" for entry in self.g.proto.primitives):
            self.g.proto.primitives.add(name=f"{op}:0", op_type=op, prim_type=2)
        return self.reference(f"{op}:0", op, *others)

    def call(self, function: Function) -> str:
        """Call another function on the result so far."""
        return self.reference(function.proto.name, "call")

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


def called(g: GraphBuilder, function: Function, argument: str, name: str = "call") -> str:
    """A call in the top graph."""
    value = f"{g.prefix}:{name}:99"
    add_node(g.graph, function.proto.name, value, argument)
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
    return called(g, second, called(g, first, g.input("x", KIND.dims)), "again")


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


CASES = cases(
    "inline",
    Case("a function called once", once, ("Abs", "Mul", "Sigmoid", "Neg")),
    Case("a call that is the output", its_output, ("Sigmoid",)),
    Case("a call within a function", nested, ("Abs", "Sigmoid", "Neg")),
    Case("a constant behind the call", late_constant, ("Mul", "Neg")),
    Case("a constant in a sibling", siblings, ("Mul", "Sigmoid", "Mul")),
    Case("constants in siblings, within a function", siblings_in_a_function, ("Abs", "Mul", "Mul", "Mul")),
    Case("a function that gives back its input", empty, ("Neg",)),
)


def test_nodes_keep_their_names_and_functions_are_gone() -> None:
    model = CASES[0].model()
    legalise(model)
    assert {"9_block:Sigmoid:1", "9_block:Muls:0"} <= {node.name for node in model.nodes}
    assert not model.proto.functions


def twice(g: GraphBuilder) -> str:
    function = Function(g, "9_block")
    function.op("Sigmoid")
    function.done()
    return called(g, function, called(g, function, g.input("x", KIND.dims)), "again")


def test_a_function_called_twice_stays() -> None:
    g = GraphBuilder("twice")
    g.output(twice(g))
    model = g.model()
    assert legalise(model) == {}
    assert operators(model).count(CALL) == 2
    assert [function.name for function in model.proto.functions] == ["9_block"]


def test_a_constant_of_a_function_that_stays() -> None:
    """It moves to the top graph, where both find it."""
    g = GraphBuilder("stays")
    often, once_only = Function(g, "8_often"), Function(g, "9_once")
    three = holding(often, 3.0)
    often.op("Muls", three)
    once_only.op("Muls", three)
    for function in (often, once_only):
        function.done()
    value = called(g, often, called(g, once_only, g.input("x", KIND.dims)), "first")
    g.output(called(g, often, value, "second"))
    model = g.model()
    inline(model)
    assert [function.name for function in model.proto.functions] == ["8_often"]
    (constant,) = (node for node in model.nodes if node.name == three)
    assert constant.graph is model.proto.graph


def test_a_function_handed_about_stays() -> None:
    """Partial takes it as a value."""
    g = GraphBuilder("partial")
    value = its_output(g)
    g.node("Partial", ["9_block", g.constant(1)], None)
    g.output(value)
    model = g.model()
    legalise(model)
    assert CALL in operators(model)


def test_only_for_lite() -> None:
    model = CASES[0].model()
    before: ModelProto = ModelProto()
    before.CopyFrom(model.proto)
    legalise(model, Target("mindspore", "ascend910b"))
    assert model.proto == before
