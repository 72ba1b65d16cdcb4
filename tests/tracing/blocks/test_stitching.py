"""Pieces put together are the graph that was one from the beginning."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from attnfuse.ir.canonical import canonical_hash
from attnfuse.ir.graph import Model
from attnfuse.ir.types import TensorType
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.mindir.schema import ModelProto
from attnfuse.tracing.blocks.drafts import NotPutTogetherError
from attnfuse.tracing.blocks.pieces import PieceCall
from tests.support.graphs import PRIMITIVE, GraphBuilder, operators
from tests.support.pieces import block, call, finished, put_together, stand_in
from tools.corpus import store

WIDTH = 8
ROWS = TensorType((2, WIDTH), FLOAT32)


def names(of: str, to: str, *layers: str) -> dict[str, str]:
    return {f"{of}.{layer}.{kind}": f"{to}.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def layer(g: GraphBuilder, x: str, name: str) -> str:
    """What a block computes: a linear layer, halved, beside what it is given."""
    return g.add(x, g.muls(g.dense(x, name, WIDTH), 0.5))


def one_block() -> ModelProto:
    g = block()
    return finished(g, layer(g, g.input("a0", (2, WIDTH)), "blocks.0.fc"))


def around(count: int = 2) -> ModelProto:
    g = GraphBuilder("model", weights=False)
    x = g.muls(g.input("x", (2, WIDTH)), 0.5)
    for number in range(count):
        x = stand_in(g, str(number), [x], ROWS)
    g.output(g.dense(x, "last", WIDTH))
    return g.build()


def whole(count: int = 2) -> ModelProto:
    g = GraphBuilder("model", weights=False)
    x = g.muls(g.input("x", (2, WIDTH)), 0.5)
    for number in range(count):
        x = layer(g, x, f"blocks.{number}.fc")
    g.output(g.dense(x, "last", WIDTH))
    return g.build()


def calls(count: int = 2) -> dict[str, PieceCall]:
    return {
        str(n): call(1, names("blocks.0", f"blocks.{n}", "fc"), f"Default/model-Model/{n}-Block") for n in range(count)
    }


def test_a_block_in_several_places_is_the_graph_of_all_with_their_own_weights() -> None:
    made = put_together([around(3), one_block()], [calls(3), {}])
    assert canonical_hash(made) == canonical_hash(whole(3))
    order = [f"blocks.{n}.fc.{kind}" for n in range(3) for kind in ("weight", "bias")] + ["last.weight", "last.bias"]
    assert [parameter.name.partition(":")[2] for parameter in made.graph.parameter] == order
    assert [parameter.ref_key for parameter in made.graph.parameter] == order
    # Each constant once, though each piece has it.
    assert operators(Model(made)).count("Muls") == 4
    assert sum(node.op_type == "Constant" for node in made.graph.node) == 2  # the state and 0.5


def test_weights_of_two_blocks_that_change_places_are_another_graph() -> None:
    swapped = {"0": calls()["1"], "1": calls()["0"]}
    assert canonical_hash(put_together([around(), one_block()], [swapped, {}])) != canonical_hash(whole())


def test_nodes_are_scoped_in_the_block_they_belong_to() -> None:
    made = put_together([around(), one_block()], [calls(), {}])
    scopes = [node.domain for node in made.graph.node if "Muls" in node.name]
    assert scopes == [
        "Default/Muls-op0",
        "Default/model-Model/0-Block/Muls-op0",
        "Default/model-Model/1-Block/Muls-op0",
    ]


def test_a_block_within_a_block() -> None:
    inner = block("inner")
    inner_message = finished(inner, layer(inner, inner.input("a0", (2, WIDTH)), "blocks.0.first.fc"))
    outer = block("outer")
    outer.scope = "Default/model-Model/0-Block"
    x = outer.input("a0", (2, WIDTH))
    x = stand_in(outer, "1", [stand_in(outer, "0", [x], ROWS)], ROWS)
    of_inner = {
        str(n): call(
            2,
            names("blocks.0.first", f"blocks.0.{part}", "fc"),
            f"Default/model-Model/0-Block/{part}-Block",
        )
        for n, part in enumerate(("first", "second"))
    }
    of_outer = {
        str(n): call(
            1,
            names("blocks.0", f"blocks.{n}", "first.fc", "second.fc"),
            f"Default/model-Model/{n}-Block",
        )
        for n in range(2)
    }
    scopes = ("Default", "Default/model-Model/0-Block", "Default/model-Model/0-Block/first-Block")
    made = put_together([around(), finished(outer, x), inner_message], [of_outer, of_inner, {}], scopes=scopes)
    g = GraphBuilder("model", weights=False)
    x = g.muls(g.input("x", (2, WIDTH)), 0.5)
    for name in ("blocks.0.first.fc", "blocks.0.second.fc", "blocks.1.first.fc", "blocks.1.second.fc"):
        x = layer(g, x, name)
    g.output(g.dense(x, "last", WIDTH))
    assert canonical_hash(made) == canonical_hash(g.build())
    assert "Default/model-Model/1-Block/second-Block/Muls-op0" in {node.domain for node in made.graph.node}


def test_blocks_that_share_a_weight_read_it_once() -> None:
    shared = {"0": calls()["0"], "1": call(1, names("blocks.0", "blocks.0", "fc"))}
    made = put_together([around(), one_block()], [shared, {}])
    assert len(made.graph.parameter) == 4
    assert operators(Model(made)).count("Load") == 4


def test_structures_are_taken_apart_and_put_together() -> None:
    """A block that is given (x, None, [y]) and gives (y, (x·½, None))."""
    inner = block()
    x, y = inner.input("a0", (2, WIDTH)), inner.input("a1", (2, WIDTH))
    pair = inner.tuple_of([y, inner.tuple_of([inner.muls(x, 0.5)])])
    g = GraphBuilder("model", weights=False)
    x, y = g.input("x", (2, WIDTH)), g.input("y", (2, WIDTH))
    given = g.node("MakeTuple", [x, g.constant(None), g.tuple_of([y])], (ROWS, (), (ROWS,)), primitive=PRIMITIVE)
    made = stand_in(g, "0", [given], (ROWS, ROWS))
    g.output(g.add(g.tuple_get_item(made, 0), g.tuple_get_item(made, 1)))
    told = call(1, {}, arguments=[["tensor", None, ["tensor"]]], result=["tensor", ["tensor"]])
    expected = GraphBuilder("model")
    x, y = expected.input("x", (2, WIDTH)), expected.input("y", (2, WIDTH))
    expected.output(expected.add(y, expected.muls(x, 0.5)))
    found = put_together([g.build(), finished(inner, pair)], [{"0": told}, {}])
    assert canonical_hash(found) == canonical_hash(expected.build())
    assert "MakeTuple" not in operators(Model(found))


def test_a_tuple_that_one_node_makes_is_given_to_a_block_by_its_elements() -> None:
    inner = block()
    a, b = inner.input("a0", (1, WIDTH)), inner.input("a1", (1, WIDTH))
    g = GraphBuilder("model", weights=False)
    parts = TensorType((1, WIDTH), FLOAT32)
    split = g.node("SplitWithSize", [g.input("x", (2, WIDTH)), g.constant((1, 1)), g.constant(0)], (parts, parts))
    g.output(stand_in(g, "0", [split], parts))
    told = call(1, {}, arguments=[["tensor", "tensor"]])
    found = put_together([g.build(), finished(inner, inner.add(a, b))], [{"0": told}, {}])
    expected = GraphBuilder("model")
    split = expected.node(
        "SplitWithSize",
        [expected.input("x", (2, WIDTH)), expected.constant((1, 1)), expected.constant(0)],
        (parts, parts),
    )
    expected.output(expected.add(expected.tuple_get_item(split, 0), expected.tuple_get_item(split, 1)))
    assert canonical_hash(found) == canonical_hash(expected.build())


def test_what_mindspore_does_across_blocks_is_done() -> None:
    """Equal nodes are one, and a Reshape of a Reshape is one Reshape; two draws of numbers stay two."""
    inner = block()
    a = inner.input("a0", (2, WIDTH))
    g = GraphBuilder("model", weights=False)
    x = g.reshape(g.input("x", (1, 2 * WIDTH)), (2, WIDTH))
    first, second = (stand_in(g, key, [x], TensorType((WIDTH, 2), FLOAT32)) for key in ("0", "1"))
    g.output(g.add(first, second))
    message = finished(inner, inner.reshape(a, (WIDTH, 2)))
    found = put_together([g.build(), message], [{"0": call(1, {}), "1": call(1, {})}, {}])
    expected = GraphBuilder("model")
    once = expected.reshape(expected.input("x", (1, 2 * WIDTH)), (WIDTH, 2))
    expected.output(expected.add(once, once))
    assert canonical_hash(found) == canonical_hash(expected.build())


def drawing() -> ModelProto:
    g = block()
    state = g.constant(np.array([0]))
    return finished(g, g.tuple_get_item(g.op("DropoutExt", g.input("a0", (2, WIDTH)), 0.5, state, state), 0))


def writing() -> ModelProto:
    g = block()
    x = g.input("a0", (2, WIDTH))
    g.weight("blocks.0.fc.weight", (2, WIDTH))
    return finished(g, g.node("Assign", [f"{g.prefix}:blocks.0.fc.weight", x, g.monad()], ROWS))


def limiting() -> ModelProto:
    """A table whose rows are shortened where they are longer than one."""
    g = block()
    ids = g.input("a0", (2, WIDTH))
    g.weight("blocks.0.fc.weight", (2, WIDTH))
    scalars = [g.constant(None), g.constant(1.0), g.constant(2.0), g.constant(False)]
    return finished(g, g.node("Embedding", [ids, f"{g.prefix}:blocks.0.fc.weight", *scalars, g.monad()], ROWS))


def foreign() -> ModelProto:
    g = block()
    return finished(g, g.add(g.input("a0", (2, WIDTH)), g.weight("elsewhere", (2, WIDTH))))


def with_function() -> ModelProto:
    made = one_block()
    made.functions.add(name="f")
    return made


@pytest.mark.parametrize(
    ("piece", "why"),
    [
        (drawing, "DropoutExt draws numbers"),
        (writing, "Assign may change"),
        (limiting, "Embedding may change"),
        (foreign, "Block reads elsewhere, which is not its own"),
        (with_function, "the graph of Block has functions"),
    ],
)
def test_what_is_not_put_together(piece: Callable[[], ModelProto], why: str) -> None:
    called: Mapping[str, PieceCall] = {"0": call(1, names("blocks.0", "blocks.0", "fc"))}
    with pytest.raises(NotPutTogetherError, match=why):
        put_together([around(1), piece()], [called, {}])


@pytest.mark.parametrize("name", [name for name in store.names() if name.endswith("-float16")])
def test_a_graph_of_one_piece_stays_what_it_is(name: str) -> None:
    graph = store.read(name)
    message = codec.parse(graph, name)
    if message.functions or "Generator" in {primitive.op_type for primitive in message.primitives}:
        with pytest.raises(NotPutTogetherError):
            put_together([message], [{}])
        return
    made = put_together([message], [{}], message.graph.name)
    assert canonical_hash(made) == canonical_hash(codec.parse(graph, name))
    assert [p.name for p in made.graph.parameter] == [p.name for p in message.graph.parameter]
