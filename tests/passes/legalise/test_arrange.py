"""Operators that only move values: copies, regroupings, repetitions, borders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, INT64
from tests.passes.legalise.programs import In, Make, after, depend, gives, kind, load
from tests.passes.legalise.support import Case, cases, check_structure, legalise
from tests.support.graphs import GraphBuilder

X = In("x", (2, 3, 4))
TILED = ("ExpandDims", "Tile", "Reshape")
JOINED = ("MakeTuple", "Concat")


def copied(op: str) -> Make:
    """A copy between two other operators."""

    def make(g: GraphBuilder) -> str:
        return g.op("Neg", g.op(op, g.op("Abs", g.input("x", (2, 3)))))

    return make


def copied_output(g: GraphBuilder) -> str:
    """A copy that is the output of the graph."""
    return g.op("Contiguous", g.op("Abs", g.input("x", (2, 3))))


def changed_copy(g: GraphBuilder) -> str:
    """llama's, were its index assignment in place: the copy is changed, what it was made from is read later."""
    x = g.op("Abs", g.input("x", (2, 3)))
    copy = g.op("Clone", x)
    state = after(g, g.monad(), g.node("InplaceMul", [copy, g.input("y", (2, 3)), g.monad()], kind(2, 3)))
    return g.add(x, load(g, copy, state))


def view(g: GraphBuilder) -> str:
    """sd3's last Transpose."""
    turned = g.node("TransposeView", [g.input("x", (2, 3, 4)), g.constant((0, 2, -2)), g.monad()], kind(2, 4, 3))
    state = after(g, g.monad(), turned)
    read = load(g, turned, state)
    return depend(g, g.op("Neg", read), after(g, state, read))


def padded(padding: tuple[int, ...], number: object, x: In, *dims: int) -> Make:
    return gives("ConstantPadND", x, padding, number, out=kind(*dims, dtype=x.dtype))


def padded_v3(**attributes: object) -> Make:
    number = np.array(1.5, np.float32)
    return gives("PadV3", In("x", (2, 3)), (1, 0, 0, 2), number, out=kind(4, 4), **attributes)


def extended(op: str, padding: tuple[int, ...], x: In, *dims: int) -> Make:
    return gives(op, x, padding, out=kind(*dims, dtype=x.dtype))


def never_joined(g: GraphBuilder) -> str:
    """The autoencoder of Cosmos: as many first frames as are wanted, of which there may be none, before the others."""
    x = g.op("Abs", g.input("x", (2, 3)))
    none = g.node("Repeat", [x, g.constant((0, 1))], kind(0, 3))
    return g.op("Neg", g.concat([none, x], 0))


EDGES = ("Gather", "Gather", *JOINED)
VIDEO = In("x", (1, 2, 3, 4, 5))

