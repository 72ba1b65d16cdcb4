"""Operators that change their first input in place: the plain ones, where nothing else sees the change.

MindSpore 2.7.1 reads these files, but not all of them from an export of its own: 2.10 writes them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT64, DType
from tests.passes.legalise.programs import Make, after, kind, load
from tests.passes.legalise.support import Case, cases, check_structure, legalise
from tests.support.graphs import PRIMITIVE, GraphBuilder, fill_type


def changed(op: str, *scalars: float, x: DType = FLOAT32, y: DType = FLOAT32, dims: tuple[int, ...] = (2, 3)) -> Make:
    """What an operator made is changed in place, then read: T5's bias, added to its scores."""

    def make(g: GraphBuilder) -> str:
        target = g.op("Neg", g.input("x", (2, 3), x))
        other = g.input("y", dims, y)
        result = g.node(op, [target, other, *map(g.constant, scalars), g.monad()], kind(2, 3, dtype=x))
        return g.op("Abs", load(g, result, after(g, g.monad(), result)))

    return make


def chain(g: GraphBuilder) -> str:
    """flux's modulation in MindSpore 2.10: a norm's result is scaled in place, and that shifted in place."""
    x, gain = g.input("x", (2, 3)), g.input("gain", (3,))
    kinds = (kind(2, 3), kind(2, 1), kind(2, 1))
    norm = g.node("LayerNorm", [x, gain, g.input("bias", (3,)), *map(g.constant, (1, 1, 1e-5))], kinds)
    scaled = g.node("InplaceMul", [g.tuple_get_item(norm, 0), g.input("scale", (1, 3)), g.monad()], kind(2, 3))
    state = after(g, g.monad(), scaled)
    shifted = g.node("InplaceAddExt", [scaled, g.input("shift", (1, 3)), g.constant(1), state], kind(2, 3))
    return g.op("Neg", load(g, shifted, after(g, state, shifted)))


def other_element(g: GraphBuilder) -> str:
    """Another element of the tuple is read: an operator makes each in memory of its own."""
    x = g.input("x", (2, 4))
    pieces = g.node("Split", [x, g.constant(1), g.constant(2)], (kind(2, 2), kind(2, 2)))
    scaled = g.node("InplaceMul", [g.tuple_get_item(pieces, 0), g.input("y", (2, 2)), g.monad()], kind(2, 2))
    return g.add(load(g, scaled, after(g, g.monad(), scaled)), g.tuple_get_item(pieces, 1))


def twice(g: GraphBuilder) -> str:
    """x · x in place."""
    x = g.op("Neg", g.input("x", (2, 3)))
    squared = g.node("InplaceMul", [x, x, g.monad()], kind(2, 3))
    return load(g, squared, after(g, g.monad(), squared))


cases(
    "inplace",
    Case("InplaceAddExt", changed("InplaceAddExt", 1), ("Neg", "Add", "Abs")),
    Case("InplaceAddExt of part of the axes", changed("InplaceAddExt", 1, dims=(3,)), ("Neg", "Add", "Abs")),
    Case("InplaceAddExt, scaled", changed("InplaceAddExt", 0.5), ("Neg", "Mul", "Add", "Abs")),
    Case(
        "InplaceAddExt in float16, scaled by what it does not hold",
        changed("InplaceAddExt", 0.1, x=FLOAT16, y=FLOAT16),
        ("Neg", "Cast", "Mul", "Cast", "Add", "Abs"),
        native=2e-3,
    ),
    Case("InplaceAddExt of whole numbers", changed("InplaceAddExt", 2, x=INT64, y=INT64), ("Neg", "Mul", "Add", "Abs")),
    Case("InplaceMul", changed("InplaceMul"), ("Neg", "Mul", "Abs")),
    Case(
        "InplaceMul by truths",
        changed("InplaceMul", y=BOOL),
        ("Neg", "Cast", "Mul", "Abs"),
        inputs={"y": np.array([[True, False, True], [False, False, True]])},
    ),
    Case("InplaceMul by whole numbers", changed("InplaceMul", x=BFLOAT16, y=INT64), ("Neg", "Cast", "Mul", "Abs")),
    Case("InplaceMul, then InplaceAddExt", chain, ("LayerNorm", "TupleGetItem", "Mul", "Add", "Neg")),
    Case("InplaceMul of one element", other_element, ("Split", "TupleGetItem", "Mul", "TupleGetItem", "Add")),
    Case("InplaceMul by itself", twice, ("Neg", "Mul")),
    Case("InplaceMul of whole numbers by floats", changed("InplaceMul", x=INT64), refused="brings float32 into int64"),
    Case("InplaceMul of float16 by float32", changed("InplaceMul", x=FLOAT16), refused="brings float32 into float16"),
    Case(
        "InplaceAddExt of whole numbers, scaled by halves",
        changed("InplaceAddExt", 0.5, x=INT64, y=INT64),
        refused="0.5 times whole numbers",
    ),
)


