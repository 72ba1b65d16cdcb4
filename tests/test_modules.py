"""Modules by the names of weights, by scopes where there are none, and without the wrapper of an exported cell."""

from __future__ import annotations

import pytest

from attnfuse.ir.graph import Model
from attnfuse.modules import Modules
from tests.support.graphs import GraphBuilder


def graph(weights: tuple[str, ...], scope: str) -> Model:
    """One operator for each weight, and a last one without, all in one scope."""
    g = GraphBuilder()
    g.scope = scope
    x = g.input("x", (2, 3))
    for weight in weights:
        x = g.op("Add", x, g.weight(weight, (3,)))
    g.output(g.op("ReLU", x))
    return g.model()


def modules(model: Model, *ops: str) -> list[str]:
    names = Modules(model)
    return [names.of(node) for node in model.nodes if node.op in ops]


@pytest.mark.parametrize(
    ("weights", "scope", "expected"),
    [
        # A weight tells, whatever the scope says.
        (("conv.bias", "up.0.norm.gamma"), "Default/net-Net/mid-Mid", ["conv", "up.0.norm", "mid"]),
        # The first segment of a scope is the wrapper's attribute where no weight begins with it.
        (("conv.bias", "mid.norm.gamma"), "Default/mid-Mid/0-Block", ["conv", "mid.norm", "mid.0"]),
        # Every weight begins with the wrapper's attribute.
        (("m.conv.bias", "m.mid.gamma"), "Default/m-Net/mid-Mid", ["conv", "mid", "mid"]),
        # A list of blocks is no wrapper.
        (("blocks.0.bias", "blocks.1.bias"), "Default/blocks-CellList/1-Block", ["blocks.0", "blocks.1", "blocks.1"]),
        (("conv.bias", "norm.bias"), "Default", ["conv", "norm", ""]),
    ],
)
def test_modules(weights: tuple[str, ...], scope: str, expected: list[str]) -> None:
    assert modules(graph(weights, scope), "Add", "ReLU") == expected


def test_a_weight_is_found_behind_casts_copies_and_loads_only() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 3))
    weight = g.weight("conv.bias", (3,))
    through = g.op("TensorMove", g.op("Cast", weight, like=weight))
    g.output(g.op("Add", x, through), g.op("Mul", x, g.op("Neg", through)))
    assert modules(g.model(), "Add", "Mul") == ["conv", ""]


def test_a_weight_is_found_behind_a_copy_of_it() -> None:
    g = GraphBuilder()
    g.scope = "Default/mid-Mid"
    x = g.input("x", (2, 3))
    copy = g.op("Clone", g.weight("up.0.bias", (3,)))
    g.output(g.op("Add", g.op("Add", x, g.weight("conv.bias", (3,))), copy))
    assert modules(g.model(), "Add") == ["conv", "up.0"]
