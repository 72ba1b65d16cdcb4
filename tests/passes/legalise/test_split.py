"""Taking tensors apart and putting them together."""

from __future__ import annotations

import numpy as np

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16
from tests.passes.legalise.programs import In, Join, Make, after, depend, gives, gives_several, kind
from tests.passes.legalise.support import Case, cases, legalise
from tests.support.graphs import PRIMITIVE, GraphBuilder, fill_literal

X = In("x", (2, 3, 4))
HALVES = [kind(2, 3, 2)] * 2
OF_SPLIT = ("Split", "TupleGetItem", "TupleGetItem")


def whole(g: GraphBuilder) -> str:
    """The pieces go to a stack as the tuple they are."""
    pieces = g.node("Chunk", [g.input("x", (2, 4)), g.constant(2), g.constant(1)], (kind(2, 2), kind(2, 2)))
    return g.node("StackExt", [pieces, g.constant(0)], kind(2, 2, 2))


def uneven_whole(g: GraphBuilder) -> str:
    """Unequal pieces as the tuple they are, and one of them alone."""
    sizes = (kind(2, 2), kind(2, 3))
    pieces = g.node("SplitWithSize", [g.input("x", (2, 5)), g.constant((2, 3)), g.constant(1)], sizes)
    joined = g.node("Concat", [pieces, g.constant(1)], kind(2, 5))
    return g.concat([joined, g.tuple_get_item(pieces, 1)], 1)


def joined_result(op: str) -> Make:
    """What Split makes goes to a Concat or Stack as the tuple it is."""

    def make(g: GraphBuilder) -> str:
        halves = g.node("Split", [g.input("x", (2, 4)), g.constant(1), g.constant(2)], (kind(2, 2), kind(2, 2)))
        if op == "Concat":
            return g.node("Concat", [halves, g.constant(-2)], kind(4, 2))
        stacked = g.node("Stack", [halves], kind(2, 2, 2), primitive=PRIMITIVE)
        entry = next(p for p in g.proto.primitives if p.op_type == "Stack")
        for name, number in (("axis", -1), ("num", 2)):
            fill_literal(entry.attribute.add(name=name), number)
        return stacked

    return make


def ordered(op: str, *arguments: object, outs: tuple[TensorType, ...]) -> Make:
    """A view of [2, 6] with its place in the order of effects, as MindSpore writes it; its first two parts joined."""

    def make(g: GraphBuilder) -> str:
        constants = [g.constant(a) for a in arguments]  # type: ignore[arg-type]  # literals
        view = g.node(op, [g.input("x", (2, 6)), *constants, g.monad()], outs)
        joined = g.concat([g.tuple_get_item(view, 0), g.tuple_get_item(view, 1)], 0 if op.startswith("Unst") else 1)
        return depend(g, joined, after(g, g.monad(), view))

    return make


def changed(g: GraphBuilder) -> str:
    """A view whose part is changed in place: the whole changes with it."""
    x = g.op("Neg", g.input("x", (2, 4)))
    view = g.node("ChunkView", [x, g.constant(2), g.constant(1), g.monad()], (kind(2, 2), kind(2, 2)))
    state = after(g, g.monad(), view)
    part = g.node("InplaceAddExt", [g.tuple_get_item(view, 0), g.input("y", (2, 2)), g.constant(1), state], kind(2, 2))
    return depend(g, g.add(x, x), after(g, state, part))


def grid(indexing: int, first: TensorType) -> Make:
    """Two vectors of 2 and 3 elements."""
    return gives_several("Meshgrid", Join((In("x", (2,)), In("y", (3,)))), indexing, outs=[first] * 2)


def constant_grid(g: GraphBuilder) -> tuple[str, ...]:
    """cogvideox's: the vectors are one constant."""
    x, y = np.arange(2, dtype=np.float32), np.arange(3, dtype=np.float32)
    value = g.node("Meshgrid", [g.constant((x, y)), g.constant(0)], (kind(2, 3), kind(2, 3)))
    image = g.input("image", (2, 3))  # or MindSpore would fold the whole graph
    return g.mul(image, g.tuple_get_item(value, 0)), g.mul(image, g.tuple_get_item(value, 1))


def one_piece(g: GraphBuilder) -> str:
    """A piece that is all of the tensor."""
    pieces = g.node("Chunk", [g.input("x", (2, 3)), g.constant(1), g.constant(0)], (kind(2, 3),))
    return g.op("Neg", g.tuple_get_item(pieces, 0))


