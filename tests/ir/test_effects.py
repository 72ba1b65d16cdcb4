"""What a graph writes to: no number of it is known, and a weight it may write to is a value of run time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.ir.effects import Effects
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT32, INT64
from attnfuse_passes.attention.mask_values import ConstantFolder
from attnfuse_passes.attention.uniform import uniform
from tests.support.graphs import PRIMITIVE, GraphBuilder
from tests.support.oracle import Array

KIND = TensorType((2, 3), FLOAT32)
HELD: Array = np.arange(6, dtype=np.float32).reshape(2, 3)
Use = Callable[[GraphBuilder, str, str], str]
"""What else is done with a weight, given itself and what a Load reads of it."""


def of_weight(op: str, *others: str) -> Use:
    """An operator that is given the weight itself."""

    def use(g: GraphBuilder, weight: str, read: str) -> str:
        values = [g.input(name, KIND.dims) for name in others]
        return g.node(op, [weight, *values, g.monad()], KIND)

    return use


def through_view(g: GraphBuilder, weight: str, read: str) -> str:
    seen = g.op("ReshapeView", read, (3, 2), dims=(3, 2))
    return g.node("InplaceMuls", [seen, g.constant(2.0), g.monad()], g.type_of(seen))


def embedding(*arguments: float | None) -> Use:
    def use(g: GraphBuilder, weight: str, read: str) -> str:
        return g.node("Embedding", [g.input("i", (2,), INT64), weight, *map(g.constant, arguments)], KIND)

    return use


def called(g: GraphBuilder, weight: str, read: str) -> str:
    """A function may write to what it is given."""
    function = g.proto.functions.add(name="9_block")
    function.input.add(name="9_block:w").tensor.add(data_type=FLOAT32.wire).dims.extend(KIND.dims)
    function.output.add(name="9_block:w")
    node = g.graph.node.add(name="call", op_type="REF::9_block", input=[weight], output=["call"])
    node.attribute.add(name="shape").CopyFrom(g.graph.node[1].attribute[0])
    return read


def model_with(use: Use) -> tuple[ConstantFolder, str]:
    g = GraphBuilder()
    read = g.parameter("table", HELD)
    g.output(g.op("Neg", read), use(g, f"{g.prefix}:table", read))
    model = g.model()
    return ConstantFolder(model, Effects.of(model), lambda name: HELD if name == f"{g.prefix}:table" else None), read


@pytest.mark.parametrize(
    "use",
    [
        of_weight("Assign", "x"),
        of_weight("AssignAdd", "x"),
        of_weight("ScatterUpdate", "i", "x"),
        of_weight("KVCacheScatterUpdate", "i", "x"),
        lambda g, weight, read: g.node("InplaceAddExt", [read, g.input("x", KIND.dims), g.constant(1)], KIND),
        through_view,
        embedding(None, 2.0),
        called,
    ],
    ids=["assign", "add", "scatter", "cache", "in place", "view", "embedding with a norm", "call"],
)
def test_a_weight_that_may_be_written_to_is_not_known(use: Use) -> None:
    folder, read = model_with(use)
    assert folder.value(read) is None
    assert folder.possible(read) is None


@pytest.mark.parametrize(
    "use",
    [
        lambda g, weight, read: g.op("Abs", read),
        lambda g, weight, read: g.node("Load", [weight, g.monad()], KIND, primitive=PRIMITIVE),
        embedding(),
        embedding(None, None, 2.0),
    ],
    ids=["read", "loaded again", "embedding", "embedding without a norm"],
)
def test_a_weight_that_is_only_read_is(use: Use) -> None:
    folder, read = model_with(use)
    found = folder.value(read)
    assert found is not None
    np.testing.assert_array_equal(found, HELD)
    assert folder.possible(read) == frozenset(range(6))


def test_without_values_a_weight_is_not_known() -> None:
    g = GraphBuilder()
    read = g.parameter("table", HELD)
    g.output(read)
    model = g.model()
    assert ConstantFolder(model, Effects.of(model)).value(read) is None


def test_a_constant_that_is_written_to_through_a_view_is_not_known() -> None:
    g = GraphBuilder()
    constant = g.constant(HELD)
    seen = g.op("ReshapeView", constant, (3, 2), dims=(3, 2))
    g.output(g.op("Neg", constant), g.node("InplaceMuls", [seen, g.constant(2.0), g.monad()], g.type_of(seen)))
    model = g.model()
    folder = ConstantFolder(model, Effects.of(model))
    assert folder.value(constant) is None
    assert folder.possible(constant) is None


@pytest.mark.parametrize(
    "view",
    [
        lambda g, x: g.reshape(x, (3, 2)),
        lambda g, x: g.expand_dims(x, 0),
        lambda g, x: g.op("Contiguous", x),
        lambda g, x: g.op("Identity", g.reshape(x, (3, 2))),
    ],
    ids=["reshape", "expand", "contiguous", "two"],
)
def test_a_constant_that_is_written_to_under_another_name_is_not_known(
    view: Callable[[GraphBuilder, str], str],
) -> None:
    g = GraphBuilder()
    ones = g.op("OnesLike", g.input("x", KIND.dims))
    seen = view(g, ones)
    g.output(g.op("Neg", ones), g.node("InplaceMuls", [seen, g.constant(2.0), g.monad()], g.type_of(seen)))
    model = g.model()
    folder = ConstantFolder(model, Effects.of(model))
    assert uniform(model, ones) is None
    assert folder.value(ones) is None
    assert folder.possible(ones) is None


def test_a_tuple_of_the_order_of_effects_is_no_other_name_of_what_it_holds() -> None:
    g = GraphBuilder()
    ones, zeros = (g.op(op, g.input(op, KIND.dims)) for op in ("OnesLike", "ZerosLike"))
    ordered = g.node("MakeTuple", [ones, zeros], (KIND, KIND), primitive=PRIMITIVE)
    state = g.node("UpdateState", [g.monad(), ordered], None, primitive=PRIMITIVE)
    g.output(zeros, g.node("InplaceMuls", [ones, g.constant(2.0), state], KIND))
    model = g.model()
    assert uniform(model, zeros) == 0.0
    assert Effects.of(model).mutated == {ones}


@pytest.mark.parametrize("op", ["FlattenExt", "Identity", "Slice", "RepeatInterleaveInt"])
def test_ones_are_ones_however_they_are_handed_on(op: str) -> None:
    g = GraphBuilder()
    ones = g.op("OnesLike", g.input("x", KIND.dims))
    handed = g.op(op, ones, like=ones)
    g.output(handed)
    assert uniform(g.model(), handed) == 1.0
