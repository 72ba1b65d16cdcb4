"""Several graphs that are one: every difference is found, and none but numbers that follow the batch is let through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.dynamic import family_of
from attnfuse.dynamic.family import BatchDependentNumber, Counted, Row
from attnfuse.dynamic.lines import Line
from attnfuse.errors import TraceError
from attnfuse.mindir import dtypes
from attnfuse.mindir.codec import serialise
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.mindir.schema import AttributeProto, ModelProto
from attnfuse.tracing.contract import DYNAMIC_BATCHES as BATCHES
from tests.dynamic.graphs import Make, attention, family, graph
from tests.support.graphs import GraphBuilder


@pytest.mark.parametrize("batch", [*BATCHES, 1, 2, 5])
def test_at_a_batch_it_is_the_graph_of_that_batch(batch: int) -> None:
    assert serialise(family(attention).at(batch)) == serialise(graph(attention, batch))


def test_graphs_that_do_not_differ() -> None:
    found = family(lambda g, _: g.softmax(g.input("x", (2, 3))))
    assert found.places == {}
    assert serialise(found.at(1)) == serialise(found.model)


def test_places() -> None:
    found = family(lambda g, batch: g.softmax(g.input("x", (2 * batch, 3))))
    line = Line(2, 0)
    assert sorted(found.places.items()) == [
        (("input", "1_net_construct_1:0"), (BatchDependentNumber(("tensor", 0, "dims", 0), line),)),
        (
            ("node", "1_net_construct_1:CNode_1:1"),
            (BatchDependentNumber(("attribute", 0, "tensors", 0, "dims", 0), line),),
        ),
        (("output", "1_net_construct_1:0"), (BatchDependentNumber(("tensor", 0, "dims", 0), line),)),
    ]


def _constant(rows: Callable[[int], np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> Make:
    return lambda g, batch: g.add(g.input("x", (batch, 3)), rows(batch))


def test_equal_rows_are_kept_as_one() -> None:
    found = family(_constant(lambda batch: np.tile(np.array([1, 2, 3], np.float32), (batch, 1))))
    rows = [place.rows for places in found.places.values() for place in places if place.rows is not None]
    assert rows == [Row(np.array([1, 2, 3], np.float32).tobytes())]


def test_a_count_of_rows_is_kept_as_such() -> None:
    found = family(lambda g, batch: g.add(g.input("x", (batch,), dtypes.INT64), np.arange(batch)))
    rows = [place.rows for places in found.places.values() for place in places if place.rows is not None]
    assert rows == [Counted(dtypes.INT64)]
    assert found.at(5) == graph(lambda g, batch: g.add(g.input("x", (batch,), dtypes.INT64), np.arange(batch)), 5)


def _unequal(batch: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.arange(3 * batch, dtype=np.float32).reshape(batch, 3)


def _another_operator(g: GraphBuilder, batch: int) -> str:
    x = g.input("x", (batch, 3))
    return g.op("Sigmoid" if batch == BATCHES[-1] else "Tanh", x)


def _one_node_more(g: GraphBuilder, batch: int) -> str:
    x = g.input("x", (batch, 3))
    return g.op("Tanh", x) if batch == BATCHES[1] else x


def _another_number(g: GraphBuilder, batch: int) -> str:
    return g.muls(g.input("x", (batch, 3)), 1.0 / batch)


def _another_weight(g: GraphBuilder, batch: int) -> str:
    return g.add(g.input("x", (batch, 3)), g.weight("bias", (batch, 3)))


def _another_type(g: GraphBuilder, batch: int) -> str:
    """Types whose numbers in the file, 1, 7 and 11, are on a line through the batches."""
    types = dict(zip(BATCHES, (FLOAT32, dtypes.INT64, dtypes.FLOAT64), strict=True))
    return g.op("Tanh", g.input("x", (3,), types[batch]))


def _squared(g: GraphBuilder, batch: int) -> str:
    return g.reshape(g.input("x", (batch * batch, 3)), (batch, batch, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_another_operator, "what surrounds the graph"),
        (_one_node_more, "what surrounds the graph"),
        (_another_number, "node ValueNode_0"),
        (_another_weight, "its weights"),
        (_another_type, "input "),
        (_squared, "input .*:x"),
        (
            _constant(lambda b: np.arange(3 * b, dtype=np.float32).reshape(b, 3)),
            "a constant whose rows are neither equal nor counted",
        ),
        (_constant(lambda b: np.full((1, 3), b, np.float32)), "node Parameter_0"),
    ],
)
def test_other_differences_are_refused(make: Make, message: str) -> None:
    with pytest.raises(TraceError, match=f"component net is not one graph at every batch: .*{message}"):
        family(make)


def _added(model: ModelProto) -> None:
    node = model.graph.node[-1]
    node.attribute.add(name="extra", type=AttributeProto.INT64, i=1)


def _renamed(model: ModelProto) -> None:
    model.graph.node[-1].domain += "x"


def _retyped(model: ModelProto) -> None:
    model.graph.node[-1].attribute[0].tensors[0].data_type = 10


def _function(model: ModelProto) -> None:
    model.functions.add(name="f")


def _node(model: ModelProto) -> None:
    model.graph.node.add(name="c", op_type="Constant", output=["c"])


def _rewired(model: ModelProto) -> None:
    model.graph.node[-1].input[0] = model.graph.input[0].name


@pytest.mark.parametrize("change", [_added, _renamed, _retyped, _function, _node, _rewired])
@pytest.mark.parametrize("which", BATCHES)
def test_any_other_field(change: Callable[[ModelProto], None], which: int) -> None:
    models = {batch: graph(attention, batch) for batch in BATCHES}
    change(models[which])
    with pytest.raises(TraceError, match="compile it without --dynamic, once for each batch"):
        family_of("net", models)