cases(
    "split",
    Case("Chunk, equal", gives_several("Chunk", X, 2, -1, outs=HALVES), (*OF_SPLIT, "MakeTuple")),
    Case(
        "Chunk, the last one smaller",
        gives_several("Chunk", In("x", (2, 5)), 3, 1, outs=[kind(2, 2), kind(2, 2), kind(2, 1)]),
        ("StridedSlice", "StridedSlice", "StridedSlice", "MakeTuple"),
    ),
    Case("Chunk, fewer than asked for", gives_several("Chunk", X, 3, -1, outs=HALVES), (*OF_SPLIT, "MakeTuple")),
    Case("Chunk into one", one_piece, ("Neg",)),
    Case(
        "Chunk in bfloat16, one of two read",
        gives_several("Chunk", In("x", (4, 2), BFLOAT16), 2, 0, outs=[kind(2, 2, dtype=BFLOAT16)] * 2, read=[1]),
        ("Split", "TupleGetItem"),
    ),
    Case(
        "Chunk beside an axis of unknown size",
        gives_several("Chunk", In("x", (-1, 4)), 2, 1, outs=[kind(-1, 2)] * 2),
        (*OF_SPLIT, "MakeTuple"),
    ),
    Case(
        "Chunk along an axis of unknown size",
        gives_several("Chunk", In("x", (2, -1)), 2, 1, outs=[kind(2, -1)] * 2),
        refused="not known before run time",
    ),
    Case("Chunk, read as a whole", whole, (*OF_SPLIT, "MakeTuple", "Stack")),
    Case("SplitWithSize, equal", gives_several("SplitWithSize", X, (2, 2), 2, outs=HALVES), (*OF_SPLIT, "MakeTuple")),
    Case(
        "SplitWithSize, unequal, in float16",
        gives_several(
            "SplitWithSize",
            In("x", (2, 5, 2), FLOAT16),
            (1, 3, 1),
            -2,
            outs=[kind(2, n, 2, dtype=FLOAT16) for n in (1, 3, 1)],
        ),
        ("StridedSlice", "StridedSlice", "StridedSlice", "MakeTuple"),
    ),
    Case(
        "SplitWithSize, unequal, one of three read",
        gives_several("SplitWithSize", In("x", (6,)), (1, 3, 2), 0, outs=[kind(1), kind(3), kind(2)], read=[1]),
        ("StridedSlice",),
    ),
    Case(
        "SplitWithSize, unequal, beside an axis of unknown size",
        gives_several("SplitWithSize", In("x", (-1, 5)), (2, 3), 1, outs=[kind(-1, 2), kind(-1, 3)]),
        ("StridedSlice", "StridedSlice", "MakeTuple"),
    ),
    Case(
        "SplitWithSize, unequal, read as a whole",
        uneven_whole,
        ("StridedSlice",) * 2 + ("MakeTuple", "TupleGetItem", "TupleGetItem") + ("MakeTuple", "Concat") * 2,
    ),
    Case(
        "ChunkView",
        ordered("ChunkView", 2, 1, outs=(kind(2, 3), kind(2, 3))),
        (*OF_SPLIT, "MakeTuple", "Concat"),
    ),
    Case(
        "SplitWithSizeView, equal",
        ordered("SplitWithSizeView", (3, 3), 1, outs=(kind(2, 3), kind(2, 3))),
        (*OF_SPLIT, "MakeTuple", "Concat"),
    ),
    Case(
        "SplitWithSizeView, unequal",
        ordered("SplitWithSizeView", (4, 2), 1, outs=(kind(2, 4), kind(2, 2))),
        ("StridedSlice", "StridedSlice", "MakeTuple", "Concat"),
    ),
    Case(
        "UnstackExtView",
        ordered("UnstackExtView", 0, outs=(kind(6), kind(6))),
        ("Unstack", *OF_SPLIT[1:], "MakeTuple", "Concat"),
    ),
    Case(
        "UnstackExtView, the last axis",
        gives_several("UnstackExtView", In("x", (3, 2)), -1, outs=[kind(3)] * 2),
        ("Unstack", *OF_SPLIT[1:], "MakeTuple"),
    ),
    Case(
        "StackExt",
        gives("StackExt", Join((In("x", (2, 3)), In("y", (2, 3)))), -1, out=kind(2, 3, 2)),
        ("MakeTuple", "Stack"),
    ),
    Case(
        "StackExt in bfloat16, in front",
        gives("StackExt", Join((In("x", (2,), BFLOAT16),) * 1), 0, out=kind(1, 2, dtype=BFLOAT16)),
        ("MakeTuple", "Stack"),
    ),
    Case("Stack of a result", joined_result("Stack"), (*OF_SPLIT, "MakeTuple", "Stack")),
    Case("Concat of a result", joined_result("Concat"), (*OF_SPLIT, "MakeTuple", "Concat")),
    Case("Meshgrid, ij", grid(0, kind(2, 3)), ("Reshape", "BroadcastTo", "Reshape", "BroadcastTo", "MakeTuple")),
    Case("Meshgrid, xy", grid(1, kind(3, 2)), ("Reshape", "BroadcastTo", "Reshape", "BroadcastTo", "MakeTuple")),
    Case(
        "Meshgrid of constants",
        constant_grid,
        ("Reshape", "BroadcastTo", "Reshape", "BroadcastTo", "Mul", "Mul", "MakeTuple"),
    ),
    Case(
        "Meshgrid of unknown size",
        gives_several("Meshgrid", Join((In("x", (-1,)), In("y", (3,)))), 0, outs=[kind(-1, 3)] * 2),
        refused="not known before run time",
    ),
)


def test_a_view_of_what_is_changed_in_place_stays() -> None:
    """Its copy would not change with the whole."""
    reasons = legalise(Case("changed view", changed).model())
    assert sorted(reasons.values()) == [
        "something else reads what it changes",
        "what it reads or gives is changed in place",
    ]
