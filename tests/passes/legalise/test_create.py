"""Tensors made from nothing, and random state that nothing reads."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32, INT64, UINT8, DType
from tests.passes.legalise.programs import In, Make, after, depend, gives, kind, load
from tests.passes.legalise.support import Case, cases, check_structure, legalise, operators
from tests.support.graphs import PRIMITIVE, GraphBuilder

LARGE = (1 << 11, 1 << 10)
"""More elements than are written into a graph."""


def beside(op: str, *arguments: object, dtype: DType = FLOAT32, dims: tuple[int, ...] = (2, 3)) -> Make:
    """What the operator makes, and an input of its type; truths are cast. MindSpore would fold it alone."""

    def make(g: GraphBuilder) -> str:
        made = g.node(op, [g.constant(a) for a in arguments], TensorType(dims, dtype))  # type: ignore[arg-type]
        return larger(g, made)

    return make


def like(op: str, number: int | None, x: DType, dtype: DType) -> Make:
    """A tensor of the shape of another: [2, 3]."""

    def make(g: GraphBuilder) -> str:
        return larger(g, g.node(op, [g.input("like", (2, 3), x), g.constant(number)], kind(2, 3, dtype=dtype)))

    return make


def larger(g: GraphBuilder, made: str) -> str:
    """The larger of two; not the sum, for MindSpore knows that x + 0 is x."""
    kind_ = g.type_of(made)
    if kind_.dtype is BOOL:
        made, kind_ = g.cast(made, FLOAT32), TensorType(kind_.dims, FLOAT32)
    return g.op("Maximum", g.input("x", kind_.dims, kind_.dtype), made)


def new(op: str, size: tuple[int, ...], number: int | None, dtype: DType) -> Make:
    """NewZeros or NewOnes of a tensor in float16."""

    def make(g: GraphBuilder) -> str:
        arguments = [g.input("other", (5,), FLOAT16), g.constant(size), g.constant(number)]
        return larger(g, g.node(op, arguments, TensorType(size, dtype)))

    return make


def empty(g: GraphBuilder) -> str:
    """The shape of what may hold anything, and none of its elements: ones like it."""
    made = g.node("EmptyLike", [g.input("x", (2, 3)), *(g.constant(a) for a in (None, None, False))], kind(2, 3))
    return g.op("Maximum", g.input("y", (2, 3)), g.op("OnesLike", made))


def generator(read: bool) -> Make:
    """llama's: seed, offset and state drawn from parameters, in the order of effects; nothing else reads them."""

    def make(g: GraphBuilder) -> str:
        state = tuple(g.parameter(name, np.array(1, np.int64)) for name in ("seed", "offset", "limit"))
        inputs = g.node("MakeTuple", state, tuple(g.type_of(s) for s in state), primitive=PRIMITIVE)
        kinds = (kind(1, dtype=INT64), kind(1, dtype=INT64), kind(16, dtype=UINT8))
        drawn = g.node("Generator", [g.constant(0), inputs, g.monad()], kinds)
        x = g.op("Neg", g.input("x", (1,), INT64))
        if read:
            x = g.add(x, g.tuple_get_item(drawn, 0))
        return depend(g, x, after(g, g.monad(), drawn))

    return make


cases(
    "create",
    Case("Zeros", beside("Zeros", (2, 3), None), ("Maximum",)),
    Case("Zeros of whole numbers", beside("Zeros", (2, 3), 34, dtype=INT32), ("Maximum",)),
    Case("Ones in bfloat16", beside("Ones", (2, 3), 45, dtype=BFLOAT16), ("Maximum",)),
    Case("Ones of truths", beside("Ones", (2, 3), 30, dtype=BOOL), ("Cast", "Maximum")),
    Case("NewZeros", new("NewZeros", (2, 3), None, FLOAT16), ("Maximum",)),
    Case("NewZeros of truths", new("NewZeros", (2, 3), 30, BOOL), ("Cast", "Maximum")),
    Case("NewOnes", new("NewOnes", (2, 3), 43, FLOAT32), ("Maximum",)),
    Case("OnesLikeExt", like("OnesLikeExt", None, FLOAT32, FLOAT32), ("Maximum",)),
    Case("OnesLikeExt of another type", like("OnesLikeExt", 42, FLOAT32, FLOAT16), ("Maximum",)),
    Case("ZerosLikeExt", like("ZerosLikeExt", None, INT64, INT64), ("Maximum",)),
    Case("FillScalar", beside("FillScalar", (2, 3), 1.5, None), ("Maximum",)),
    Case("FillScalar in float16, rounded", beside("FillScalar", (2, 3), 0.1, 42, dtype=FLOAT16), ("Maximum",)),
    Case("FillScalar of truths", beside("FillScalar", (2, 3), True, 30, dtype=BOOL), ("Cast", "Maximum")),
    Case("FillScalar, large", beside("FillScalar", LARGE, 2.0, None, dims=LARGE), ("FillV2", "Maximum")),
    Case("Arange", beside("Arange", 0, 6, 1, 35, dtype=INT64, dims=(6,)), ("Maximum",)),
    Case("Arange in steps", beside("Arange", 1, 6, 2, 34, dtype=INT32, dims=(3,)), ("Maximum",)),
    Case("Arange backwards, in halves", beside("Arange", 2.0, 0.0, -0.5, 43, dims=(4,)), ("Maximum",)),
    Case("LinSpaceExt", beside("LinSpaceExt", -0.5, 0.7, 7, 43, dims=(7,)), ("Maximum",), exact=6e-8),
    Case(
        "LinSpaceExt in float16",
        beside("LinSpaceExt", 0.0, 1.0, 6, 42, dtype=FLOAT16, dims=(6,)),
        ("Maximum",),
        exact=5e-4,
    ),
    Case("LinSpaceExt of one", beside("LinSpaceExt", 3.0, 9.0, 1, 43, dims=(1,)), ("Maximum",)),
    Case(
        "LinSpaceExt of whole numbers",
        beside("LinSpaceExt", 0, 4, 5, 35, dtype=INT64, dims=(5,)),
        refused="whole numbers",
    ),
    Case("EmptyLike", empty, ("OnesLike", "Maximum")),
    Case(
        "OnesLikeExt of unknown size",
        gives("OnesLikeExt", In("x", (-1, 3)), None, out=kind(-1, 3)),
        ("OnesLike",),
    ),
    Case(
        "ZerosLikeExt of unknown size",
        gives("ZerosLikeExt", In("x", (-1, 3)), None, out=kind(-1, 3)),
        ("ZerosLike",),
    ),
    Case(
        "ZerosLikeExt of unknown size and another type",
        gives("ZerosLikeExt", In("x", (-1, 3)), 42, out=kind(-1, 3, dtype=FLOAT16)),
        refused="not known before run time",
    ),
    Case("Generator", generator(read=False), ("Neg",), newer=True),
    Case("Generator that is read", generator(read=True), refused="something reads its random state"),
)


