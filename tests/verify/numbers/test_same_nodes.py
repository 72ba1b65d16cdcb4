"""Which lowered graphs are one graph, whatever their values are called, and that nothing is run to compare those."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from attnfuse.ir.types import Array
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.comparison import Side
from attnfuse.verify.numbers.replaced_operators import difference
from attnfuse.verify.numbers.same_nodes import are_same
from attnfuse.verify.numbers.weights import stored_weights
from tests.support.graphs import GraphBuilder, seeded

Build: TypeAlias = "Callable[[GraphBuilder, str, str], str]"
W = seeded("w", (4, 8))
OTHER = np.array(W)
OTHER[3, 7] = -OTHER[3, 7]


def side(build: Build, first: str = "x") -> Side:
    g = GraphBuilder("m")
    g.op("Neg", np.ones(3, np.float32))  # read by nobody; it moves every name
    x, y = g.input(first, (4, 8)), g.input("y", (4, 8))
    g.output(build(g, x, y))
    model = g.model()
    return Side(model, stored_weights(model.proto, Path("m.mindir")))


def weighed(name: str, value: Array) -> Build:
    return lambda g, x, y: g.op("Sub", g.op("Mul", x, g.parameter(name, value)), y)


def plain(g: GraphBuilder, x: str, y: str) -> str:
    return g.op("Softmax", g.op("Sub", x, y), -1)


ALIKE: dict[str, tuple[Build, Build]] = {
    "itself": (plain, plain),
    "another name of the operator": (
        lambda g, x, y: g.op("Mul", x, y),
        lambda g, x, y: g.op("Mul", g.op("Contiguous", x), y),
    ),
    "another order of factors": (lambda g, x, y: g.op("Mul", x, y), lambda g, x, y: g.op("Mul", y, x)),
    "another name of a weight": (weighed("a", W), weighed("b", np.array(W))),
}
OTHERS: dict[str, tuple[Build, Build]] = {
    "operands": (plain, lambda g, x, y: g.op("Softmax", g.op("Sub", y, x), -1)),
    "one operand twice": (plain, lambda g, x, y: g.op("Softmax", g.op("Sub", x, x), -1)),
    "an attribute": (plain, lambda g, x, y: g.op("Softmax", g.op("Sub", x, y), 0)),
    "a constant": (
        lambda g, x, y: g.add(g.muls(x, 0.3), y),
        lambda g, x, y: g.add(g.muls(x, 0.300001), y),
    ),
    "an operator": (lambda g, x, y: g.op("Add", x, y), lambda g, x, y: g.op("Sub", x, y)),
    "an element of a weight": (weighed("a", W), weighed("a", OTHER)),
    "a node more": (plain, lambda g, x, y: g.op("Neg", plain(g, x, y))),
    "a node less": (lambda g, x, y: g.op("Neg", plain(g, x, y)), plain),
}


def same(one: Side, other: Side) -> bool:
    first, second = (lower(each.model, Arithmetic.EXACT) for each in (one, other))
    return are_same(first, second, (one.weights, other.weights))


@pytest.mark.parametrize("name", ALIKE)
def test_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = map(side, ALIKE[name])
    assert same(one, other)
    monkeypatch.setattr(Side, "run", None)
    assert difference(one, other, 0) is None


@pytest.mark.parametrize("name", OTHERS)
def test_not_alike(name: str) -> None:
    one, other = map(side, OTHERS[name])
    assert not same(one, other)
    assert difference(one, other, 0) is not None


def test_inputs_are_told_apart_by_their_names() -> None:
    assert not same(side(plain), side(plain, first="z"))


def test_a_weight_without_a_value_is_like_no_other() -> None:
    one, other = (side(weighed("a", W)) for _ in range(2))
    assert not same(one, Side(other.model, lambda parameter: None))
