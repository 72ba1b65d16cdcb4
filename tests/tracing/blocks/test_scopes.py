"""Nodes are scoped in the module they belong to, whatever the module was that MindSpore met a function in first."""

from __future__ import annotations

import pytest

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.tracing.blocks.pieces import Piece
from attnfuse.tracing.blocks.scopes import scopes_of
from tests.support.graphs import GraphBuilder
from tests.support.pieces import call, stand_in

WIDTH = 8
ROWS = TensorType((2, WIDTH), FLOAT32)
MODEL = "Default/model-Model"
FIRST, SECOND = (f"{MODEL}/blocks-CellList/{n}-Block" for n in range(2))
OWNERS = {
    f"blocks.{n}.{layer}.{kind}": f"{MODEL}/blocks-CellList/{n}-Block/{layer}-Dense"
    for n in range(2)
    for layer in ("up", "down")
    for kind in ("weight", "bias")
}


def found(g: GraphBuilder, values: dict[str, str], owners: dict[str, str] = OWNERS) -> dict[str, str]:
    """The scopes of named values of a finished graph."""
    scopes = scopes_of(Piece("piece_0.mindir", "Model", {"0": call(1, {}, SECOND)}, "Default", owners), g.build())
    return {name: scopes[value] for name, value in values.items()}


def two_blocks(written: str) -> tuple[GraphBuilder, dict[str, str]]:
    """Two blocks of two layers with a function between them, all of whose nodes are scoped as `written`."""
    g = GraphBuilder("model", weights=False)
    g.scope = written
    x, values = g.input("x", (2, WIDTH)), {}
    for n in range(2):
        x = values[f"up{n}"] = g.dense(x, f"blocks.{n}.up", WIDTH)
        x = values[f"half{n}"] = g.muls(x, 0.5)
        x = values[f"down{n}"] = g.dense(x, f"blocks.{n}.down", WIDTH)
        x = values[f"after{n}"] = g.muls(x, 0.25)
    g.output(x)
    return g, values


def test_what_reads_a_weight_is_where_the_weight_is() -> None:
    scopes = found(*two_blocks(f"{FIRST}/up-Dense"))
    for n, block in enumerate((FIRST, SECOND)):
        assert scopes[f"up{n}"] == f"{block}/up-Dense"
        assert scopes[f"down{n}"] == f"{block}/down-Dense"


@pytest.mark.parametrize("written", ["Default", MODEL, FIRST, SECOND, f"{FIRST}/act-SiLU", f"{FIRST}/up-Dense"])
def test_what_a_function_computes_is_in_the_module_around_it(written: str) -> None:
    scopes = found(*two_blocks(written))
    # It can be in a module without weights, or one whose weights are next to it.
    assert scopes["half0"] == (written if written.startswith(f"{FIRST}/") else FIRST)
    assert scopes["half1"] == SECOND
    # Between the blocks, or in one of them, but not in the first's first layer.
    assert scopes["after0"] == (MODEL if written in ("Default", f"{FIRST}/up-Dense") else written)
    assert scopes["after1"] == written  # nothing says that it is not


def test_a_module_with_weights_is_near_one_of_them() -> None:
    """`half0` stands between two layers of the first block, and not in its third."""
    g, values = two_blocks(f"{FIRST}/norm-Norm")
    assert found(g, values)["half0"] == f"{FIRST}/norm-Norm"
    g, values = two_blocks(f"{FIRST}/norm-Norm")
    norm = g.dense(g.input("y", (2, WIDTH)), "blocks.0.norm", WIDTH)
    g.output(g.add(norm, norm))
    owners = {**OWNERS, "blocks.0.norm.weight": f"{FIRST}/norm-Norm", "blocks.0.norm.bias": f"{FIRST}/norm-Norm"}
    assert found(g, values, owners)["half0"] == FIRST


def test_between_two_calls_of_one_module_is_not_within_it() -> None:
    g = GraphBuilder("model", weights=False)
    g.scope = MODEL
    weight = g.weight("blocks.0.up.weight", (WIDTH, WIDTH))
    first = g.op("Dense", g.input("x", (2, WIDTH)), weight, g.constant(None))
    between = g.muls(first, 0.5)
    g.output(g.op("Dense", between, weight, g.constant(None)))
    assert found(g, {"first": first, "between": between}) == {"first": f"{FIRST}/up-Dense", "between": MODEL}


def test_a_stand_in_is_where_its_block_is_and_what_a_weight_is_made_into_where_the_weight_is() -> None:
    g = GraphBuilder("model", weights=False)
    g.scope = f"{FIRST}/act-SiLU"
    row = g.cast(g.weight("blocks.1.up.bias", (WIDTH,)), FLOAT32)
    split = g.split_with_size(g.add(stand_in(g, "0", [g.input("x", (2, WIDTH))], ROWS), row), (4, 4), 1)
    g.output(g.add(*split))
    made = {"row": row, "part": split[0]}
    assert found(g, made) == {"row": f"{SECOND}/up-Dense", "part": f"{FIRST}/act-SiLU"}


def test_a_weight_of_two_modules_is_of_neither() -> None:
    assert found(*two_blocks(MODEL), owners={})["up1"] == MODEL


@pytest.mark.parametrize("written", ["Default/block-Block/act-SiLU", f"{FIRST}/act-SiLU", SECOND, "Default"])
def test_a_block_traced_by_itself_stands_where_its_cell_is(written: str) -> None:
    g = GraphBuilder("block", weights=False)
    g.scope = written
    half = g.muls(g.input("a0", (2, WIDTH)), 0.5)
    g.output(half)
    expected = f"{FIRST}/act-SiLU" if "SiLU" in written else FIRST
    assert scopes_of(Piece("piece_1.mindir", "Block", {}, FIRST, {}), g.build())[half] == expected