def of_an_input(g: GraphBuilder) -> str:
    return _mul(g, g.input("x", (2, 3)))


def of_a_weight(g: GraphBuilder) -> str:
    g.weight("w", (2, 3))
    return _mul(g, f"{g.prefix}:w")


def of_a_loaded_weight(g: GraphBuilder) -> str:
    return _mul(g, g.weight("w", (2, 3)))


def of_a_constant(g: GraphBuilder) -> str:
    return _mul(g, g.constant(np.ones((2, 3), np.float32)))


def of_what_is_read_before(g: GraphBuilder) -> str:
    x = g.op("Neg", g.input("x", (2, 3)))
    y = g.op("Abs", x)
    return g.add(y, _mul(g, x))


def of_what_is_read_after(g: GraphBuilder) -> str:
    x = g.op("Neg", g.input("x", (2, 3)))
    result = g.node("InplaceMul", [x, g.input("y", (2, 3)), g.monad()], kind(2, 3))
    return g.add(load(g, x, after(g, g.monad(), result)), result)


def of_what_is_an_output(g: GraphBuilder) -> tuple[str, ...]:
    x = g.op("Neg", g.input("x", (2, 3)))
    return x, _mul(g, x)


def of_a_view(g: GraphBuilder) -> str:
    """The whole is read after a part of it changed."""
    x = g.op("Neg", g.input("x", (2, 3)))
    return g.add(x, _mul(g, g.reshape(g.node("TransposeView", [x, g.constant((1, 0)), g.monad()], kind(3, 2)), (2, 3))))


def of_the_same_element(g: GraphBuilder) -> str:
    pieces = g.node("Split", [g.input("x", (2, 6)), g.constant(1), g.constant(2)], (kind(2, 3), kind(2, 3)))
    return g.add(_mul(g, g.tuple_get_item(pieces, 1)), g.tuple_get_item(pieces, 1))


def of_a_joined_tensor(g: GraphBuilder) -> str:
    x = g.op("Neg", g.input("x", (2, 3)))
    pair = g.node("MakeTuple", [x, x], (kind(2, 3), kind(2, 3)), primitive=PRIMITIVE)
    return g.add(x, _mul(g, g.tuple_get_item(pair, 0)))


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


@pytest.mark.parametrize(
    "make", [of_an_input, of_a_weight, of_a_loaded_weight, of_a_constant, of_a_joined_tensor, of_what_a_function_gives]
)
def test_what_is_not_the_graphs_own_is_changed_as_before(make: Callable[[GraphBuilder], str]) -> None:
    check_structure(Case(make.__name__, make, refused="a weight, an input, a constant or what a function gives"))


@pytest.mark.parametrize(
    "make", [of_what_is_read_before, of_what_is_read_after, of_what_is_an_output, of_the_same_element]
)
def test_what_something_else_reads_is_changed_as_before(make: Callable[[GraphBuilder], str]) -> None:
    check_structure(Case(make.__name__, make, refused="something else reads what it changes"))


def test_what_has_another_name_is_changed_as_before() -> None:
    reasons = legalise(Case("view", of_a_view).model())
    assert "something else reads what it changes" in reasons.values()


def changed_twice(g: GraphBuilder) -> str:
    """What the first change gives is the same memory, which is read after the second."""
    x = g.op("Neg", g.input("x", (2, 3)))
    first = g.node("InplaceMul", [x, g.input("y", (2, 3)), g.monad()], kind(2, 3))
    state = after(g, g.monad(), first)
    second = g.node("InplaceMul", [first, g.input("z", (2, 3)), state], kind(2, 3))
    return load(g, x, after(g, state, second))


def test_a_change_of_what_was_changed_is_seen_by_the_same_readers() -> None:
    reasons = legalise(Case("twice", changed_twice).model())
    assert list(reasons.values()) == ["something else reads what it changes"] * 2