cases(
    "arrange",
    Case("Contiguous", copied("Contiguous"), ("Abs", "Neg")),
    Case("Clone", copied("Clone"), ("Abs", "Neg")),
    Case("Contiguous, the output", copied_output, ("Abs",)),
    Case("FlattenExt", gives("FlattenExt", X, 1, 2, out=kind(2, 12)), ("Reshape",)),
    Case("FlattenExt of all axes", gives("FlattenExt", X, 0, -1, out=kind(24)), ("Reshape",)),
    Case(
        "FlattenExt of a scalar",
        gives("FlattenExt", In("x", ()), 0, -1, out=kind(1)),
        ("Reshape",),
        inputs={"x": np.array(1.5, np.float32)},
    ),
    Case(
        "FlattenExt beside an axis of unknown size",
        gives("FlattenExt", In("x", (-1, 3, 4)), 1, 2, out=kind(-1, 12)),
        ("Reshape",),
    ),
    Case(
        "FlattenExt beside two axes of unknown size",
        gives("FlattenExt", In("x", (-1, -1, 3, 4)), 2, 3, out=kind(-1, -1, 12)),
        refused="not known before run time",
    ),
    Case("TransposeView", view, ("Transpose", "Neg")),
    Case("RepeatInterleaveInt", gives("RepeatInterleaveInt", X, 2, 1, 6, out=kind(2, 6, 4)), TILED),
    Case("RepeatInterleaveInt, last axis", gives("RepeatInterleaveInt", X, 3, -1, None, out=kind(2, 3, 12)), TILED),
    Case(
        "RepeatInterleaveInt of one element, in float16",
        gives("RepeatInterleaveInt", In("x", (1, 3), FLOAT16), 4, 0, 4, out=kind(4, 3, dtype=FLOAT16)),
        ("Tile",),
    ),
    Case(
        "RepeatInterleaveInt of no axis",
        gives("RepeatInterleaveInt", X, 2, None, None, out=kind(48)),
        ("Reshape", *TILED),
    ),
    Case(
        "RepeatInterleaveInt beside an axis of unknown size",
        gives("RepeatInterleaveInt", In("x", (-1, 3), BFLOAT16), 2, 1, 6, out=kind(-1, 6, dtype=BFLOAT16)),
        TILED,
    ),
    Case(
        "RepeatInterleaveInt of no axis and unknown size",
        gives("RepeatInterleaveInt", In("x", (-1, 3)), 2, None, None, out=kind(-1)),
        refused="not known before run time",
    ),
    Case("RepeatInterleaveInt, never", gives("RepeatInterleaveInt", X, 0, 1, 0, out=kind(2, 0, 4)), refused="0 times"),
    Case("ConstantPadND of one axis", padded((0, 4), 0.0, In("x", (2, 7), FLOAT16), 2, 11), JOINED),
    Case("ConstantPadND of both ends", padded((1, 2), 1.5, X, 2, 3, 7), JOINED),
    Case("ConstantPadND of an inner axis", padded((0, 0, 0, 1), 1.0, In("x", (1, 2, 4, 5)), 1, 2, 5, 5), JOINED),
    Case("ConstantPadND of two axes", padded((0, 1, 2, 1), 0, X, 2, 6, 5), JOINED * 2),
    Case("ConstantPadND of whole numbers", padded((1, 0), 7, In("x", (2, 3), INT64), 2, 4), JOINED),
    Case("ConstantPadND in bfloat16, rounded", padded((1, 0), 0.1, In("x", (2, 3), BFLOAT16), 2, 4), JOINED),
    Case("ConstantPadND that cuts off", padded((-1, 2), 0, X, 2, 3, 5), refused="it cuts off"),
    Case(
        "ConstantPadND of unknown size",
        padded((0, 1), 0, In("x", (-1, 3)), -1, 4),
        refused="not known before run time",
    ),
    Case("PadV3", padded_v3(mode="constant", paddings_contiguous=True), JOINED * 2),
    Case(
        "PadV3, all that is before first",
        padded_v3(mode="constant", paddings_contiguous=False),
        refused="by pairs of an axis",
    ),
    Case(
        "PadV3 that mirrors",
        padded_v3(mode="reflect", paddings_contiguous=True),
        refused="not pad with a constant",
    ),
    Case("ReflectionPad1D", extended("ReflectionPad1D", (3, 2), X, 2, 3, 9), EDGES),
    Case("ReflectionPad1D without a batch", extended("ReflectionPad1D", (1, 2), In("x", (3, 4)), 3, 7), EDGES),
    Case(
        "ReflectionPad2D in float16",
        extended("ReflectionPad2D", (1, 1, 2, 0), In("x", (1, 3, 4, 5), FLOAT16), 1, 3, 6, 7),
        (*EDGES, "Gather", *JOINED),
    ),
    Case("ReflectionPad3D", extended("ReflectionPad3D", (1, 1, 2, 1, 2, 2), VIDEO, 1, 2, 7, 7, 7), EDGES * 3),
    Case("ReplicationPad1D", extended("ReplicationPad1D", (3, 0), X, 2, 3, 7), ("Gather", *JOINED)),
    Case(
        "ReplicationPad2D in bfloat16",
        extended("ReplicationPad2D", (0, 0, 1, 6), In("x", (1, 2, 3, 4), BFLOAT16), 1, 2, 10, 4),
        EDGES,
    ),
    Case(
        "ReplicationPad3D",
        extended("ReplicationPad3D", (1, 1, 1, 1, 2, 0), VIDEO, 1, 2, 5, 6, 7),
        (*EDGES * 2, "Gather", *JOINED),
    ),
    Case(
        "ReplicationPad3D of unknown size",
        extended("ReplicationPad3D", (1, 1, 1, 1, 1, 1), In("x", (1, 2, 3, -1, 5)), 1, 2, 5, -1, 7),
        refused="not known before run time",
    ),
    Case(
        "ReplicationPad3D that cuts off",
        extended("ReplicationPad3D", (1, -1, 0, 0, 0, 0), VIDEO, 1, 2, 3, 4, 5),
        refused="it cuts off",
    ),
    Case("Repeat", gives("Repeat", X, (1, 2, 3), out=kind(2, 6, 12)), ("Tile",)),
    Case("Repeat along new axes", gives("Repeat", X, (2, 1, 1, 1), out=kind(2, 2, 3, 4)), ("Reshape", "Tile")),
    Case("Repeat, never, and joined", never_joined, ("Abs", "Neg")),
    Case("TrilExt", gives("TrilExt", In("x", (2, 4, 5)), 1, out=kind(2, 4, 5)), ("Tril",)),
    Case(
        "TrilExt of truths, below the diagonal",
        gives("TrilExt", In("x", (4, 5), BOOL), -1, out=kind(4, 5, dtype=BOOL)),
        ("Tril",),
    ),
    Case("BroadcastTo a part", gives("BroadcastTo", In("x", (1, 3)), (2, 2, -1), out=kind(2, 2, 3)), ("BroadcastTo",)),
    Case(
        "BroadcastTo a whole, in bool",
        gives("BroadcastTo", In("x", (1, 3), BOOL), (2, 3), out=kind(2, 3, dtype=BOOL)),
        ("BroadcastTo",),
    ),
    Case(
        "BroadcastTo of unknown size",
        gives("BroadcastTo", In("x", (-1, 1)), (-1, 4), out=kind(-1, 4)),
        refused="not known before run time",
    ),
)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [("ConstantPadND", ((0, 0), 0)), ("RepeatInterleaveInt", (1, 0, 2)), ("ReplicationPad1D", ((0, 0),))],
)
def test_what_changes_nothing_goes(op: str, arguments: tuple[Any, ...]) -> None:
    """Padding of no elements, one time."""
    check_structure(Case(op, lambda g: g.op("Neg", g.op(op, g.input("x", (2, 3)), *arguments)), ("Neg",)))


def test_a_copy_of_a_constant_is_the_constant() -> None:
    """It is an argument of what is replaced alone, and yet it stays."""
    ones = np.ones(3, np.float32)
    check_structure(
        Case("constant", lambda g: g.add(g.input("x", (3,)), g.op("Contiguous", g.constant(ones))), ("Add",))
    )


def test_a_copy_that_is_changed_in_place_stays() -> None:
    model = Case("changed copy", changed_copy).model()
    assert "what it reads or gives is changed in place" in legalise(model).values()
