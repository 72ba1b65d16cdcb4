"""Parameters that a graph writes to: what is read behind each write, in the order of effects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array, TensorType
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.verify.graph.assigned import read_through
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.execution import run
from tests.support.graphs import PRIMITIVE, GraphBuilder

HELD: npt.NDArray[np.float32] = np.array([[1.0, 2.0, 3.0]] * 2, np.float32)
X: npt.NDArray[np.float32] = np.array([[10.0, -20.0, 0.1]] * 2, np.float32)
Y: npt.NDArray[np.float32] = np.array([[5.0, 7.0, 9.0]] * 2, np.float32)
ROW: npt.NDArray[np.float32] = np.array([0.1, 2.0, 70000.0], np.float32)


class Written:
    """A graph with one parameter and what was written to it so far."""

    def __init__(self, held: Array = HELD) -> None:
        self.g = GraphBuilder("block")
        self.tensor_type: TensorType = self.g.type_of(self.g.parameter("cache", held))
        self.held = held
        self.parameter = str(self.g.graph.parameter[-1].name)
        self.state = self.g.monad()
        self.inputs: dict[str, Array] = {}

    def given(self, array: Array) -> str:
        name = self.g.input(f"x{len(self.inputs)}", array.shape, FLOAT32)
        self.inputs[name] = array
        return name

    def write(self, op: str, array: Array, *scalars: float | bool | Array, places: Array | None = None) -> Written:
        at = [] if places is None else [self.g.constant(places)]
        operands = [self.parameter, *at, self.given(array), *map(self.g.constant, scalars), self.state]
        made = self.g.node(op, operands, self.tensor_type, primitive=PRIMITIVE)
        self.state = self.g.node("UpdateState", [self.state, made], None, primitive=PRIMITIVE)
        return self

    def read(self) -> str:
        return self.g.op(
            "Neg", self.g.node("Load", [self.parameter, self.state], self.tensor_type, primitive=PRIMITIVE)
        )

    def values(self, *outputs: str) -> list[Array]:
        self.g.output(*outputs)
        return run(lower(read_through(self.g.model()), Arithmetic.NATIVE), self.inputs, lambda _: self.held)


@pytest.mark.parametrize(
    ("op", "scalars", "value"),
    [
        ("Assign", (), X),
        ("AssignAdd", (), HELD + X),
        ("AssignSub", (), HELD - X),
        ("InplaceAddExt", (1,), HELD + X),
        ("InplaceAddExt", (0.5,), HELD + X / 2),
        ("InplaceSubExt", (2,), HELD - 2 * X),
        ("InplaceCopy", (False,), X),
    ],
)
def test_what_is_read_behind_a_write(op: str, scalars: tuple[float, ...], value: Array) -> None:
    graph = Written().write(op, X, *scalars)
    np.testing.assert_array_equal(graph.values(graph.read())[0], -value)


@pytest.mark.parametrize(
    ("op", "places", "written", "value"),
    [
        ("ScatterUpdate", [1], X[:1], [[6, 9, 12], [10, -20, 0.1]]),
        ("ScatterNdUpdate", [[1, 2]], X[0, :1], [[6, 9, 12], [6, 9, 10]]),
        ("ScatterNdAdd", [[1], [1]], X, [[6, 9, 12], [26, -31, 12.2]]),
    ],
)
def test_what_is_read_behind_a_write_to_some_places(op: str, places: object, written: Array, value: object) -> None:
    """What stands in the others was written before. As MindSpore's CPU kernels do it, of those that it has."""
    graph = Written().write("AssignAdd", Y).write(op, written, places=np.array(places, np.int32))
    np.testing.assert_allclose(graph.values(graph.read())[0].astype(float), -np.array(value, float), rtol=1e-6)


def test_writes_follow_one_another_and_each_read_sees_those_before_it() -> None:
    graph = Written()
    reads = [graph.read()]
    for op in ("AssignAdd", "AssignSub", "Assign", "AssignAdd"):
        graph.write(op, Y if op == "AssignSub" else X)
        reads.append(graph.read())
    expected = [HELD, HELD + X, HELD + X - Y, X, X + X]
    for read, value in zip(graph.values(*reads), expected, strict=True):
        np.testing.assert_array_equal(read, -value)


def test_a_parameter_that_is_updated_in_places_keeps_the_others() -> None:
    """The first row, and behind that one number of the second."""
    graph = Written()
    reads = []
    for places, updates in (([[0]], X[:1]), ([[1, 2]], X[1, :1])):
        given = [graph.g.constant(np.array(places, np.int32)), graph.given(updates)]
        operands = [graph.parameter, *given, graph.state]
        made = graph.g.node("ScatterNdUpdate", operands, graph.tensor_type, primitive=PRIMITIVE)
        graph.state = graph.g.node("UpdateState", [graph.state, made], None, primitive=PRIMITIVE)
        reads.append(graph.read())
    expected = [np.stack([X[0], HELD[1]]), np.array([X[0], [1.0, 2.0, X[1, 0]]], np.float32)]
    for read, value in zip(graph.values(*reads), expected, strict=True):
        np.testing.assert_array_equal(read, -value)


def test_what_is_copied_takes_the_type_and_shape_of_the_parameter() -> None:
    """Rounded as float16 rounds, infinite where it overflows, and given to each row."""
    graph = Written(HELD.astype(np.float16)).write("InplaceCopy", ROW, False)
    with np.errstate(over="ignore"):
        expected = -np.broadcast_to(ROW.astype(np.float16), HELD.shape)
    np.testing.assert_array_equal(graph.values(graph.read())[0].astype(np.float32), expected.astype(np.float32))


def test_a_sum_in_a_function_whose_caller_orders_effects_is_refused() -> None:
    """What the parameter held before is not known there."""
    graph = Written()
    state = graph.g.input("state", (), FLOAT32)
    graph.state = state
    graph.write("AssignAdd", X)
    graph.g.output(graph.read())
    with pytest.raises(VerificationError, match=r"AssignAdd CNode_\d+:\d+ adds to a parameter.*--verify static"):
        read_through(graph.g.model())


def test_a_graph_that_writes_to_no_parameter_is_the_same() -> None:
    g = GraphBuilder("block")
    g.output(g.op("Neg", g.input("x", (2,), FLOAT16)))
    model: Model = g.model()
    assert read_through(model) is model