@pytest.mark.parametrize("op", ["Zeros", "FillScalar"])
def test_a_size_that_is_not_known_is_refused(op: str) -> None:
    arguments = (In("size", (2,), INT64), *((1.0,) if op == "FillScalar" else ()), None)
    check_structure(Case(op, gives(op, *arguments, out=kind(-1, 3)), refused="not known before run time"))


def test_elements_that_must_be_rounded_are_refused() -> None:
    """0.1 · 3 rounded once, and 0.1 rounded and tripled, are not the same float32."""
    make = beside("Arange", 0.0, 0.5, 0.1, 43, dims=(5,))
    check_structure(Case("tenths", make, refused="no numbers of float32"))


@pytest.mark.parametrize(
    ("op", "numbers", "out", "refused"),
    [
        ("Arange", (0.0, math.inf, 1.0, 43), kind(4), "never ends"),
        ("Arange", (0.0, 4.0, 0.0, 43), kind(4), "never ends"),
        ("Arange", (0.0, 1e18, 1.0, 43), kind(4), "not known before run time"),
        ("Arange", (0, 1 << 40, 1, 35), kind(1 << 40, dtype=INT64), "too large for a constant"),
        ("LinSpaceExt", (0.0, 1.0, 1 << 40, 43), kind(1 << 40), "too large for a constant"),
        ("LinSpaceExt", (0.0, 1.0, -3, 43), kind(3), "not known before run time"),
    ],
)
def test_a_row_of_numbers_without_end_is_refused(
    op: str, numbers: tuple[float, ...], out: TensorType, refused: str
) -> None:
    check_structure(Case(op, gives(op, *numbers, out=out), refused=refused))


def test_a_computed_end_is_refused() -> None:
    make = gives("Arange", 0, In("end", (), INT64), 1, 35, out=kind(-1, dtype=INT64))
    check_structure(Case("computed", make, refused="argument end is not a constant"))


def test_a_length_that_is_not_written_is_refused() -> None:
    """The arguments tell it, but the type must stay what it was."""
    make = gives("Arange", 0, 6, 1, 35, out=kind(-1, dtype=INT64))
    check_structure(Case("no length", make, refused="not known before run time"))


def test_a_computed_number_is_refused() -> None:
    make = gives("FillScalar", (2, 3), In("number", ()), 43, out=kind(2, 3))
    check_structure(Case("computed", make, refused="argument fill_value is not a constant"))


def test_what_only_made_the_size_goes_too() -> None:
    """The tensor that NewZeros took its type from has no reader left."""
    g = GraphBuilder()
    other = g.op("Abs", g.input("other", (5,), FLOAT16))
    zeros = g.node("NewZeros", [other, g.constant((2, 3)), g.constant(None)], kind(2, 3, dtype=FLOAT16))
    g.output(larger(g, zeros))
    model = g.model()
    assert legalise(model) == {}
    assert operators(model) == ("Maximum",)
    assert [p.op_type for p in model.proto.primitives] == ["Maximum"]


def test_what_is_set_in_place_stays() -> None:
    """A constant is nobody's memory to change."""
    g = GraphBuilder()
    arguments = [g.input("x", (2, 3)), *(g.constant(a) for a in (None, None, False))]
    made = g.node("EmptyLike", arguments, kind(2, 3))
    state = after(g, g.monad(), g.node("InplaceMul", [made, g.input("y", (2, 3)), g.monad()], kind(2, 3)))
    g.output(load(g, made, state))
    assert "what it reads or gives is changed in place" in legalise(g.model()).values()
