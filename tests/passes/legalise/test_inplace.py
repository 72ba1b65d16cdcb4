"""Changes in place that fixtures as text cannot say: of a weight that is not read first, and of a call's result."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attnfuse.mindir.dtypes import FLOAT32
from tests.passes.legalise.programs import after, kind, load
from tests.passes.legalise.support import Case, check_structure
from tests.support.graphs import GraphBuilder, fill_type


def of_a_weight(g: GraphBuilder) -> str:
    g.weight("w", (2, 3))
    return _mul(g, f"{g.prefix}:w")


def of_what_a_function_gives(g: GraphBuilder) -> str:
    """It may be the function's own argument. It is called twice, so that its nodes do not take its place."""
    function = g.proto.functions.add(name="9_function")
    function.input.add(name="9_function:x").tensor.add(data_type=FLOAT32.wire).dims.extend((2, 3))
    function.output.add(name="9_function:x")
    for name in ("first", "second"):
        call = g.graph.node.add(name=name, op_type="REF::9_function")
        call.input.append(g.input(f"{name}_x", (2, 3)))
        call.output.append(name)
        fill_type(call.attribute.add(name="shape"), kind(2, 3))
    return _mul(g, "first")


def _mul(g: GraphBuilder, target: str) -> str:
    result = g.node("InplaceMul", [target, g.input("factor", (2, 3)), g.monad()], kind(2, 3))
    return load(g, result, after(g, g.monad(), result))


@pytest.mark.parametrize("make", [of_a_weight, of_what_a_function_gives])
def test_what_is_not_the_graphs_own_is_changed_as_before(make: Callable[[GraphBuilder], str]) -> None:
    check_structure(Case(make.__name__, make, refused="a weight, an input, a constant or what a function gives"))
