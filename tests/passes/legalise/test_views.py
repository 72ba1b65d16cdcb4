"""Parts of a tensor along one axis, and regroupings that only name it anew."""

from __future__ import annotations

from typing import Any

import pytest

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16, INT64
from tests.passes.legalise.programs import STATE, In, Make, after, depend, gives, gives_several, kind
from tests.passes.legalise.support import Case, cases, check_structure, legalise
from tests.support.graphs import GraphBuilder

X = In("x", (2, 6, 4))
PART = ("StridedSlice",)
ONE = ("StridedSlice", "Reshape")


def ordered(op: str, *arguments: object, out: TensorType) -> Make:
    """A view of [2, 6, 4] with its place in the order of effects, as MindSpore 2.10 writes it."""

    def make(g: GraphBuilder) -> str:
        constants = [g.constant(a) for a in arguments]  # type: ignore[arg-type]  # literals
        view = g.node(op, [g.input("x", (2, 6, 4)), *constants, g.monad()], out)
        return depend(g, g.op("Neg", view), after(g, g.monad(), view))

    return make


def changed(op: str, *arguments: object) -> Make:
    """A view that is changed in place: what it views is read after."""

    def make(g: GraphBuilder) -> str:
        x = g.op("Neg", g.input("x", (2, 4)))
        constants = [g.constant(a) for a in arguments]  # type: ignore[arg-type]  # literals
        view = g.node(op, [x, *constants, g.monad()], kind(2, 4))
        state = after(g, g.monad(), view)
        written = g.node("InplaceMul", [view, g.input("y", (2, 4)), state], kind(2, 4))
        return depend(g, g.add(x, x), after(g, state, written))

    return make


cases(
    "views",
    Case("SliceExt", gives("SliceExt", X, 1, 1, 4, 1, out=kind(2, 3, 4)), PART),
    Case("SliceExt beyond the end", gives("SliceExt", X, -2, 2, 9, 1, out=kind(2, 4, 4)), PART),
    Case("SliceExt from the end", gives("SliceExt", X, 2, -3, -1, 1, out=kind(2, 6, 2)), PART),
    Case("SliceExt, each second", gives("SliceExt", X, 1, 1, 6, 2, out=kind(2, 3, 4)), PART),
    Case(
        "SliceExt beside an axis of unknown size, in bfloat16",
        gives("SliceExt", In("x", (-1, 6), BFLOAT16), 1, 2, 4, 1, out=kind(-1, 2, dtype=BFLOAT16)),
        PART,
    ),
    Case(
        "SliceExt of an axis of unknown size",
        gives("SliceExt", In("x", (2, -1)), 1, 0, -1, 1, out=kind(2, -1)),
        refused="not known before run time",
    ),
    Case("SliceExt backwards", gives("SliceExt", X, 1, 1, 4, -1, out=kind(2, 3, 4)), refused="its step is -1"),
    Case("SliceExtView", ordered("SliceExtView", 1, 2, 5, 1, out=kind(2, 3, 4)), (*PART, "Neg")),
    Case("Narrow", gives("Narrow", X, 1, 2, 3, out=kind(2, 3, 4)), PART),
    Case("Narrow from the end", gives("Narrow", X, -1, -3, 2, out=kind(2, 6, 2)), PART),
    Case("NarrowView", ordered("NarrowView", 1, 0, 5, out=kind(2, 5, 4)), (*PART, "Neg")),
    Case("SelectExtView", ordered("SelectExtView", 1, 3, out=kind(2, 4)), (*ONE, "Neg")),
    Case(
        "SelectExtView from the end, in int64",
        gives("SelectExtView", In("x", (3, 2), INT64), 0, -1, out=kind(2, dtype=INT64)),
        ONE,
    ),
    Case(
        "SelectExtView beside axes of unknown size",
        gives("SelectExtView", In("x", (-1, 3, -1)), 1, 0, out=kind(-1, -1)),
        refused="not known before run time",
    ),
    Case("ViewAs", gives("ViewAs", X, In("y", (12, 4)), out=kind(12, 4)), ("Reshape",)),
    Case("ExpandDimsView", ordered("ExpandDimsView", -2, out=kind(2, 6, 1, 4)), ("Reshape", "Neg")),
    Case("BroadcastToView", ordered("BroadcastToView", (3, -1, 6, 4), out=kind(3, 2, 6, 4)), ("BroadcastTo", "Neg")),
    Case("TransposeExtView", ordered("TransposeExtView", 0, -1, out=kind(4, 6, 2)), ("Transpose", "Neg")),
    Case(
        "TransposeExtView in float16",
        gives("TransposeExtView", In("x", (2, 3), FLOAT16), -1, -2, STATE, out=kind(3, 2, dtype=FLOAT16)),
        ("Transpose",),
    ),
    Case(
        "SplitTensorView, the last part smaller",
        gives_several("SplitTensorView", In("x", (2, 5)), 2, 1, STATE, outs=[kind(2, 2), kind(2, 2), kind(2, 1)]),
        ("StridedSlice", "StridedSlice", "StridedSlice", "MakeTuple"),
    ),
)


@pytest.mark.parametrize(
    ("op", "arguments"), [("SliceExt", (1, 0, 9, 1)), ("SliceExt", (1, -6, 6, 1)), ("Narrow", (1, -6, 6))]
)
def test_all_of_an_axis_is_the_tensor(op: str, arguments: tuple[Any, ...]) -> None:
    def make(g: GraphBuilder) -> str:
        return g.op("Neg", g.node(op, [g.input("x", (2, 6)), *map(g.constant, arguments)], kind(2, 6)))

    check_structure(Case(op, make, ("Neg",)))


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("SliceExtView", (1, 0, 4, 1)),
        ("NarrowView", (1, 0, 4)),
        ("ExpandDimsView", (0,)),
        ("TransposeExtView", (0, 0)),
        ("BroadcastToView", ((2, 4),)),
    ],
)
def test_a_view_that_is_changed_in_place_stays(op: str, arguments: tuple[Any, ...]) -> None:
    """Its copy would not change what it views."""
    assert "what it reads or gives is changed in place" in legalise(Case(op, changed(op, *arguments)).model()).values()
